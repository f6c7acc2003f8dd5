"""A text symbol by symbol, as it is read: ids, and where each symbol stands."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from charrnn.text.vocabulary import UNKNOWN, Ids, Places, Vocabulary, code_points


class Segment(NamedTuple):
    """N symbols that follow each other in ``text``.

    ``ends`` [N] are where they end, in characters; ``byte_ends`` [N] in bytes of UTF-8, which are
    counted from the beginning of the whole text. Space that is in no symbol belongs to the next.
    """

    text: str
    ids: Ids
    ends: Places
    byte_ends: Places
    byte_start: int

    def symbol(self, n: int) -> str:
        """The text of a symbol, with the space before it that is in none."""
        return self.text[self.ends[n - 1] if n else 0 : self.ends[n]]

    def part(self, start: int, stop: int) -> Segment:
        """Some of the symbols."""
        begin = int(self.ends[start - 1]) if start else 0
        places = slice(start, stop)
        return Segment(
            self.text[begin : self.ends[stop - 1]],
            self.ids[places],
            self.ends[places] - begin,
            self.byte_ends[places],
            int(self.byte_ends[start - 1]) if start else self.byte_start,
        )

    @property
    def characters(self) -> Places:
        """Those of each symbol [N]."""
        return np.diff(self.ends, prepend=0)

    @property
    def bytes(self) -> Places:
        """Those of each symbol [N]."""
        return np.diff(self.byte_ends, prepend=self.byte_start)

    @property
    def known(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which symbols are in the vocabulary [N]."""
        return np.not_equal(self.ids, UNKNOWN)


def lines(pieces: Iterable[str], vocabulary: Vocabulary) -> Iterator[Segment]:
    """A text that comes in pieces, line by line, each split for itself."""
    at = 0
    for line in whole_lines(pieces):
        ids, ends, _ = vocabulary.located(line, last=True)
        places = at + _byte_ends(line)
        if len(ids):
            yield Segment(line[: ends[-1]], ids, ends, places[ends - 1], at)
        at = int(places[-1])


def whole_lines(pieces: Iterable[str]) -> Iterator[str]:
    """The lines of a text that comes in pieces, with their line breaks."""
    begun: list[str] = []  # of a line that is joined once, however long it is
    for piece in pieces:
        *whole, rest = piece.split("\n")
        for end in whole:
            yield "".join([*begun, end, "\n"])
            begun = []
        begun.append(rest)
    if last := "".join(begun):
        yield last


def segments(pieces: Iterable[str], vocabulary: Vocabulary) -> Iterator[Segment]:
    """A text that comes in pieces, cut where it suits the tokenizer."""
    rest, gap, at = "", "", 0
    for piece in itertools.chain(pieces, [None]):
        rest += piece or ""
        ids, ends, used = vocabulary.located(rest, last=piece is None)
        stop = ends[-1] if len(ends) else 0
        if len(ids):
            text, ends = gap + rest[:stop], ends + len(gap)
            places = at + _byte_ends(text)[ends - 1]
            yield Segment(text, ids, ends, places, at)
            gap, at = "", int(places[-1])
        gap, rest = gap + rest[stop:used], rest[used:]


def _byte_ends(text: str) -> Places:
    """Where each character of a text ends in UTF-8."""
    points = code_points(text)
    widths = 1 + (points >= 0x80) + (points >= 0x800) + (points >= 0x10000)
    return np.cumsum(widths, dtype=np.int64)
