"""Completing with a model of words."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import regex

from charrnn.completion.cache import mixed
from charrnn.completion.request import (
    MAX_CONTEXT,
    Floats,
    Request,
    Suggestion,
    fold,
    in_case_of,
    is_word_character,
    recent,
    softmax,
)
from charrnn.reading import Reader, Reading
from charrnn.text import UNKNOWN
from charrnn.text.tokens import TOKENIZERS
from charrnn.text.words import WordVocabulary

_NEVER_OPENS = regex.compile(r"[\p{Pe}\p{So}.,:;!?…%]")  # brackets that close, emoji
_LAST = "\U0010ffff"  # sorts behind every word
ANY = "x"  # a word, no matter which
_MAX_CHARACTERS = 10 * MAX_CONTEXT


class Lexicon:
    """The words of a vocabulary in the order of the alphabet, those that differ in case together.

    ``keys`` [G] are the words as ``fold`` has them, ``ids`` [N] those of the words themselves,
    ``starts`` [G + 1] where each group begins in ``ids``.
    """

    def __init__(self, vocabulary: WordVocabulary) -> None:
        tokens = vocabulary.tokens
        words = [n for n in range(UNKNOWN + 1, len(tokens)) if is_word_character(tokens[n][0])]
        folded = {n: fold(tokens[n]) for n in words}
        words.sort(key=folded.__getitem__)
        self.ids = np.array(words, np.int64)
        in_order = [folded[n] for n in words]
        new = [k for k, key in enumerate(in_order) if k == 0 or key != in_order[k - 1]]
        self.keys = [in_order[k] for k in new]
        self.starts = np.array([*new, len(words)], np.int64)

    def groups(self, prefix: str) -> range:
        """The groups of words that begin with ``prefix``."""
        folded = fold(prefix)
        first = bisect_left(self.keys, folded)
        return range(first, bisect_left(self.keys, folded + _LAST, lo=first))

    def longer(self, prefix: str) -> range:
        """As ``groups``, without the word that is the prefix itself."""
        found = self.groups(prefix)
        whole = len(found) > 0 and self.keys[found[0]] == fold(prefix)
        return found[1:] if whole and prefix else found

    def totals(self, p: Floats, groups: range) -> Floats:
        """The probability of each of some groups, from that of each id [V]."""
        if not groups:
            return np.zeros(0)
        bounds = self.starts[groups.start : groups.stop + 1]
        ordered = p[self.ids[bounds[0] : bounds[-1]]]
        return np.add.reduceat(ordered, bounds[:-1] - bounds[0])

    def likeliest(self, group: int, p: Floats) -> int:
        """The id of a group's most probable word."""
        ids = self.ids[self.starts[group] : self.starts[group + 1]]
        return int(ids[np.argmax(p[ids])])


class Way(NamedTuple):
    """One way to read a text: as followed by a word of some groups.

    ``weight`` is the probability that it is read so, compared to the others; what is inserted is
    ``lead`` and what a word has more than ``prefix``.
    """

    context: list[int]
    weight: float
    lead: str
    groups: range
    prefix: str


