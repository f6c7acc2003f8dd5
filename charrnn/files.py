"""Files that are written whole or not at all.

New bytes go to a temporary file in the same folder; once they are on the disk it takes the old
file's name, in one step, and the folder goes to the disk too. A reader finds the old file or the
new one, also after a crash or a power cut.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from charrnn.errors import CharrnnError, InputOutputError, OutputError

_LEFTOVER = re.compile(r"\.charrnn-[0-9a-f]{16}\.tmp")


def write_atomically(path: Path, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
    """Write ``pieces`` to ``path``; once this returns, they are there for good.

    Raises ``OutputError`` where the file cannot be created, ``InputOutputError`` where writing
    fails midway, and whatever ``pieces`` raise; no temporary file is left, and an older file of
    that name stays as it was. Only if the very last flush fails, of the folder, the new file is
    there already, whole, but may be the old one again after a power cut. Nothing is tried
    twice: what a failed flush should have written is lost, and a second one succeeds all the same.
    """
    with _told_as(OutputError, "cannot create", path):
        path = path.resolve()  # a link stays one
        if path.exists() and not path.is_file():
            raise OutputError("cannot create", path, "there is something that is not a file")
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        temporary = path.with_name(f".charrnn-{os.urandom(8).hex()}.tmp")
        with _told_as(OutputError, "cannot create", path):
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            _fill(file, pieces, path)
            with _told_as(InputOutputError, "cannot write", path):
                os.replace(temporary, path)  # noqa: PTH105 (the system's call, as those around it)
        except BaseException:
            with contextlib.suppress(OSError):  # what is reported is why it is not needed
                temporary.unlink()
            raise
        with _told_as(InputOutputError, "cannot write", path):
            _flush_folder(folder)
    finally:
        with contextlib.suppress(OSError):  # nothing was written through it
            os.close(folder)


def make_folder(path: Path, *, new: bool = False) -> None:
    """Make a folder and those above it, there for good; one that is there will do, if not ``new``.

    Raises ``OSError``.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(exist_ok=not new)
    for folder in reversed(missing):
        flush_folder(folder.parent)


def flush_folder(path: Path) -> None:
    """Bring the names in a folder to the disk; raises ``OSError``."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _flush_folder(folder)
    finally:
        with contextlib.suppress(OSError):
            os.close(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes left; best effort, nothing is raised.

    Call it only while no other process writes to the folder.
    """
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            if _LEFTOVER.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    path.unlink()


@contextlib.contextmanager
def _told_as(kind: type[CharrnnError], what: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise kind(what, path, error.strerror or str(error)) from None


def _fill(file: int, pieces: Iterable[bytes | bytearray | memoryview], path: Path) -> None:
    """Write all, flush it to the disk, close; the file is closed whatever happens."""
    try:
        for piece in pieces:
            rest = memoryview(piece)
            with _told_as(InputOutputError, "cannot write", path):
                while rest:
                    rest = rest[os.write(file, rest) :]
        with _told_as(InputOutputError, "cannot write", path):
            os.fsync(file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(file)
        raise
    with _told_as(InputOutputError, "cannot write", path):
        os.close(file)  # some file systems of a network say only here that the disk is full


def _flush_folder(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        # Some file systems (of a network, of FUSE) flush no folders and say so. There is nothing
        # better to do there, and to refuse every save would protect nobody.
        if error.errno != errno.EINVAL:
            raise
