"""Reading text: files, folders, stdin and .gz, as UTF-8, in chunks, and never normalised.

What is not text is refused before anything is made of it. So is a gzip file that unpacks to more
than 200 times its size, beyond 64 MiB: prose reaches 3:1, logs 5:1 to 30:1, one whose every line
stands there ten times 120:1, a page over and over 170:1; the format's limit, and what is made to
fill a disk, is 1,032:1. So the disk and the time that a file can take are bounded by its size.
"""

from __future__ import annotations

import codecs
import errno
import gzip
import hashlib
import io
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from charrnn.errors import (
    NO_SUCH_FILE,
    CharrnnError,
    DataError,
    InputNotFoundError,
    InputOutputError,
    UsageError,
)
from charrnn.text.store import StoredCharacters, StoredText

STDIN = "-"

_CHUNK = 1 << 18  # bytes read at once: no fewer than a byte-order mark has; fastest in the cache
_AHEAD = 1 << 20  # bytes searched for a NUL behind what is not UTF-8: a stream may have no end
_UNPACKED, _RATIO = 1 << 26, 200  # bytes that any gzip file may have, and how many for each of its

#: How files begin that are no UTF-8, and how to make them so. Those of UTF-32 begin like UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: ("UTF-32 text", "convert it: iconv -f UTF-32 -t UTF-8"),
    codecs.BOM_UTF32_BE: ("UTF-32 text", "convert it: iconv -f UTF-32 -t UTF-8"),
    codecs.BOM_UTF16_LE: ("UTF-16 text", "convert it: iconv -f UTF-16 -t UTF-8"),
    codecs.BOM_UTF16_BE: ("UTF-16 text", "convert it: iconv -f UTF-16 -t UTF-8"),
    b"\x1f\x8b": ("gzip data", "unpack it: gzip -dc, or name it *.gz"),
}
#: Which of the first four bytes are NUL where a text without a mark begins in ASCII.
_NULS: dict[tuple[bool, ...], str] = {
    (False, True, False, True): "UTF-16LE",
    (True, False, True, False): "UTF-16BE",
    (False, True, True, True): "UTF-32LE",
    (True, True, True, False): "UTF-32BE",
}


@dataclass(frozen=True)
class Corpus:
    """A text, where it came from and what was done to it.

    ``sources`` as they were given; ``sha256`` is of the raw bytes of all files in order, after
    decompression.
    """

    text: StoredText
    sources: tuple[str, ...]
    bytes: int
    characters: int
    sha256: str
    notes: tuple[str, ...]


def read_corpus(sources: Sequence[str | Path], text: StoredText | None = None) -> Corpus:
    """The texts of files, folders (their ``*.txt`` and ``*.txt.gz``, sorted) and ``-``, joined.

    They are added to ``text``, which is empty and by default of characters. A file given twice is
    read twice, and that is noted.
    Raises ``InputNotFoundError`` for a missing file, ``DataError`` for one that is empty, binary,
    UTF-16 or not UTF-8 (naming the byte offset), or a gzip file that is damaged or unpacks to far
    too much, ``InputOutputError`` for one that cannot be read or where the text cannot be kept.
    """
    paths = [path for source in sources for path in expand(str(source))]
    if not paths:
        raise UsageError("no corpus given", remedy="name a text file, a folder or - for stdin")
    text = StoredCharacters() if text is None else text
    digest, size, characters = hashlib.sha256(), 0, 0
    notes: list[str] = []
    seen: set[str] = set()
    for path in paths:
        before, file = characters, os.path.realpath(path)
        if file in seen and path != STDIN:
            notes.append(f"{path}: given again, and read again")
        seen.add(file)
        for raw, piece in decoded(path, notes):
            digest.update(raw)
            size += len(raw)
            characters += len(piece)
            try:
                text.append(piece)
            except DataError as error:  # it was found in the text, and knows no more
                raise DataError(error.what, f"{path}: {error.where}", error.remedy) from None
        text.end()
        if characters == before:
            raise DataError("empty file", path, "a corpus needs text")
    names = tuple(map(str, sources))
    text.name = names[0] + (" and more" if len(names) > 1 else "")
    return Corpus(text, names, size, characters, digest.hexdigest(), tuple(notes))


