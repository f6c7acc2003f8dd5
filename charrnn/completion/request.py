"""What is asked of a completion, and what it answers."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import regex

from charrnn.errors import UsageError
from charrnn.text import UNKNOWN, Vocabulary
from charrnn.text.tokens import APOSTROPHES, WORD_CHARACTER

MODES = ("auto", "next", "prefix")

#: Symbols of a context that are read at most; what stands before them hardly matters.
MAX_CONTEXT = 1000

_LETTER = r"(?:(?!_)[\w\p{M}])"  # the underscore marks blanks
_TAIL = regex.compile(rf"{_LETTER}(?:{_LETTER}|[{APOSTROPHES}])*+$")
_BLANK = regex.compile(rf"(?P<prefix>(?:{_LETTER}(?:{_LETTER}|[{APOSTROPHES}])*+)?)_{{3,}}")
_WORD_CHARACTER = regex.compile(WORD_CHARACTER)


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
        """Raises ``UsageError`` for a mode that is none of ``MODES``."""
        if mode not in MODES:
            raise UsageError("invalid value", f"mode {mode}", "choose from " + ", ".join(MODES))
        found = _TAIL.search(text)
        tail = found.group() if found else ""
        head = text[: len(text) - len(tail)]
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
    found = list(_BLANK.finditer(text))
    starts = [0, *(m.end() for m in found)]
    ends = [*(m.start() for m in found[1:]), len(text)]
    return [
        Blank(text[start : m.start()], m["prefix"], text[m.end() : end])
        for m, start, end in zip(found, starts, ends, strict=False)
    ]


def is_word_character(character: str) -> bool:
    """Whether words are made of it."""
    return _WORD_CHARACTER.match(character) is not None


def fold(text: str) -> str:
    """The same for words that differ in case or in the kind of apostrophe; as long as ``text``."""
    lower = (c.lower() for c in text.replace("\u2019", "'"))
    return "".join(low if len(low) == 1 else c for low, c in zip(lower, text, strict=True))


def settle_form(text: str, vocabulary: Vocabulary) -> str:
    """Composed or decomposed, as the model knows it better: typing may give either."""
    if text.isascii():
        return text
    forms = [text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)]
    return min(forms, key=lambda form: int((vocabulary.encode(form) == UNKNOWN).sum()))


def in_case_of(rest: str, prefix: str) -> str:
    """``rest`` in capitals where it completes a word that is being written in capitals."""
    shouted = len(prefix) > 1 and prefix.isupper()
    return rest.upper() if shouted else rest


def softmax(logits: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Logits [..., V] of any kind -> probabilities [..., V]."""
    logits = np.asarray(logits, np.float64)
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(p / p.sum(axis=-1, keepdims=True))
