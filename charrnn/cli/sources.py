"""The texts that charrnn eval reads, one by one, whatever is wrong with one of them."""

from __future__ import annotations

import codecs
import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from charrnn.cli.console import one_line, report, say
from charrnn.errors import CharrnnError, DataError, UsageError
from charrnn.text.corpus import STDIN, decoded, expand
from charrnn.text.segments import whole_lines


class Sources:
    """Every file that is meant. Errors are reported, and collected as ``failed`` for JSON."""

    def __init__(self, files: Iterable[str], *, bars: bool) -> None:
        """``bars``: of what is read may be drawn."""
        self.files, self.bars = files, bars
        self.errors: list[CharrnnError] = []
        self.failed: list[dict[str, str]] = []

    def __iter__(self) -> Iterator[Source]:
        for given in self.files:
            with self.reported(given):
                yield from (Source(name, self.bars) for name in expand(given))

    @contextmanager
    def reported(self, name: str) -> Iterator[None]:
        """An error in one file is no reason to leave out the others; no name: one of all texts."""
        try:
            yield
        except CharrnnError as error:
            if not error.where.startswith(name):  # it was found in the text, and knows no more
                where = f"{name}: {error.where}" if error.where else name
                error = type(error)(error.what, where, error.remedy)
            report(str(error))
            self.errors.append(error)
            self.failed.append({"file": name, "error": str(error)})


class Source:
    """A file; ``sha256`` is that of its bytes, decompressed, once it was read.

    ``start`` is where its text begins: behind a byte-order mark.
    """

    def __init__(self, name: str, bar: bool) -> None:
        self.name, self.bar, self.start = name, bar, 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def pieces(self) -> Iterator[str]:
        """Its text, piece by piece; with a bar on a terminal, since a long text takes long."""
        notes: list[str] = []
        size = os.path.getsize(self.name) if os.path.isfile(self.name) else None  # noqa: PTH113, PTH202
        plain = not self.name.endswith(".gz")
        first, empty = True, True
        with tqdm(
            total=size if plain else None, unit="B", unit_scale=True, leave=False, delay=1,
            disable=not self.bar, desc=one_line(self.name), dynamic_ncols=True,
        ) as bar:  # fmt: skip
            for raw, piece in decoded(self.name, notes):
                if first and raw.startswith(codecs.BOM_UTF8):
                    self.start = len(codecs.BOM_UTF8)
                first = False
                self._digest.update(raw)
                empty = empty and not piece
                yield piece
                bar.update(len(raw))
        if empty:
            raise DataError("empty file", self.name, "there is nothing to score")
        for note in notes:
            say(note)

    def again(self) -> Source:
        """The same file, to be read once more; raises ``UsageError`` for stdin."""
        if self.name == STDIN:
            raise UsageError("stdin can be read once", remedy="write the text to a file")
        return Source(self.name, self.bar)


def hypotheses(source: Source, names: deque[str]) -> Iterator[str]:
    """The texts of lines ID<tab>TEXT, each with its line break; the IDs go into ``names``."""
    for number, line in enumerate(whole_lines(source.pieces()), 1):
        name, tab, text = line.removesuffix("\n").partition("\t")
        if not tab:
            where = f"{source.name}, line {number}"
            raise DataError("line without a tab", where, "lines are ID<tab>TEXT")
        names.append(name)
        yield f"{text}\n"
