"""Reading text: files, folders, stdin and .gz, as UTF-8 and never normalised."""

from __future__ import annotations

import codecs
import errno
import gzip
import hashlib
import os
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charrnn.errors import DataError, InputNotFoundError, InputOutputError, UsageError

STDIN = "-"
#: Errors that say that a name means no file.
NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


@dataclass(frozen=True)
class Corpus:
    """A text, where it came from and what was done to it.

    ``sources`` as they were given; ``sha256`` is of the raw bytes of all files in order, after
    decompression.
    """

    text: str
    sources: tuple[str, ...]
    bytes: int
    sha256: str
    notes: tuple[str, ...]


def read_corpus(sources: Sequence[str | Path]) -> Corpus:
    """The texts of files, folders (their ``*.txt`` and ``*.txt.gz``, sorted) and ``-``, joined.

    Raises ``InputNotFoundError`` for a missing file, ``DataError`` for one that is empty,
    binary, UTF-16 or not UTF-8 (naming the byte offset), ``InputOutputError`` for one that
    cannot be read.
    """
    paths = [path for source in sources for path in _expand(str(source))]
    if not paths:
        raise UsageError("no corpus given", remedy="name a text file, a folder or - for stdin")
    texts: list[str] = []
    notes: list[str] = []
    digest, size = hashlib.sha256(), 0
    for path in paths:
        raw = _read_bytes(path)
        digest.update(raw)
        size += len(raw)
        texts.append(_decode(raw, path, notes))
    return Corpus("".join(texts), tuple(map(str, sources)), size, digest.hexdigest(), tuple(notes))


def _expand(source: str) -> list[str]:
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


def _read_bytes(source: str) -> bytes:
    try:
        if source == STDIN:
            return sys.stdin.buffer.read()
        if source.endswith(".gz"):
            with gzip.open(source) as file:
                return file.read()
        return Path(source).read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError("damaged, or not a gzip file", source, str(error)) from None
    except OSError as error:
        if error.errno in NO_SUCH_FILE:
            raise InputNotFoundError("no such file", source) from None
        raise InputOutputError("cannot read", source, error.strerror or str(error)) from None


def _decode(raw: bytes, source: str, notes: list[str]) -> str:
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError("UTF-16 text", source, "convert it: iconv -f UTF-16 -t UTF-8")
    if raw in (b"", codecs.BOM_UTF8):
        raise DataError("empty file", source, "a corpus needs text")
    if 0 in raw:
        raise DataError("binary file", source, f"NUL byte at offset {raw.find(0)}")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = error.start
        raise DataError(
            "invalid UTF-8",
            source,
            f"byte 0x{raw[offset]:02x} at offset {offset}; convert the file to UTF-8",
        ) from None
    if text.startswith("\ufeff"):
        text = text.removeprefix("\ufeff")
        notes.append(f"{source}: byte-order mark left out")
    if "\r\n" in text:
        notes.append(f"{source}: CRLF line ends kept as they are")
    return text
