"""What a model makes of symbols, from its logits: losses, ranks, and what it expected instead."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from charrnn.text import Ids

Floats = np.ndarray[Any, np.dtype[np.float64]]
Numbers = np.ndarray[Any, np.dtype[np.int64]]

_BLOCK = 2**18  # logits at a time: they stay in the cache


class Verdicts(NamedTuple):
    """On each of N symbols, given all before it in its text.

    ``nats`` [N] is the cross-entropy, -ln P; ``ranks`` [N] say how many symbols were likelier,
    counted from 1; ``top`` [N] is the probability of the likeliest. Where they are asked for,
    ``entropies`` [N] are in nats, and ``others`` [N, k] the ids of the k likeliest with their
    probabilities ``p`` [N, k].
    """

    nats: Floats
    ranks: Numbers
    top: Floats
    entropies: Floats
    others: Numbers
    p: Floats

    def part(self, places: slice | Numbers) -> Verdicts:
        """Those on some of the symbols."""
        found: list[Any] = [values[places] if len(values) else values for values in self]
        return Verdicts(*found)

    @classmethod
    def joined(cls, parts: Iterable[Verdicts]) -> Verdicts:
        """One after the other."""
        return cls(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def rank(logits: Any, targets: Numbers, nats: Floats, ranks: Numbers, top: Floats) -> None:
    """The first three of ``Verdicts`` from logits [N, V] and targets [N]; sums are in double."""
    x = logits - logits.max(axis=1, keepdims=True)
    of_targets = x[np.arange(len(x)), targets]
    ranks[...] = 1 + np.count_nonzero(x > of_targets[:, None], axis=1)
    total = np.exp(x).sum(axis=1, dtype=np.float64)
    nats[...] = np.log(total) - of_targets
    top[...] = 1 / total


def judge(
    logits: Any, targets: Ids, alternatives: int = 0, kernel: Callable[..., None] = rank
) -> Verdicts:
    """Logits [N, V] on the host and targets [N] -> verdicts.

    With ``alternatives`` k > 0 these, and entropies, are there as well. Sums are in double
    precision, so that the probabilities of all symbols add up to 1 whatever their number.
    ``kernel`` is a backend's form of ``rank``.
    """
    (N, V), k = logits.shape, min(alternatives, logits.shape[1])
    rows = max(1, _BLOCK // V)
    detailed = N if k else 0
    found = Verdicts(
        nats=np.empty(N),
        ranks=np.empty(N, np.int64),
        top=np.empty(N),
        entropies=np.empty(detailed),
        others=np.empty((detailed, k), np.int64),
        p=np.empty((detailed, k)),
    )
    numbers = np.asarray(targets, np.int64)
    for start in range(0, N, rows):
        block = slice(start, start + rows)
        part = found.part(block)
        kernel(logits[block], numbers[block], part.nats, part.ranks, part.top)
        if k:
            _detail(logits[block], k, part)
    return found


def _detail(logits: Any, k: int, found: Verdicts) -> None:
    """What there is beside ranks: the k likeliest, and the entropy."""
    x = logits - logits.max(axis=1, keepdims=True)
    e = np.exp(x)
    total = e.sum(axis=1, dtype=np.float64)
    found.entropies[...] = np.log(total) - (e * x).sum(axis=1, dtype=np.float64) / total
    some = np.argpartition(-x, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(x, some, 1), axis=1, kind="stable")
    found.others[...] = np.take_along_axis(some, order, 1)
    found.p[...] = np.take_along_axis(e, found.others, 1) / total[:, None]
