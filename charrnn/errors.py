"""Everything that can go wrong in a way the user can act on. Each error knows its exit code."""

from __future__ import annotations

import errno

#: Codes of the system's errors that say that a name means no file.
NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


class CharrnnError(Exception):
    """Base of all expected errors; one line: what happened, where, what to do about it.

    The exit codes follow BSD's ``sysexits.h`` where it has one that fits.
    """

    exit_code = 70

    def __init__(self, what: str, where: object = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, str(where), remedy
        message = f"{what}: {where}" if self.where else what
        super().__init__(f"{message}; {remedy}" if remedy else message)


class UsageError(CharrnnError):
    """An option or argument that makes no sense."""

    exit_code = 2


class DivergedError(CharrnnError):
    """The loss, a gradient or a weight is no longer finite."""

    exit_code = 3


class DataError(CharrnnError):
    """A corpus or checkpoint that cannot be used as it is."""

    exit_code = 65


class InputNotFoundError(CharrnnError):
    """No such file, folder or run."""

    exit_code = 66


class DeviceUnavailableError(CharrnnError):
    """A device or library that was asked for is not there."""

    exit_code = 69


class MemoryLimitError(CharrnnError):
    """The work would not fit into memory."""

    exit_code = 71


class OutputError(CharrnnError):
    """An output file or folder cannot be created."""

    exit_code = 73


class InputOutputError(CharrnnError):
    """Reading or writing failed midway: disk full, I/O error."""

    exit_code = 74


class LockedError(CharrnnError):
    """Another process is at work in the run folder."""

    exit_code = 75
