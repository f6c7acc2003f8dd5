"""Reading text: files, folders, stdin and .gz, as UTF-8 and never normalised."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charrnn.errors import DataError, InputNotFoundError, InputOutputError, UsageError

STDIN = "-"


@dataclass(frozen=True)
class Corpus:
    """A text, where it came from and what was done to it.

    ``sha256`` is of the raw bytes of all ``sources`` in order, after decompression.
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
    return Corpus("".join(texts), tuple(paths), size, digest.hexdigest(), tuple(notes))


def _expand(source: str) -> list[str]:
    if source == STDIN or not is_folder(Path(source)):
        return [source]
    found = sorted(
        str(p)
        for p in Path(source).rglob("*")
        if p.name.endswith((".txt", ".txt.gz")) and p.is_file()
    )
    if not found:
        raise InputNotFoundError("folder without text files", source, "it needs *.txt or *.txt.gz")
    return found


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; a name that cannot be one, such as a long text, is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _read_bytes(source: str) -> bytes:
    try:
        if source == STDIN:
            return sys.stdin.buffer.read()
        if source.endswith(".gz"):
            with gzip.open(source) as file:
                return file.read()
        return Path(source).read_bytes()
    except FileNotFoundError:
        raise InputNotFoundError("no such file", source) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError("not a sound gzip file", source, str(error)) from None
    except OSError as error:
        raise InputOutputError("cannot read", source, error.strerror or str(error)) from None


def _decode(raw: bytes, source: str, notes: list[str]) -> str:
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError("UTF-16 text", source, "convert it: iconv -f UTF-16 -t UTF-8")
    if raw in (b"", codecs.BOM_UTF8):
        raise DataError("empty file", source, "a corpus needs text")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = error.start
        if b"\0" in raw:
            raise DataError("binary file", source, f"NUL byte at offset {raw.find(0)}") from None
        raise DataError(
            "invalid UTF-8",
            source,
            f"byte 0x{raw[offset]:02x} at offset {offset}; convert the file to UTF-8",
        ) from None
    if "\0" in text:
        raise DataError("binary file", source, f"NUL byte at offset {raw.find(0)}")
    if text.startswith("\ufeff"):
        text = text.removeprefix("\ufeff")
        notes.append(f"{source}: byte-order mark left out")
    if "\r\n" in text:
        notes.append(f"{source}: CRLF line ends kept as they are")
    return text
