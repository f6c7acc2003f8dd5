"""What is asked of a completion, and what it answers."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import regex

from charrnn.text import UNKNOWN, Vocabulary
from charrnn.text.tokens import APOSTROPHES, WORD_CHARACTER

#: Symbols of a context that are read at most; what stands before them hardly matters.
MAX_CONTEXT = 1000

_LETTER = rf"(?:(?!_){WORD_CHARACTER})"  # the underscore marks blanks
_WORD_CHARACTER = regex.compile(_LETTER)
_WITHIN = rf"[{APOSTROPHES}]|(?<=\d)[.,](?=\d)"
_TAIL = regex.compile(rf"(?r)(?:{_LETTER}|{_WITHIN})*+\Z")  # from the end: lines may be long
_BLANK = regex.compile(r"_{3,}")

Floats = np.ndarray[Any, np.dtype[np.float64]]

_Text = TypeVar("_Text", str, list[int])


@dataclass(frozen=True)
class Suggestion:
    """A word, the text to insert for it, and its probability among all that would fit."""

    text: str
    insert: str
    p: float


@dataclass(frozen=True)
class Completion:
    """Suggestions, best first.

    ``mode``: "prefix" if they complete the last word, "next" if they follow it, "auto" if either
    may be, "blank" if they fill one. ``prefix`` is the word that is to be completed. ``other`` is
    the probability of all that is not suggested.
    """

    mode: str
    prefix: str
    suggestions: tuple[Suggestion, ...]
    other: float


class Request(NamedTuple):
    """A text that is cut where it is to go on: ``tail`` is a last word without a space behind it.

    ``whole``: what is there may be followed by a space and the next word; ``partial``: it may go on
    as it is, with the rest of the tail, or with a word where there is none.
    """

    head: str
    tail: str
    whole: bool
    partial: bool

    @classmethod
    def of(cls, text: str, mode: str) -> Request:
        """``mode`` as in ``CompleteConfig``."""
        tail = _last_word(text)
        head = text.removesuffix(tail)
        if not text or text[-1].isspace():  # there is nothing to put a space behind
            return cls(head, tail, whole=False, partial=True)
        return cls(head, tail, whole=mode != "prefix", partial=mode != "next")

    @property
    def mode(self) -> str:
        """As in ``Completion``."""
        if self.whole and self.partial:
            return "auto"
        return "prefix" if self.tail and self.partial else "next"


class Blank(NamedTuple):
    """A gap of three or more underscores, what stands before and behind it, and how it begins."""

    left: str
    prefix: str
    right: str


def blanks(text: str) -> list[Blank]:
    """The blanks of a text, in order; to the right of each only what comes before the next.

    ``left`` is what stands between it and the one before it.
    """
    *before, last = _BLANK.split(text)
    prefixes = list(map(_last_word, before))
    lefts = [part.removesuffix(prefix) for part, prefix in zip(before, prefixes, strict=True)]
    return list(map(Blank, lefts, prefixes, [*lefts[1:], last]))


def _last_word(text: str) -> str:
    """The word, or the beginning of one, that a text ends in."""
    found = _TAIL.search(text)
    return found.group().lstrip(APOSTROPHES) if found else ""


def recent(text: _Text, most: int) -> _Text:
    """The end of a text or of its ids, with a length from ``most`` / 2 to ``most`` if it is longer.

    It begins at the same place until the text has grown by half of that: a ``Reader`` goes on.
    """
    half = most // 2
    return text[max(0, -(-(len(text) - most) // half)) * half :]


def is_word_character(character: str) -> bool:
    """Whether words are made of it."""
    return _WORD_CHARACTER.match(character) is not None


def fold(text: str) -> str:
    """The same for words that differ in case or in the kind of apostrophe; as long as ``text``."""
    if text.isascii():
        return text.lower()
    lower = (c.lower() for c in text.replace("\u2019", "'"))
    return "".join(low if len(low) == 1 else c for low, c in zip(lower, text, strict=True))


def has_one_form(text: str) -> bool:
    """Whether a text can be typed in one way only."""
    return text.isascii() and "'" not in text


def settle_form(text: str, vocabulary: Vocabulary, characters: Set[str]) -> str:
    """Composed or decomposed and with that apostrophe which the model knows better.

    Typing may give any. ``characters`` are those of the vocabulary, in small letters. The end of
    the text decides.
    """

    def unknown(text: str) -> tuple[int, int]:
        symbols = int((vocabulary.encode(text) == UNKNOWN).sum())
        return symbols, sum(c not in characters for c in text.lower())

    ends = list(_forms(text[-MAX_CONTEXT:]))
    best = ends.index(min(dict.fromkeys(ends), key=unknown))
    return next(itertools.islice(_forms(text), best, None))


_APOSTROPHES = [str.maketrans(APOSTROPHES, a * len(APOSTROPHES)) for a in APOSTROPHES]


def _forms(text: str) -> Iterator[str]:
    """First ``text`` as it is, then with its accents composed, decomposed, and its apostrophes."""
    for form in (text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)):
        yield form
        yield from (form.translate(table) for table in _APOSTROPHES)


def shouted(prefix: str) -> bool:
    """Whether a word is being written in capitals: one alone, as of ``I'm``, does not tell."""
    return prefix.isupper() and sum(c.isupper() for c in prefix) > 1


def in_case_of(rest: str, prefix: str) -> str:
    """``rest`` in capitals where it completes a word that is being written in capitals."""
    return rest.upper() if shouted(prefix) else rest


def softmax(logits: Any) -> Floats:
    """Logits [..., V] of any kind -> probabilities [..., V]."""
    logits = np.asarray(logits, np.float64)
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(p / p.sum(axis=-1, keepdims=True))
