"""Completing what a person types: the next word, the rest of one, or a blank."""

from __future__ import annotations

import functools
import heapq
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

from charrnn.completion.blanks import CANDIDATES, CharBlanks, Ranked, WordBlanks
from charrnn.completion.chars import CharCompleter
from charrnn.completion.request import (
    Blank,
    Completion,
    Request,
    Suggestion,
    blanks,
    has_one_form,
    in_case_of,
    settle_form,
)
from charrnn.completion.words import WordCompleter
from charrnn.config import CompleteConfig
from charrnn.errors import UsageError
from charrnn.model import Model
from charrnn.params import RIGHT
from charrnn.reading import Reader
from charrnn.text import CharVocabulary, Vocabulary

# Of a text that has several blanks:
_BEAM = 8  # ways to fill the first of them
_WIDEST = 32  # the most of these that are followed up: each has a search of its own
_FEWER = 16  # candidates of each


class Completer:
    """Completes texts with one model, and remembers what it has read of them."""

    def __init__(self, model: Model, vocabulary: Vocabulary, cache: float = 0.0) -> None:
        """``cache``, from 0 to 1, is the weight of words that a text has already.

        Raises ``UsageError`` for another, and where the model is not one of words.
        """
        CompleteConfig(cache=cache)
        self.vocabulary = vocabulary
        left = Reader(model, keep_outputs=cache > 0)
        right = Reader(model, RIGHT) if model.config.bidirectional else None
        self._words: CharCompleter | WordCompleter
        self._rank: Callable[[Blank, int, int], Ranked]
        if isinstance(vocabulary, CharVocabulary):
            if cache:
                raise UsageError("a cache is for models of words", f"--cache {cache:g}")
            self._words = CharCompleter(left, vocabulary)
            mirror = CharCompleter(right, vocabulary) if right else None
            self._rank = CharBlanks(self._words, mirror).rank
        else:
            from charrnn.text.words import WordVocabulary

            assert isinstance(vocabulary, WordVocabulary)
            self._words = WordCompleter(left, vocabulary, cache)
            self._rank = WordBlanks(self._words, right).rank

    def complete(
        self, text: str, n: int = 5, *, mode: str = "auto", min_p: float = 0.0
    ) -> Completion:
        """The n likeliest words that complete ``text``, each at least as probable as ``min_p``.

        If the text has blanks, words to fill these. Else, a last word without a space behind it
        may be whole or not: both are considered, unless ``mode`` is "next" or "prefix". Raises
        ``UsageError`` for values out of range: see ``CompleteConfig``.
        """
        CompleteConfig(n, mode, min_p)
        if not has_one_form(text):
            text = settle_form(text, self.vocabulary, self._characters)
        request, gaps = Request.of(text, mode), blanks(text)
        if gaps:
            found, other = self._fill(gaps, n)
            mode, prefix = "blank", " ".join(gap.prefix for gap in gaps)
        else:
            found, other = self._words.complete(request, n)
            mode, prefix = request.mode, request.tail
        kept = tuple(s for s in found if s.p >= min_p)
        return Completion(
            mode, prefix, kept, min(1.0, other + sum(s.p for s in found[len(kept) :]))
        )

    def unknown(self, text: str, *, mode: str = "auto") -> list[str]:
        """What of a text ``complete`` reads as the unknown symbol: each once, in order.

        A word that is being typed is none, as long as the model knows one that begins so.
        """
        if not has_one_form(text):
            text = settle_form(text, self.vocabulary, self._characters)
        requests, right = [Request.of(text, mode)], ""
        if gaps := blanks(text):
            requests = [Request(gap.left, gap.prefix, whole=False, partial=True) for gap in gaps]
            right = gaps[-1].right
        found = list(itertools.chain.from_iterable(map(self._words.unknown, requests)))
        found += self.vocabulary.unknown_symbols(right)
        return [symbol for symbol in dict.fromkeys(found) if symbol.strip()]

    @functools.cached_property
    def _characters(self) -> frozenset[str]:
        """Those of the vocabulary, in small letters."""
        return frozenset("".join(self.vocabulary.symbols).lower())

    def _fill(self, gaps: list[Blank], n: int) -> tuple[list[Suggestion], float]:
        """Words for all gaps from left to right, best together first."""
        several = min(max(n, _BEAM), _WIDEST), _FEWER
        wider, candidates = several if len(gaps) > 1 else (n, CANDIDATES)
        beam = [_Filling("", (), (), 0.0)]
        for gap in gaps:
            longer: list[_Filling] = []
            for filling in beam:  # best first: when it is as good as lost, so are all that follow
                if len(longer) == wider and filling.logp <= longer[-1].logp:
                    break
                ranked = self._rank(gap._replace(left=filling.text + gap.left), wider, candidates)
                longer += [filling.with_word(gap, word, p) for word, p in ranked]
                longer = heapq.nlargest(wider, longer, key=lambda filling: filling.logp)
            beam = longer
        found = [Suggestion(" ".join(f.words), " ".join(f.inserts), math.exp(f.logp)) for f in beam]
        return found[:n], max(0.0, 1 - sum(s.p for s in found[:n]))


class _Filling(NamedTuple):
    """The first gaps of a text, filled: all up to there, the words, what of them is inserted."""

    text: str
    words: tuple[str, ...]
    inserts: tuple[str, ...]
    logp: float

    def with_word(self, gap: Blank, word: str, p: float) -> _Filling:
        rest = in_case_of(word[len(gap.prefix) :], gap.prefix)
        filled = gap.prefix + rest
        return _Filling(
            self.text + gap.left + filled,
            (*self.words, filled),
            (*self.inserts, rest),
            self.logp + math.log(max(p, 1e-300)),
        )
