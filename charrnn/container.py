"""Safetensors files as bytes: header, offsets, digest. What they mean is another's business.

A file is the length of its header in 8 bytes, the header, which is JSON and says the type, shape
and offsets of each tensor, and the tensors without gaps. Nothing of a stranger's file is believed:
of its data nothing is read, and nothing of its size allocated, before ``Container.check`` has
found the header to say just what it should.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn import strict_json
from charrnn.backend import NumpyBackend
from charrnn.errors import (
    NO_SUCH_FILE,
    CharrnnError,
    DataError,
    InputNotFoundError,
    InputOutputError,
    MemoryLimitError,
)

Array = np.ndarray[Any, Any]
#: Of each tensor its type, as safetensors calls it, and its shape.
Specs = Mapping[str, tuple[str, tuple[int, ...]]]
Entries = dict[str, dict[str, Any]]

#: Bytes of an element. NumPy has no BF16: its elements are read as numbers of 16 bits.
WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "U8": 1}
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "U8": "|u1"}

NO_DIGEST = "0" * 64
MAX_TEXT = 1 << 20  # of metadata
_MAX_HEADER = 5 << 19  # the metadata, escaped, and a line for each tensor
_MAX_FILE = 1 << 36
_CHUNK = 1 << 18  # read and digested while it is in the cache
_LARGE = 1 << 28  # files from here on are compared with the memory there is
_SHOWN = 300  # characters of what is wrong: names and values may be long

_NOT_OURS = {
    b"PK\x03\x04": "a zip archive, as .pt and .npz files are",
    b"\x80": "a Python pickle",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
}


class Kind(NamedTuple):
    """What is said of a file that is not there, of another format, or unsound."""

    missing: str
    foreign: str
    damaged: str


def layout(specs: Specs, order: Sequence[str] = ()) -> Entries:
    """The header's entries, without gaps.

    Without an ``order`` wider types first, then by name, as the safetensors package writes them.
    """
    entries: Entries = {}
    end = 0
    for name in order or sorted(specs, key=lambda n: (-WIDTHS[specs[n][0]], n)):
        dtype, shape = specs[name]
        begin, end = end, end + WIDTHS[dtype] * math.prod(shape)
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    return entries


def pack(tensors: Mapping[str, Array], metadata: dict[str, str]) -> list[bytearray | memoryview]:
    """The pieces of a file of float32 and uint8 arrays: its head, and the arrays as they lie."""
    arrays = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    kinds = {DTYPES[kind]: kind for kind in ("F32", "U8")}
    entries = layout({name: (kinds[a.dtype.str], a.shape) for name, a in arrays.items()})
    header = json.dumps({"__metadata__": metadata, **entries}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    head = bytearray(len(header).to_bytes(8, "little") + header)
    return [head, *(arrays[name].reshape(-1).view(np.uint8).data for name in entries)]


def sign(pieces: list[bytearray | memoryview], mark: str) -> str:
    """Put the file's SHA-256, taken with ``NO_DIGEST`` in its place, where ``mark`` stands."""
    head = pieces[0]
    at = bytes(head).index(mark.encode())
    place = slice(at, at + len(NO_DIGEST))
    head[place] = NO_DIGEST.encode()
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    head[place] = digest.hexdigest().encode()
    return digest.hexdigest()


@contextlib.contextmanager
def naming(path: Path, damaged: str) -> Iterator[None]:
    """Whatever goes wrong inside with a stranger's data is a ``DataError`` that names the file.

    ``damaged`` is what such a file is where nothing better is known.
    """
    try:
        yield
    except (InputNotFoundError, InputOutputError, MemoryLimitError):
        raise
    except DataError as error:
        raise DataError(error.what, path, _short(error.remedy or error.where)) from None
    except CharrnnError as error:
        raise DataError(damaged, path, _short(str(error))) from None
    except OSError as error:
        raise InputOutputError("cannot read", path, error.strerror or str(error)) from None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(damaged, path, _short(f"{type(error).__name__}: {error}")) from None


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


@contextlib.contextmanager
def opened(path: Path, kind: Kind) -> Iterator[Container]:
    """A file whose header was read, and which is named by the errors of what is done inside.

    Raises ``InputNotFoundError`` where there is no such file, ``InputOutputError`` where it cannot
    be read and ``DataError`` where it is no safetensors file.
    """
    with naming(path, kind.damaged), _regular(path, kind) as (descriptor, size):
        yield Container(descriptor, size, kind)