class WordCompleter:
    """Ranks words by the softmax over those that fit, whichever way the text is read."""

    def __init__(self, reader: Reader, vocabulary: WordVocabulary, cache: float = 0.0) -> None:
        """``cache``: the weight of words that the text has already; see ``cache.mixed``."""
        self.reader, self.vocabulary, self.cache = reader, vocabulary, cache
        self.tokenizer = TOKENIZERS[vocabulary.tokenizer]
        self.lexicon = Lexicon(vocabulary)

    def before_a_word(self, text: str, space: str = "") -> list[int]:
        """The ids of ``text`` and ``space`` where a word is to follow."""
        ids = self.encoded(self._tokens(recent(text, _MAX_CHARACTERS) + space))
        return [self.vocabulary.start, *recent(ids, MAX_CONTEXT)]

    def _tokens(self, text: str) -> list[str]:
        """Of a text that a word follows."""
        return self.tokenizer.split(text + ANY)[:-1]

    def unknown(self, request: Request) -> list[str]:
        """The words of what is read that the model does not know."""
        read = recent(request.head, _MAX_CHARACTERS)
        if len(read) < len(request.head):  # it begins anywhere
            read = read[len(read.split(maxsplit=1)[0]) :] if read.strip() else ""
        tokens = self._tokens(read)
        if request.tail:
            known = self.lexicon.groups(request.tail)
            if not request.partial:  # those that begin so do not count
                known = known[: len(known) - len(self.lexicon.longer(request.tail))]
            if request.whole and not known:
                tokens += self._tokens(request.tail + " ")
        elif request.whole:  # "; " may be known where ";" is not
            spaced = self._tokens(read + " ")
            glued = request.partial and tokens[:-1] == spaced[:-1]
            if not glued or UNKNOWN not in self.encoded(spaced[-1:]):
                tokens = spaced
        ids = self.vocabulary.encode_symbols(tokens).tolist()
        unknown = [t for n, t in zip(ids, tokens, strict=True) if n == UNKNOWN]
        return [t for t in unknown if t != self.tokenizer.unknown]

    def encoded(self, tokens: Sequence[str]) -> list[int]:
        """The ids of tokens; space that the model does not know says nothing about a text."""
        ids: list[int] = self.vocabulary.encode_symbols(tokens).tolist()
        return [n for n, t in zip(ids, tokens, strict=True) if n != UNKNOWN or not t.isspace()]

    def expected(self, context: Sequence[int]) -> Floats:
        """The probability of each id [V] after a context."""
        reading = self.reader.read(context)
        return self.recalled(softmax(reading.logits[0]), reading, context)

    def recalled(self, p: Floats, reading: Reading, context: Sequence[int]) -> Floats:
        """Probabilities [V] with those of the cache, if there is one."""
        return mixed(p, self.reader.outputs(reading), context, self.cache) if self.cache else p

    def complete(self, request: Request, n: int) -> tuple[list[Suggestion], float]:
        """The n likeliest words, and the probability of all others."""
        ranked: list[tuple[float, Suggestion]] = []
        total = 0.0
        for way in self._ways(request):
            p = self.expected(way.context)
            totals = self.lexicon.totals(p, way.groups) * way.weight
            total += totals.sum()
            for k in np.argsort(-totals, kind="stable")[:n]:
                word = self.vocabulary.tokens[self.lexicon.likeliest(way.groups[k], p)]
                rest = in_case_of(word[len(way.prefix) :], way.prefix)
                found = Suggestion(way.prefix + rest, way.lead + rest, 0.0)
                ranked.append((float(totals[k]), found))
        ranked.sort(key=lambda pair: -pair[0])
        suggestions = [replace(s, p=float(w / total)) for w, s in ranked[:n] if w > 0]
        return suggestions, max(0.0, 1 - sum(s.p for s in suggestions))

    def _ways(self, request: Request) -> list[Way]:
        every = range(len(self.lexicon.keys))
        here = self.before_a_word(request.head)
        ways = []
        if request.tail:
            longer = self.lexicon.longer(request.tail)
            if request.partial and longer:
                ways.append(Way(here, 1.0, "", longer, request.tail))
            typed = self._typed(here, request.tail)
            # How likely just this unknown word is nobody knows: it is read so if nothing else fits.
            if request.whole and (UNKNOWN not in typed or not ways):
                weight = self._probability(here, typed) if ways else 1.0
                ways.append(Way([*here, *typed], weight, " ", every, ""))
            return ways
        if not request.whole:
            return [Way(here, 1.0, "", every, "")]
        behind = self.before_a_word(request.head, " ")
        glued = request.partial and here[:-1] == behind[:-1]  # but for the last, the same
        if glued and here[-1] == behind[-1]:
            # The model cannot tell. Most symbols with a space before them open something.
            symbol, before = request.head[-1], request.head[-2:-1]
            lead = " " if before.strip() or _NEVER_OPENS.match(symbol) else ""
            return [Way(here, 1.0, lead, every, "")]
        if glued and here[-1] != UNKNOWN:
            ways.append(Way(here, self._probability(here[:-1], here[-1:]), "", every, ""))
        if not ways or behind[-1] != UNKNOWN:
            weight = self._probability(behind[:-1], behind[-1:]) if ways else 1.0
            ways.append(Way(behind, weight, " ", every, ""))
        return ways

    def _typed(self, context: list[int], word: str) -> list[int]:
        """The ids of a word as it is written, or as it is likeliest but for its case."""
        ids = self.encoded(self._tokens(word + " "))
        groups = self.lexicon.groups(word)
        if ids != [UNKNOWN] or len(groups) == len(self.lexicon.longer(word)):
            return ids
        return [self.lexicon.likeliest(groups[0], self.expected(context))]

    def _probability(self, context: list[int], ids: list[int]) -> float:
        """Of ids that follow a context."""
        p = 1.0
        for n, symbol in enumerate(ids):
            p *= float(self.expected([*context, *ids[:n]])[symbol])
        return p
