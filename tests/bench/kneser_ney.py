"""An n-gram language model, the rival of word completion: interpolated modified Kneser-Ney.

Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", Computer
Speech and Language 13 (1999), section 3; and as Heafield et al., "Scalable Modified Kneser-Ney
Language Model Estimation", ACL 2013 (KenLM) put it, with h' the context h without its first id:

    P(w | h) = (c(hw) − D(c(hw))) / Σ_v c(hv) + γ(h) P(w | h')

Below the highest order c(g) is not how often g occurs, but after how many different ids. The
unigrams are interpolated with the uniform distribution. Nothing is pruned. Unlike there, the text
is one sequence: contexts reach across the ends of lines, which are ids like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

Ids = np.ndarray[Any, Any]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

_FALLBACK = (0.5, 1.0, 1.5)  # KenLM's --discount_fallback


class KneserNey:
    """The distributions of the next id after the n-grams of a text: ids [N] below ``vocab_size``.

    A trie, an order a level: the node of an n-gram is its place among those of its order, and its
    parent is its context, the n-gram without the last id. The root is the only node of order 0.
    """

    def __init__(self, ids: Ids, vocab_size: int, order: int = 5) -> None:
        if order < 1 or vocab_size < 1:
            raise ValueError(f"order {order} or vocabulary {vocab_size} below 1")
        self.vocab_size, self.order = vocab_size, order
        self._orders: list[_Order] = []
        ids = self._checked(ids)
        contexts = np.zeros(len(ids), np.int64)  # of each id: the node of those before it
        keys, nodes, parents = np.zeros(0, np.int64), np.zeros(0, np.int64), 1
        for n in range(1, order + 1):
            below, nodes_below = keys, nodes
            keys, first, nodes, counts = np.unique(
                contexts * vocab_size + ids[n - 1 :],
                return_index=True,
                return_inverse=True,
                return_counts=True,
            )
            if n > 1:
                # One for each n-gram that ends in it, and one for the start of the text, so that
                # what occurs only there counts as well.
                after = np.bincount(nodes_below[1:][first], minlength=len(below))
                after[nodes_below[:1]] += 1
                self._add(below, after, parents)
                parents = len(below)
            contexts = nodes[:-1]
        self._add(keys, counts, parents)

    def probabilities(self, context: Sequence[int] | Ids) -> Floats:
        """P(next | the last order - 1 ids of the context) [V]; the context may be shorter."""
        recent = self._checked(context)
        recent = recent[max(0, len(recent) - self.order + 1) :]
        ends = [int(nodes[-1]) for nodes in self._nodes(recent)] if len(recent) else []
        p = np.full(self.vocab_size, 1 / self.vocab_size)
        for order, node in zip(self._orders, [0, *ends], strict=False):
            if node < 0:
                break  # nor will a longer context have been seen
            base = node * self.vocab_size
            children = slice(*order.keys.searchsorted((base, base + self.vocab_size)))
            p *= order.backoff[node]
            p[order.keys[children] - base] += order.share[children]
        return p

    def logprob(self, ids: Ids) -> float:
        """Σ ln P(ids[i] | ids[:i]) for 0 < i < N; ids [N]."""
        ids = self._checked(ids)
        p = np.full(len(ids), 1 / self.vocab_size)
        contexts = np.zeros(len(ids), np.int64)
        for order, nodes in zip(self._orders, self._nodes(ids), strict=True):
            p = order.backoff[contexts] * p + order.share[nodes]
            contexts = _before(nodes)
        return float(np.log(p[1:]).sum())

    def _nodes(self, ids: Integers) -> Iterator[Integers]:
        """For each order n, nodes [N] of the n ids that end at each place; -1: not in the text."""
        contexts = np.zeros(len(ids), np.int64)
        for order in self._orders:
            nodes = order.find(contexts * self.vocab_size + ids)
            yield nodes
            contexts = _before(nodes)

    def _add(self, keys: Integers, counts: Integers, parents: int) -> None:
        """The next order: of G n-grams the keys and adjusted counts [G], and how many contexts."""
        taken = discounts(counts)[np.minimum(counts, 3)]
        contexts = keys // self.vocab_size
        total = np.bincount(contexts, weights=counts, minlength=parents)
        backoff = np.ones(parents + 1)
        # Nothing follows the end of the text; where that is nowhere else, its backoff stays 1.
        freed = np.bincount(contexts, weights=taken, minlength=parents)
        np.divide(freed, total, out=backoff[:-1], where=total > 0)
        share = np.append((counts - taken) / total[contexts], 0.0)
        self._orders.append(_Order(keys, share, backoff))

    def _checked(self, ids: Sequence[int] | Ids) -> Integers:
        # Without this, an id too large would be found as another one, below another context.
        checked = np.asarray(ids, np.int64)
        if checked.ndim != 1 or ((checked < 0) | (checked >= self.vocab_size)).any():
            raise ValueError(f"not a sequence of ids from 0 to {self.vocab_size - 1}")
        return checked


class _Order(NamedTuple):
    """G n-grams of one length, and their C contexts.

    The last of ``share`` and ``backoff`` are for node -1, one that the text does not have.
    """

    keys: Integers  # [G], ascending: context · vocab_size + last id
    share: Floats  # [G + 1], (c − D(c)) / Σ c
    backoff: Floats  # [C + 1], γ

    def find(self, keys: Integers) -> Integers:
        """The nodes of keys [N]. One of a context -1 is negative, and so it is not found."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        places = np.minimum(self.keys.searchsorted(keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, places, -1)


def _before(nodes: Integers) -> Integers:
    """Of each place the node [N] that ends before it; before the first there is none."""
    return np.concatenate(([-1], nodes[:-1])) if len(nodes) else nodes


def discounts(counts: Integers) -> Floats:
    """What is taken from a count of 0, 1, 2, and 3 or more [4], given all counts [G] of an order.

    Equation 26 of Chen and Goodman. Where it is not defined or gives what cannot be, the fallback
    for all three, as in KenLM.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6).astype(np.float64)  # n[5]: 5 or more
    if n[1:4].all():
        j = np.arange(1, 4)
        found = j - (j + 1) * n[1] / (n[1] + 2 * n[2]) * n[2:5] / n[1:4]
        if (found > 0).all():  # with 0, what is seen could leave nothing for what is not
            return np.array([0.0, *found])
    return np.array([0.0, *_FALLBACK])
