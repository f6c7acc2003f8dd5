"""Calls of the operating system that fail, fall short, or are recorded, within this process.

Where a library calls the system itself, past Python's ``os``, see ``warm.py``.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

SHORT = -1  # instead of an error: half of what should be written is, at least a byte
ERRORS = {name: getattr(errno, name) for name in ("ENOSPC", "EIO", "EDQUOT", "EFBIG", "EROFS")}


@dataclass(frozen=True)
class Call:
    """One call on something in a folder; paths are relative to it, "." is the folder itself."""

    name: str
    path: str
    file: int = -1  # descriptor
    flags: int = 0  # of open
    data: bytes = b""  # of write
    offset: int = -1  # of pwrite; of ftruncate, the size
    target: str = ""  # of replace


_NAMES = ("open", "write", "pwrite", "ftruncate", "fsync", "close", "replace", "unlink")

Fault = Callable[[int, Call], int | None]  # from number and call to an error, or SHORT


def at(number: int, fault: int) -> Fault:
    """The call of this number fails."""
    return lambda n, call: fault if n == number else None


def since(number: int, fault: int) -> Fault:
    """So do all from then on, as on a full disk; but what is there can be removed."""
    return lambda n, call: fault if n >= number and call.name != "unlink" else None


@contextlib.contextmanager
def watched(folder: Path, fault: Fault = lambda n, call: None) -> Iterator[list[Call]]:
    """Record the calls made on ``folder`` and what is in it, and let some of them fail."""
    watch = _Watch(folder.resolve(), fault)
    with contextlib.ExitStack() as stack:
        for name in (*_NAMES, "rename", "remove"):
            own = getattr(watch, {"rename": "replace", "remove": "unlink"}.get(name, name))
            stack.enter_context(mock.patch.object(os, name, own))
        yield watch.calls


class _Watch:
    """Stands in for some functions of ``os``."""

    def __init__(self, folder: Path, fault: Fault) -> None:
        self.folder, self.fault = folder, fault
        self.calls: list[Call] = []
        self.paths: dict[int, str] = {}  # by descriptor
        self.real = {name: getattr(os, name) for name in _NAMES}

    def _inside(self, path: Any) -> str | None:
        path = Path(os.fsdecode(path)).absolute()
        return str(path.relative_to(self.folder)) if path.is_relative_to(self.folder) else None

    def _fault(self, call: Call) -> int | None:
        """Raise what is wanted for this call; for a short write, say so."""
        self.calls.append(call)
        fault = self.fault(len(self.calls) - 1, call)
        if fault is None or fault == SHORT:
            return fault
        raise OSError(fault, os.strerror(fault))

    def open(self, path: Any, flags: int, mode: int = 0o777, **other: Any) -> int:
        inside = self._inside(path)
        if inside is None:
            return self.real["open"](path, flags, mode, **other)
        at = len(self.calls)
        self._fault(Call("open", inside, flags=flags))
        file: int = self.real["open"](path, flags, mode, **other)
        self.paths[file] = inside
        self.calls[at] = replace(self.calls[at], file=file)
        return file

    def write(self, file: int, data: Any) -> int:
        return self.real["write"](file, self._written(file, data))

    def pwrite(self, file: int, data: Any, offset: int) -> int:
        return self.real["pwrite"](file, self._written(file, data, offset), offset)

    def _written(self, file: int, data: Any, offset: int = -1) -> Any:
        """What of the data there is to be written."""
        if file not in self.paths:
            return data
        data, at = bytes(data), len(self.calls)
        if self._fault(Call("write", self.paths[file], file, data=data, offset=offset)) == SHORT:
            data = data[: (len(data) + 1) // 2]
            self.calls[at] = replace(self.calls[at], data=data)
        return data

    def ftruncate(self, file: int, size: int) -> None:
        if file in self.paths:
            self._fault(Call("truncate", self.paths[file], file, offset=size))
        self.real["ftruncate"](file, size)

    def fsync(self, file: int) -> None:
        if file in self.paths:
            self._fault(Call("fsync", self.paths[file], file))
        self.real["fsync"](file)

    def close(self, file: int) -> None:
        self.real["close"](file)  # also where it then fails
        if file in self.paths:
            self._fault(Call("close", self.paths.pop(file), file))

    def replace(self, source: Any, target: Any, **other: Any) -> None:
        inside, to = self._inside(source), self._inside(target)
        if inside is not None and to is not None:
            self._fault(Call("replace", inside, target=to))
        self.real["replace"](source, target, **other)

    def unlink(self, path: Any, **other: Any) -> None:
        inside = self._inside(path)
        if inside is not None:
            self._fault(Call("unlink", inside))
        self.real["unlink"](path, **other)
