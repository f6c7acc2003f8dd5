"""Filling a blank: a word between what stands before it and what stands behind.

With one direction, candidates come from the left and are ranked by P(word | left) times
P(right | left, word). A model that also reads from the right proposes its own: of words the
softmax over what both sides say, of characters the candidates of both, ranked by the mean of what
they make of the whole sentence, read forwards and backwards.
"""

from __future__ import annotations

import numpy as np

from charrnn.completion.chars import CharCompleter, Floats
from charrnn.completion.request import (
    MAX_CONTEXT,
    Blank,
    fold,
    softmax,
)
from charrnn.completion.words import WordCompleter
from charrnn.reading import Reader
from charrnn.text import UNKNOWN

_ANY = "x"  # a word, no matter which
_CANDIDATES = 64  # that come from a side, or are ranked by what follows them
_SCORED = {"word": 12, "char": 48}  # symbols beside a blank that a candidate is judged by

Ranked = list[tuple[str, float]]


class WordBlanks:
    """Fills blanks with a model of words."""

    def __init__(self, words: WordCompleter, mirror: Reader | None) -> None:
        self.words, self.mirror = words, mirror

    def rank(self, blank: Blank, n: int) -> Ranked:
        """The n likeliest words and their probabilities."""
        left = self.words.before_a_word(blank.left)
        right = self._behind(blank.right)
        lexicon, tokens = self.words.lexicon, self.words.vocabulary.tokens
        groups = lexicon.groups(blank.prefix)
        if not groups:
            return []
        both = self.mirror is not None and right
        p = self._between(left, right) if both else self.words.expected(left)
        totals = lexicon.totals(p, groups)
        order = np.argsort(-totals, kind="stable")[: n if both or not right else _CANDIDATES]
        ids = [lexicon.likeliest(groups[k], p) for k in order]
        weights = totals[order]
        if right and not both:
            weights = weights * np.exp(self._judged(left, ids, right))
            order = np.argsort(-weights, kind="stable")
            ids, weights = [ids[k] for k in order], weights[order]
            total = weights.sum()
        else:
            total = totals.sum()
        return [(tokens[n], float(w / total)) for n, w in zip(ids[:n], weights, strict=False)]

    def _behind(self, text: str) -> list[int]:
        """The ids of what follows a word."""
        ids: list[int] = self.words.vocabulary.encode(_ANY + text)[1:].tolist()
        return ids[:MAX_CONTEXT]

    def _between(self, left: list[int], right: list[int]) -> Floats:
        """The probability of each id [V] between two contexts."""
        assert self.mirror is not None
        before, after = self.words.reader.read(left), self.mirror.read(right[::-1])
        model = self.mirror.model
        logits = model.between(before.states, after.states)
        return softmax(model.backend.to_host(logits)[0])

    def _judged(self, left: list[int], ids: list[int], right: list[int]) -> Floats:
        """ln P(right | left, id) of each candidate, but for what they have in common."""
        scored = right[: _SCORED["word"]]
        return log_likelihoods(self.words.reader, left, [[n, *scored] for n in ids], skip=1)


class CharBlanks:
    """Fills blanks with a model of characters."""

    def __init__(self, chars: CharCompleter, mirror: CharCompleter | None) -> None:
        self.chars, self.mirror = chars, mirror

    def rank(self, blank: Blank, n: int) -> Ranked:
        """The n likeliest of the candidates, and their probabilities among these."""
        vocabulary, prefix = self.chars.vocabulary, blank.prefix
        encode = vocabulary.encode
        left, right = self.chars.context(blank.left), encode(blank.right)[:MAX_CONTEXT].tolist()
        search = self.chars.search([*left, *encode(prefix).tolist()], within=bool(prefix))
        search.begin("")
        found = search.best(_CANDIDATES if right else n)
        if not right:
            return [(prefix + word, p / search.total) for _, word, p in found]
        words = [prefix + word for _, word, _ in found]
        if self.mirror:
            search = self.mirror.search(right[::-1])
            search.begin("")
            proposed = (word[::-1] for _, word, _ in search.best(_CANDIDATES))
            words += [w for w in proposed if fold(w).startswith(fold(prefix)) and w != prefix]
        words = list(dict.fromkeys(words))
        if not words:
            return []
        spelled = [encode(word).tolist() for word in words]
        behind = right[: _SCORED["char"]]
        scores = log_likelihoods(self.chars.reader, left, [[*s, *behind] for s in spelled])
        if self.mirror:
            before = left[: -_SCORED["char"] - 1 : -1]
            mirrored = [[*s[::-1], *before] for s in spelled]
            backwards = log_likelihoods(self.mirror.reader, right[::-1], mirrored)
            scores = (scores + backwards) / 2
        return _merged(words, softmax(scores))[:n]


def _merged(words: list[str], p: Floats) -> Ranked:
    """Best first; words that differ in case are one, in its likeliest form."""
    groups: dict[str, Ranked] = {}
    for word, weight in zip(words, p.tolist(), strict=True):
        groups.setdefault(fold(word), []).append((word, weight))
    ranked = [(max(g, key=lambda pair: pair[1])[0], sum(w for _, w in g)) for g in groups.values()]
    return sorted(ranked, key=lambda pair: -pair[1])


def log_likelihoods(
    reader: Reader, context: list[int], continuations: list[list[int]], skip: int = 0
) -> Floats:
    """ln P(continuation | context) of each [n], without its first ``skip`` symbols, 0 or 1."""
    reading = reader.read(context)
    steps = max(map(len, continuations)) - 1
    inputs = np.zeros((steps, len(continuations)), np.int32)
    targets = np.full_like(inputs, -1)
    for column, ids in enumerate(continuations):
        inputs[: len(ids) - 1, column] = ids[:-1]
        targets[: len(ids) - 1, column] = ids[1:]
    losses = reader.losses(reading.states, inputs, np.maximum(targets, UNKNOWN))
    scores: Floats = -np.where(targets >= 0, losses, 0).sum(axis=0)
    if not skip:
        first = np.array([ids[0] for ids in continuations])
        scores += np.log(softmax(reading.logits[0]))[first]
    return scores
