"""Reading text: files, folders, stdin and .gz, as UTF-8, in chunks, and never normalised."""

from __future__ import annotations

import codecs
import errno
import gzip
import hashlib
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import DataError, InputNotFoundError, InputOutputError, UsageError
from charrnn.text.store import StoredCharacters, StoredText

STDIN = "-"
#: Errors that say that a name means no file.
NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)

_CHUNK = 1 << 18  # bytes read at once: no fewer than a byte-order mark has; fastest in the cache


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

    They are added to ``text``, which is empty and by default of characters.
    Raises ``InputNotFoundError`` for a missing file, ``DataError`` for one that is empty,
    binary, UTF-16 or not UTF-8 (naming the byte offset), ``InputOutputError`` for one that
    cannot be read or where the text cannot be kept.
    """
    paths = [path for source in sources for path in expand(str(source))]
    if not paths:
        raise UsageError("no corpus given", remedy="name a text file, a folder or - for stdin")
    text = StoredCharacters() if text is None else text
    digest, size, characters = hashlib.sha256(), 0, 0
    notes: list[str] = []
    for path in paths:
        before = characters
        for raw, piece in decoded(path, notes):
            digest.update(raw)
            size += len(raw)
            characters += len(piece)
            text.append(piece)
        text.end()
        if characters == before:
            raise DataError("empty file", path, "a corpus needs text")
    names = tuple(map(str, sources))
    return Corpus(text, names, size, characters, digest.hexdigest(), tuple(notes))


def expand(source: str) -> list[str]:
    """The files that are meant; raises ``InputNotFoundError`` for a folder without any."""
    # Unlike Path.is_dir, this never raises, whatever the name.
    if source == STDIN or not os.path.isdir(source):  # noqa: PTH112
        return [source]
    found = sorted(
        str(p)
        for p in Path(source).rglob("*")
        if p.name.endswith((".txt", ".txt.gz")) and p.is_file()
    )
    if not found:
        raise InputNotFoundError("folder without text files", source, "it needs *.txt or *.txt.gz")
    return found


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
            for _ in chunks:
                pass  # a NUL further on says more about the file
            raise DataError(
                "invalid UTF-8",
                source,
                f"byte 0x{rest[error.start]:02x} at offset {at + error.start}; "
                "convert the file to UTF-8",
            ) from None
        if at == 0 and text.startswith("\ufeff"):
            text = text.removeprefix("\ufeff")
            notes.append(f"{source}: byte-order mark left out")
        crlf = crlf or "\r\n" in text or last + text[:1] == "\r\n"
        at, rest, last = at + used, rest[used:], text[-1:]
        yield raw, text
    if crlf:
        notes.append(f"{source}: CRLF line ends kept as they are")


def _chunks(source: str) -> Iterator[bytes]:
    """The bytes of a file, decompressed, in chunks, the last one empty."""
    at = 0
    try:
        with _open(source) as file:
            while raw := file.read(_CHUNK):
                if at == 0 and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise DataError("UTF-16 text", source, "convert it: iconv -f UTF-16 -t UTF-8")
                if 0 in raw:
                    offset = at + raw.find(0)
                    raise DataError("binary file", source, f"NUL byte at offset {offset}")
                at += len(raw)
                yield raw
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError("damaged, or not a gzip file", source, str(error)) from None
    except OSError as error:
        if error.errno in NO_SUCH_FILE:
            raise InputNotFoundError("no such file", source) from None
        raise InputOutputError("cannot read", source, error.strerror or str(error)) from None
    yield b""


def _open(source: str) -> AbstractContextManager[BinaryIO | gzip.GzipFile]:
    if source == STDIN:
        return nullcontext(sys.stdin.buffer)
    return gzip.open(source) if source.endswith(".gz") else Path(source).open("rb")
