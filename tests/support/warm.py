"""Jobs in children of a warm process, whose calls of the system fail, or kill them, at will.

The process has imported what takes its time, and forks for each job. ``shim.c`` is loaded before
the system's library, so that every call goes through it, whoever makes it.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn

from charrnn.errors import CharrnnError
from tests.support.saves import SAVES

ROOT = Path(__file__).parents[2]
SHORT, KILL_BEFORE, KILL_AFTER = -1, -2, -3  # as in shim.c; what is greater is an errno
COMPILER = shutil.which("cc") if sys.platform == "linux" else None
NO_COMPILER = "needs Linux and a C compiler"


def compiled_shim(folder: Path) -> Path:
    """To be loaded first."""
    assert COMPILER
    shim, source = folder / "shim.so", Path(__file__).with_name("shim.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    return shim


@dataclass(frozen=True)
class Outcome:
    """How a job ended: ``code`` is minus the signal where one killed it."""

    code: int
    out: str
    err: str
    pid: int
    calls: int  # that were counted; -1 where it was killed


class Warm:
    """The warm process; to be closed. Without a shim no call fails, but jobs can be killed."""

    def __init__(self, shim: Path | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm"],
            cwd=ROOT,
            env=os.environ | {"LD_PRELOAD": str(shim)} if shim else None,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        job: str,
        *args: str,
        folder: Path | None = None,
        number: int = -1,
        fault: int = 0,
        delay: float | None = None,
    ) -> Outcome:
        """Do a job of ``JOBS``.

        The call of this number on what is in ``folder`` meets the fault; the job is killed after a
        delay in seconds.
        """
        order = [job, args, str(folder.resolve()) if folder else "", number, fault, delay]
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Outcome(*json.loads(self._process.stdout.readline()))

    def __enter__(self) -> Warm:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()


def _saves(name: str, folder: str) -> None:
    """A line for each save that returned."""
    for _ in SAVES[name].perform(Path(folder)):
        print("saved", flush=True)


def _charrnn(cwd: str, *arguments: str) -> None:
    from charrnn.cli import main

    os.chdir(cwd)
    sys.argv = ["charrnn", *arguments]
    main(arguments)


JOBS = {"saves": _saves, "charrnn": _charrnn}


#: What takes its time to import, and is not imported before it is needed.
_LATE = (
    "charrnn.training",
    "charrnn.backend.fused",
    "charrnn.cli.progress",
    "charrnn.cli.signals",
    "numpy.random",
    "psutil",
    "rich.console",
)


def _serve() -> None:
    for name in _LATE:
        importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(_order(*json.loads(line))), flush=True)


def _order(
    job: str, args: list[str], folder: str, number: int, fault: int, delay: float | None
) -> tuple[int, str, str, int, int]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            if folder:
                ctypes.CDLL(None).fault_arm(os.fsencode(folder), number, fault)
            _child(job, args, write if folder else -1)
        os.close(write)
        if delay is not None:
            watch = os.pidfd_open(child)
            if not select.select([watch], [], [], delay)[0]:
                os.kill(child, signal.SIGKILL)
            os.close(watch)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        calls = int(os.read(read, 20) or -1)
        os.close(read)
        return code, _text(out), _text(err), child, calls


def _child(job: str, args: list[str], report: int) -> NoReturn:
    code: Any = 1
    try:
        JOBS[job](*args)
        code = 0
    except CharrnnError as error:
        print(error, file=sys.stderr)
        code = error.exit_code
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if report >= 0:
            os.write(report, str(ctypes.CDLL(None).fault_calls()).encode())
        os._exit(code)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


if __name__ == "__main__":
    _serve()
