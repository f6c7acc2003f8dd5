"""Filling a blank: a word between what stands before it and what stands behind.

With one direction, candidates come from the left and are ranked by P(word | left) times
P(right | left, word). A model that also reads from the right proposes its own: of words the
softmax over what both sides say, of characters the candidates of both, ranked by the mean of what
they make of the whole sentence, read forwards and backwards.
"""

from __future__ import annotations

import numpy as np

from charrnn.completion.chars import CharCompleter
from charrnn.completion.request import MAX_CONTEXT, Blank, Floats, fold, softmax
from charrnn.completion.words import ANY, WordCompleter
from charrnn.reading import Reader, log_likelihoods

CANDIDATES = 64  # that come from a side, or are ranked by what follows them
_SCORED = {"word": 12, "char": 48}  # symbols beside a blank that a candidate is judged by

Ranked = list[tuple[str, float]]


class WordBlanks:
    """Fills blanks with a model of words."""

    def __init__(self, words: WordCompleter, mirror: Reader | None) -> None:
        self.words, self.mirror = words, mirror

    def rank(self, blank: Blank, n: int, candidates: int = CANDIDATES) -> Ranked:
        """The n likeliest words and their probabilities; with one direction, of the candidates."""
        left = self.words.before_a_word(blank.left)
        right = self._behind(blank.right)
        lexicon, tokens = self.words.lexicon, self.words.vocabulary.tokens
        groups = lexicon.longer(blank.prefix)
        if not groups:
            return []
        both = self.mirror is not None and right
        p = self._between(left, right) if both else self.words.expected(left)
        totals = lexicon.totals(p, groups)
        judged = right and not both
        order = np.argsort(-totals, kind="stable")[: max(n, candidates) if judged else n]
        ids = [lexicon.likeliest(groups[k], p) for k in order]
        weights = totals[order]
        if judged:
            scores = self._judged(left, ids, right)
            weights = weights * np.exp(scores - scores.max())
            order = np.argsort(-weights, kind="stable")
            ids, weights = [ids[k] for k in order], weights[order]
            total = weights.sum()
        else:
            total = totals.sum()
        return [(tokens[k], float(w / total)) for k, w in zip(ids[:n], weights, strict=False)]

    def _behind(self, text: str) -> list[int]:
        """The ids of what follows a word."""
        tokens = self.words.tokenizer.split(ANY + text)
        if text[-1:].isspace():  # another word follows
            tokens = self.words.tokenizer.split(ANY + text + ANY)[:-1]
        return self.words.encoded(tokens[1:])[:MAX_CONTEXT]

    def _between(self, left: list[int], right: list[int]) -> Floats:
        """The probability of each id [V] between two contexts."""
        assert self.mirror is not None
        before, after = self.words.reader.read(left), self.mirror.read(right[::-1])
        model = self.mirror.model
        logits = model.between(before.states, after.states)
        p = softmax(model.backend.to_host(logits)[0])
        return self.words.recalled(p, before, left)

    def _judged(self, left: list[int], ids: list[int], right: list[int]) -> Floats:
        """ln P(right | left, id) of each candidate; of a long right, of its beginning."""
        scored = right[: _SCORED["word"]]
        return log_likelihoods(self.words.reader, left, [[n, *scored] for n in ids], skip=1)


class CharBlanks:
    """Fills blanks with a model of characters."""

    def __init__(self, chars: CharCompleter, mirror: CharCompleter | None) -> None:
        self.chars, self.mirror = chars, mirror
        self._last: tuple[list[int], int, list[str]] = ([], 0, [])

    def rank(self, blank: Blank, n: int, candidates: int = CANDIDATES) -> Ranked:
        """The n likeliest of the candidates, and their probabilities among these."""
        encode, prefix = self.chars.vocabulary.encode, blank.prefix
        left, right = self.chars.context(blank.left), encode(blank.right)[:MAX_CONTEXT].tolist()
        typed, letters = self.chars.begun(blank.left, prefix)
        search = self.chars.search([*left, *encode(typed).tolist()], typed, letters)
        search.begin("")
        if not right:
            return [(typed + word, p / search.total) for _, word, p in search.best(n)]
        words = [typed + word for word in search.likely(max(n, candidates))]
        words += [
            typed + word[len(typed) :]
            for word in self._proposed(right, max(n, candidates))
            if len(word) > len(typed) and fold(word).startswith(fold(typed))
        ]
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

    def _proposed(self, right: list[int], candidates: int) -> list[str]:
        """Words that come before ``right``; the last answer is remembered."""
        if not self.mirror:
            return []
        if self._last[:2] != (right, candidates):
            search = self.mirror.search(right[::-1])
            search.begin("")
            words = [word[::-1] for word in search.likely(candidates)]
            self._last = right, candidates, words
        return self._last[2]


def _merged(words: list[str], p: Floats) -> Ranked:
    """Best first; words that differ in case are one, in its likeliest form."""
    groups: dict[str, Ranked] = {}
    for word, weight in zip(words, p.tolist(), strict=True):
        groups.setdefault(fold(word), []).append((word, weight))
    ranked = [(max(g, key=lambda pair: pair[1])[0], sum(w for _, w in g)) for g in groups.values()]
    return sorted(ranked, key=lambda pair: -pair[1])
