"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from charrnn.errors import InputOutputError, OutputError


def write_atomically(path: Path, pieces: Iterable[bytes | bytearray]) -> None:
    """A temporary file beside it, flushed to the disk, then renamed over it.

    Raises ``OutputError`` where the file cannot be created, ``InputOutputError`` where writing
    fails midway, and whatever ``pieces`` raise; an older file of that name then stays as it was.
    """
    path = path.resolve()  # a link stays one
    if path.exists() and not path.is_file():
        raise OutputError("cannot create", path, "there is something that is not a file")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        file = temporary.open("xb")
    except OSError as error:
        raise OutputError("cannot create", path, error.strerror or str(error)) from None
    try:
        with file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise InputOutputError("cannot write", path, error.strerror or str(error)) from None
    finally:
        temporary.unlink(missing_ok=True)
