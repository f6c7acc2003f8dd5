"""Texts of any length, in a temporary file instead of memory.

The file is read back piece by piece, never mapped: what has been read then stays in the system's
cache of files, which gives it up when memory is wanted, and is not memory of this process.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from charrnn.errors import InputOutputError
from charrnn.text.vocabulary import UNKNOWN, CharVocabulary, Ids, Vocabulary, code_points

_PART = 1 << 20  # numbers read at once where all of them are wanted
_CODE_POINTS = 0x110000

Numbers = np.ndarray[Any, np.dtype[Any]]


class StoredText:
    """A text that grows at its end, kept as one number for each symbol.

    Which symbols a text has shows only while it is read: they are numbered as they first appear,
    and the numbers get wider when there are too many. ``symbols`` are the different ones so far.
    """

    symbols: Any
    """A sequence of them: str or list."""
    notes: tuple[str, ...] = ()
    """What one would want to know of how it was read."""
    name = ""
    """What to call it in an error."""

    def __init__(self) -> None:
        self.numbers = NumberFile(np.dtype(np.uint8))

    def like(self) -> StoredText:
        """An empty one of the same kind."""
        raise NotImplementedError

    def __len__(self) -> int:
        """The number of symbols."""
        return len(self.numbers)

    def append(self, text: str) -> None:
        """Add ``text``; raises ``InputOutputError`` where the file cannot be written."""
        raise NotImplementedError

    def end(self) -> None:
        """The text of a file is complete."""

    def widths(self) -> Numbers:
        """The characters of each symbol, in which a space that is implied does not count."""
        raise NotImplementedError

    def words(self) -> Numbers:
        """Which symbols are words: between two of them a space is implied."""
        raise NotImplementedError

    def vocabulary(self, length: int) -> Vocabulary:
        """The vocabulary of the first ``length`` > 0 symbols."""
        raise NotImplementedError

    def encoded(self, vocabulary: Vocabulary, start: int, stop: int) -> EncodedText:
        """The ids of the symbols from ``start`` to ``stop``."""
        return EncodedText(self, vocabulary.encode_symbols(self.symbols), range(start, stop))

    def make_room(self) -> None:
        """Widen the numbers where those of ``symbols``, and one more, need it."""
        dtype = np.min_scalar_type(len(self.symbols))
        if dtype != self.numbers.dtype:
            narrow, self.numbers = self.numbers, NumberFile(dtype)
            for part in narrow.parts(range(len(narrow))):
                self.numbers.append(part)


class StoredCharacters(StoredText):
    """A text whose symbols are its characters."""

    def __init__(self) -> None:
        super().__init__()
        self.symbols = ""
        self._number_of = self._table()

    def like(self) -> StoredCharacters:
        return StoredCharacters()

    def append(self, text: str) -> None:
        points = code_points(text)
        numbers = self._number_of.take(points)
        unseen = numbers == np.iinfo(numbers.dtype).max
        if unseen.any():
            new = points[unseen].tobytes().decode("utf-32-le")
            self.symbols += "".join(dict.fromkeys(new))
            self.make_room()
            self._number_of = self._table()
            numbers = self._number_of.take(points)
        self.numbers.append(numbers)

    def widths(self) -> Numbers:
        return np.ones(len(self.symbols), np.int64)

    def words(self) -> Numbers:
        return np.zeros(len(self.symbols), bool)

    def vocabulary(self, length: int) -> CharVocabulary:
        parts = self.numbers.parts(range(length))
        return CharVocabulary.of(self.symbols[: max(int(part.max()) for part in parts) + 1])

    def _table(self) -> Numbers:
        """From code points to numbers; the largest of the dtype is that of unseen symbols."""
        dtype = self.numbers.dtype
        table = np.full(_CODE_POINTS, np.iinfo(dtype).max, dtype)
        table[code_points(self.symbols)] = np.arange(len(self.symbols))
        return table


class EncodedText:
    """The ids of a part of a stored text, read from its file as they are asked for."""

    def __init__(self, text: StoredText, ids: Ids, places: range) -> None:
        """``ids`` are those of the symbols by number, ``places`` where the part stands."""
        self._numbers, self._ids, self._places = text.numbers, ids, places
        self.name = text.name
        self._widths = np.where(ids == UNKNOWN, 0, text.widths())
        self._words, self._known = text.words(), ids != UNKNOWN

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, part: slice) -> Ids:
        """A contiguous slice, as an array [N] of int32, of no more than 2 GiB in the file."""
        assert part.step is None
        return self._ids.take(self._numbers.read(self._places[part]))

    def characters(self, count: int) -> int:
        """The characters of the first ``count`` symbols, without those of unknown ones.

        So that what is spent on each character is no less where fewer words are known. A space that
        is implied between two words is one of the second's.
        """
        total, after_word = 0, False
        for part in self._numbers.parts(self._places[:count]):
            words = np.concatenate([[after_word], self._words[part]])
            spaces = words[1:] & words[:-1] & self._known[part]
            total += int(self._widths[part].sum() + spaces.sum())
            after_word = words[-1]
        return total

    def unknown(self) -> int:
        """How many symbols are outside the vocabulary."""
        if UNKNOWN not in self._ids:  # of all that the text has: there is no need to read it
            return 0
        parts = self._numbers.parts(self._places)
        return sum(int((self._ids.take(part) == UNKNOWN).sum()) for part in parts)


class NumberFile:
    """A growing array of unsigned ``dtype`` in a temporary file, which goes when the array goes."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype, self._length = dtype, 0
        import tempfile  # loads what most commands do without

        try:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115, see finalize
        except OSError as error:
            raise _not_kept(error) from None
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self._length

    def append(self, numbers: Numbers) -> None:
        left = memoryview(numbers.astype(self.dtype).tobytes())
        try:
            while left:  # the file is not buffered and may take a part: the last that fits, say
                left = left[self._file.write(left) :]
        except OSError as error:
            raise _not_kept(error) from None
        self._length += len(numbers)

    def read(self, places: range) -> Numbers:
        size = self.dtype.itemsize
        raw = os.pread(self._file.fileno(), len(places) * size, places.start * size)
        return np.frombuffer(raw, self.dtype)

    def parts(self, places: range) -> Iterator[Numbers]:
        for at in range(0, len(places), _PART):
            yield self.read(places[at : at + _PART])


def _not_kept(error: OSError) -> InputOutputError:
    return InputOutputError(
        "cannot keep the text in a temporary file",
        error.strerror or str(error),
        "set TMPDIR to a folder with room for it",
    )
