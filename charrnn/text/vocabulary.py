"""Vocabularies: symbols and their ids, and one policy for what is not among them.

Id 0 is reserved for the unknown symbol. Encoding maps every symbol outside the vocabulary to it (so
that each is scored, and counted, never mistaken for another), and sampling never draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from charrnn.errors import DataError

UNKNOWN = 0
Ids = np.ndarray[Any, np.dtype[np.int32]]
Places = np.ndarray[Any, np.dtype[np.int64]]


def code_points(text: str) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """The Unicode code points of ``text`` [len(text)]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


class Vocabulary(Protocol):
    """Symbols in a fixed order; ids are 1 and up in that order."""

    symbols: tuple[str, ...]
    tokens: list[str]
    """The symbols by id, with something to stand for the unknown one."""
    tokenizer: str
    """``char`` or the name of a tokenizer of the word level."""

    def __len__(self) -> int:
        """The number of ids, the unknown symbol's included."""

    @property
    def start(self) -> int:
        """The id before every text's first symbol: a line break, or the first symbol there is."""

    def extended(self, symbols: Sequence[str]) -> Vocabulary:
        """With those of ``symbols`` that it lacks at its end: ids stay as they are."""

    def encode(self, text: str) -> Ids:
        """Ids of the symbols; ``UNKNOWN`` for those outside the vocabulary."""

    def encode_symbols(self, symbols: Sequence[str]) -> Ids:
        """As ``encode``, of a text that is split already."""

    def located(self, text: str, *, last: bool) -> tuple[Ids, Places, int]:
        """As ``encode``, and where the symbols end [N], and how much of the text was used.

        That is all of it if this is the ``last`` of a text; else what is sure to be split so.
        """

    def decode(self, ids: Ids, after: int | str = "") -> str:
        """The text of ``ids``; ``after`` is the id before them, or the text."""

    def prompt(self, text: str) -> tuple[Ids, str, Ids]:
        """Of a text to be continued: the ids of what is settled, the rest, the ids that begin so.

        What word a text ends in, or whether there is a space behind its comma, shows only when it
        goes on: the next symbol is one that begins with the rest.
        """

    def unknown_symbols(self, text: str) -> list[str]:
        """The distinct symbols of ``text`` outside the vocabulary, in order of appearance."""

    def without_unknown(self, text: str, growing: bool = False) -> str:
        """``text`` without the symbols outside the vocabulary; a ``growing`` last one is kept."""


class CharVocabulary:
    """Unicode code points; see ``Vocabulary``."""

    tokenizer = "char"

    def __init__(self, symbols: Sequence[str]) -> None:
        """Raises ``DataError`` unless ``symbols`` are distinct single Unicode scalar values."""
        points = [ord(s) if len(s) == 1 else -1 for s in symbols]
        valid = all(0 <= p < 0xD800 or p > 0xDFFF for p in points)
        if not points or not valid or len(set(points)) != len(points):
            raise DataError("vocabulary is not a set of characters")
        self.symbols = tuple(symbols)
        self.tokens = ["\ufffd", *symbols]
        self._points = np.array([0xFFFD, *points], dtype=np.uint32)
        self._ids = np.full(max(points) + 2, UNKNOWN, dtype=np.int32)
        self._ids[points] = np.arange(1, len(points) + 1)

    @classmethod
    def of(cls, text: str) -> CharVocabulary:
        """All symbols of ``text``, in the order of their code points."""
        return cls(sorted(set(text)))

    def __len__(self) -> int:
        return len(self.symbols) + 1

    @property
    def start(self) -> int:
        return self.symbols.index("\n") + 1 if "\n" in self.symbols else 1

    def extended(self, symbols: Sequence[str]) -> CharVocabulary:
        return CharVocabulary(list(dict.fromkeys([*self.symbols, *symbols])))

    def encode(self, text: str) -> Ids:
        return self._ids.take(np.minimum(code_points(text), len(self._ids) - 1))

    def encode_symbols(self, symbols: Sequence[str]) -> Ids:
        return self.encode("".join(symbols))

    def located(self, text: str, *, last: bool) -> tuple[Ids, Places, int]:
        return self.encode(text), np.arange(1, len(text) + 1), len(text)

    def decode(self, ids: Ids, after: int | str = "") -> str:
        return self._points[ids].astype("<u4").tobytes().decode("utf-32-le")

    def prompt(self, text: str) -> tuple[Ids, str, Ids]:
        return self.encode(text), "", self.encode("")

    def unknown_symbols(self, text: str) -> list[str]:
        known = set(self.symbols)  # thousands, of Chinese
        return [s for s in dict.fromkeys(text) if s not in known]

    def without_unknown(self, text: str, growing: bool = False) -> str:
        known = set(self.symbols)
        return "".join(s for s in text if s in known)
