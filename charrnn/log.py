"""The log of a run: JSON lines that are never half written, and can be cut back."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from charrnn.errors import InputOutputError


class Log:
    """Lines in a file; what does not fit on the disk is kept until it does."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; raises ``OSError``."""
        self.path = path
        how = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(path, how, 0o666)
        self._unwritten = b""

    def add(self, record: dict[str, Any]) -> None:
        """Add one line; raises nothing where the disk is full."""
        self._unwritten += json.dumps(record, allow_nan=False).encode() + b"\n"
        with contextlib.suppress(OSError):
            self._write()

    def flush(self) -> None:
        """Bring all lines to the disk; raises ``InputOutputError``."""
        with self._told():
            self._write()
            os.fsync(self._file)

    def first(self) -> dict[str, Any]:
        """The first record; empty where there is none."""
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            return _record(file.readline()) or {}
        return {}

    def cut(self, step: int = -1, sha256: str = "") -> None:
        """Cut what came after a checkpoint of this step was saved; by default everything.

        It will happen again. Raises ``InputOutputError``.
        """
        with self._told():
            os.ftruncate(self._file, self._end_of(step, sha256))

    def close(self) -> None:
        """Write what is left; raises ``InputOutputError``."""
        try:
            with self._told():
                self._write()
        finally:
            with contextlib.suppress(OSError):
                os.close(self._file)

    def _end_of(self, step: int, sha256: str) -> int:
        """Where the records of what led to a checkpoint end, in bytes."""
        at = until = 0
        saved = None
        with self.path.open("rb") as file:
            for line in file:
                at += len(line)
                record = _record(line)
                if record is None:  # the last line, half written, or damaged
                    continue
                if record.get("sha256") == sha256:
                    saved = at
                if record.get("step", 0) <= step:
                    until = at
        # A line that says so may be missing: the run may have ended just before it was written.
        return until if saved is None else saved

    def _write(self) -> None:
        while self._unwritten:
            self._unwritten = self._unwritten[os.write(self._file, self._unwritten) :]

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputOutputError("cannot write", self.path, reason) from None


def _record(line: bytes) -> dict[str, Any] | None:
    """A line of a log; None where it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(record, dict) and isinstance(record.get("step", 0), int)
    return record if whole and line.endswith(b"\n") else None