def expand(source: str) -> list[str]:
    """The files that are meant: of a folder its texts, at any depth.

    Links to files are followed, those to folders not: they may lead back. Raises
    ``InputNotFoundError`` for a folder without any, ``InputOutputError`` where one cannot be read.
    """
    # Unlike Path.is_dir, this never raises, whatever the name.
    if source == STDIN or not os.path.isdir(source):  # noqa: PTH112
        return [source]
    try:
        found = sorted(
            str(path)
            for folder, _, names in os.walk(source, onerror=_fail)
            for name in names
            if name.endswith((".txt", ".txt.gz")) and (path := Path(folder, name)).is_file()
        )
    except OSError as error:
        raise _not_read(error.filename or source, error) from None
    if not found:
        raise InputNotFoundError("folder without text files", source, "it needs *.txt or *.txt.gz")
    return found


def _fail(error: OSError) -> None:
    raise error


def decoded(source: str, notes: list[str]) -> Iterator[tuple[bytes, str]]:
    """A file in chunks of bytes, decompressed, each with the text that is complete with it.

    Raises what ``read_corpus`` raises, but not for an empty file.
    """
    at, rest, last, crlf = 0, b"", "", False
    chunks = _chunks(source)
    for raw in chunks:
        rest += raw
        try:
            text, used = codecs.utf_8_decode(rest, "strict", not raw)
        except UnicodeDecodeError as error:
            _look_ahead(chunks)  # a NUL further on says more about the file
            place = f"byte 0x{rest[error.start]:02x} at offset {at + error.start}"
            cut = error.reason == "unexpected end of data"
            remedy = "the file ends within a character" if cut else "convert the file to UTF-8"
            raise DataError("invalid UTF-8", source, f"{place}; {remedy}") from None
        if at == 0 and text.startswith("\ufeff"):
            text = text.removeprefix("\ufeff")
            notes.append(f"{source}: byte-order mark left out")
        crlf = crlf or "\r\n" in text or last + text[:1] == "\r\n"
        at, rest, last = at + used, rest[used:], text[-1:]
        yield raw, text
    if crlf:
        notes.append(f"{source}: CRLF line ends kept as they are")


def _look_ahead(chunks: Iterator[bytes]) -> None:
    """Read on for a while; raises ``DataError`` where the file turns out to be binary."""
    size = 0
    while size < _AHEAD and (raw := next(chunks, b"")):
        size += len(raw)


def _chunks(source: str) -> Iterator[bytes]:
    """The bytes of a file, decompressed, in chunks, the last one empty."""
    at, head = 0, b""
    try:
        for raw in _read(source):
            head = head or raw[:4]
            for mark, (what, remedy) in _MARKS.items():
                if at == 0 and raw.startswith(mark):
                    raise DataError(what, source, remedy)
            if 0 in raw:
                raise _binary(source, at + raw.find(0), head)
            at += len(raw)
            yield raw
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError("damaged, or not a gzip file", source, str(error)) from None
    except OSError as error:
        raise _not_read(source, error) from None
    yield b""


def _read(source: str) -> Iterator[bytes]:
    """As ``_chunks``, whatever they are."""
    if source == STDIN:
        if sys.stdin is None:
            raise OSError(errno.EBADF, "stdin is closed")
        yield from _parts(sys.stdin.buffer)
    elif not source.endswith(".gz"):
        with Path(source).open("rb") as file:
            yield from _parts(file)
    else:
        with _Counted(source) as packed, gzip.GzipFile(fileobj=io.BufferedReader(packed)) as file:
            size = 0
            for raw in _parts(file):
                size += len(raw)
                if size > max(_UNPACKED, _RATIO * packed.taken):
                    raise DataError(
                        "gzip file that unpacks to far too much",
                        source,
                        f"{size:,} bytes from {packed.taken:,}, and more to come; "
                        "if that is a text, unpack it yourself: gzip -d",
                    )
                yield raw


def _parts(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    return iter(partial(file.read, _CHUNK), b"")


class _Counted(io.FileIO):
    """A file that knows how many of its bytes were taken; not each can tell, a FIFO cannot."""

    taken = 0

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        self.taken += count or 0
        return count


def _binary(source: str, offset: int, head: bytes) -> DataError:
    remedy = f"NUL byte at offset {offset}"
    if encoding := _NULS.get(tuple(byte == 0 for byte in head)):
        remedy += f"; if it is {encoding}, convert it: iconv -f {encoding} -t UTF-8"
    return DataError("binary file", source, remedy)


def _not_read(source: str, error: OSError) -> CharrnnError:
    if error.errno in (*NO_SUCH_FILE, errno.ELOOP):
        link = os.path.islink(source)  # noqa: PTH114 (never raises, whatever the name)
        return InputNotFoundError("broken link" if link else "no such file", source)
    return InputOutputError("cannot read", source, error.strerror or str(error))