def read_text(path: Path, kind: Kind, most: int) -> str:
    """A small file of UTF-8; raises as ``opened`` does."""
    with naming(path, kind.damaged), _regular(path, kind) as (descriptor, size):
        if size > most:
            raise DataError(kind.foreign, remedy=f"it has {size} bytes")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most).decode()


@contextlib.contextmanager
def _regular(path: Path, kind: Kind) -> Iterator[tuple[int, int]]:
    """Descriptor and size. Nothing is waited for, such as a FIFO's other end."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in NO_SUCH_FILE:
            raise InputNotFoundError(kind.missing, path) from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(kind.foreign, remedy="it is not a regular file")
        yield descriptor, status.st_size
    finally:
        os.close(descriptor)


class Container:
    """An open file: ``metadata`` and ``entries`` as they stand in its header, whatever they are."""

    def __init__(self, descriptor: int, size: int, kind: Kind) -> None:
        if size > _MAX_FILE:
            raise DataError(kind.foreign, remedy=f"it has {size} bytes")
        self._damaged = kind.damaged
        self._file, self._head = descriptor, os.read(descriptor, 8)
        length = int.from_bytes(self._head, "little")
        if 2 <= length <= min(_MAX_HEADER, size - 8):
            self._head += os.read(descriptor, length)
        self.size = size - len(self._head)  # of the data
        header = None
        with contextlib.suppress(ValueError):
            header = strict_json.parse(self._head[8:].decode())
        if not isinstance(header, dict):
            kinds = [kind for magic, kind in _NOT_OURS.items() if self._head.startswith(magic)]
            said = "".join(f"it is {kind}; " for kind in kinds)
            raise DataError(
                kind.foreign, remedy=f"{said}charrnn reads only sound .safetensors files"
            )
        self.metadata: Any = header.pop("__metadata__", None)
        self.entries: dict[str, Any] = header

    def check(self, specs: Specs, order: Sequence[str] = ()) -> None:
        """Raise ``DataError`` unless these are the tensors, placed as ``layout`` has them."""
        expected = layout(specs, order)
        same = {n for n, e in expected.items() if _text(self.entries.get(n)) == _text(e)}
        odd = sorted((self.entries.keys() | expected.keys()) - same)
        if odd:
            remedy = f"missing, unexpected or misshapen: {odd[0]}"
            raise DataError(self._damaged, remedy=remedy)
        end = max(entry["data_offsets"][1] for entry in expected.values())
        if self.size != end:
            remedy = f"{self.size} bytes of data instead of {end}"
            raise DataError(self._damaged, remedy=remedy)

    def read(self, digest: str | None = None) -> dict[str, Array]:
        """The arrays, in one piece of memory; after ``check``.

        With a ``digest`` raises ``DataError`` unless it is the file's. Raises ``MemoryLimitError``
        for more than there is, ``DataError`` for a file that grew or shrank meanwhile.
        """
        data = _memory(self.size)
        found = hashlib.sha256()
        if digest is not None:
            found.update(self._head.replace(digest.encode(), NO_DIGEST.encode(), 1))
        for start in range(0, self.size, _CHUNK):
            rest = part = data[start : start + _CHUNK].data
            while rest:
                count = os.readv(self._file, [rest])
                if not count:
                    raise DataError("file that shrinks while it is read")
                rest = rest[count:]
            if digest is not None:
                found.update(part)
        if os.read(self._file, 1):
            raise DataError("file that grows while it is read")
        if digest not in (None, found.hexdigest()):
            remedy = "its SHA-256 does not match; use an older one"
            raise DataError(self._damaged, remedy=remedy)
        return {name: _view(data, entry) for name, entry in self.entries.items()}


def _text(entry: Any) -> str:
    """For comparing: in Python, True and 1.0 equal 1."""
    return json.dumps(entry, sort_keys=True)


def _memory(size: int) -> Array:
    """Room for so many bytes, not yet written to; raises ``MemoryLimitError``."""
    if size >= _LARGE and size > (free := NumpyBackend().free_memory()):
        sizes = f"{size / 2**30:.1f} GiB to read, {free / 2**30:.1f} GiB are free"
        raise MemoryLimitError("not enough memory", sizes, "use a machine with more")
    try:
        return np.empty(size, np.uint8)
    except MemoryError:
        raise MemoryLimitError("not enough memory", f"{size / 2**30:.1f} GiB to read") from None


def _view(data: Array, entry: dict[str, Any]) -> Array:
    begin, end = entry["data_offsets"]
    return data[begin:end].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
