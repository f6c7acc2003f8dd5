"""The vocabulary: symbols and their ids, and one policy for what is not in it.

Id 0 is reserved for the unknown symbol. It has no text of its own: encoding maps every symbol
outside the vocabulary to it (so that each is scored, and counted, never mistaken for another),
and sampling never draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from charrnn.errors import DataError

UNKNOWN = 0
Ids = np.ndarray[Any, np.dtype[np.int32]]


def code_points(text: str) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """The Unicode code points of ``text`` [len(text)]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


class CharVocabulary:
    """Unicode code points in a fixed order; ids are 1 and up in that order."""

    def __init__(self, symbols: Sequence[str]) -> None:
        """Raises ``DataError`` unless ``symbols`` are distinct single Unicode scalar values."""
        points = [ord(s) if len(s) == 1 else -1 for s in symbols]
        valid = all(0 <= p < 0xD800 or p > 0xDFFF for p in points)
        if not points or not valid or len(set(points)) != len(points):
            raise DataError("vocabulary is not a set of characters")
        self.symbols = tuple(symbols)
        self._points = np.array([0xFFFD, *points], dtype=np.uint32)
        self._ids = np.full(max(points) + 2, UNKNOWN, dtype=np.int32)
        self._ids[points] = np.arange(1, len(points) + 1)

    @classmethod
    def of(cls, text: str) -> CharVocabulary:
        """All symbols of ``text``, in the order of their code points."""
        return cls(sorted(set(text)))

    def __len__(self) -> int:
        """The number of ids, the unknown symbol's included."""
        return len(self.symbols) + 1

    @property
    def start(self) -> int:
        """The id before every text's first symbol: a line break, or the first symbol there is."""
        return self.symbols.index("\n") + 1 if "\n" in self.symbols else 1

    def encode(self, text: str) -> Ids:
        """Ids of the symbols, one for each; ``UNKNOWN`` for those outside the vocabulary."""
        return self._ids.take(np.minimum(code_points(text), len(self._ids) - 1))

    def decode(self, ids: Ids) -> str:
        """The text of ``ids``; the unknown symbol becomes U+FFFD."""
        return self._points[ids].astype("<u4").tobytes().decode("utf-32-le")

    def unknown_symbols(self, text: str) -> list[str]:
        """The distinct symbols of ``text`` outside the vocabulary, in order of appearance."""
        return [s for s in dict.fromkeys(text) if s not in self.symbols]
