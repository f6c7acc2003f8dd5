"""The command line, run within the test's own process: quick, with exact bytes and exit codes."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from unittest import mock

from charrnn.cli import main

ROOT = Path(__file__).parents[2]
TALES = ROOT / "corpora" / "tales.txt"

#: ``PYTHONPATH`` of processes that tests start.
PYTHONPATH = os.pathsep.join([str(ROOT / "tests" / "support" / "child"), str(ROOT)])


@dataclass(frozen=True)
class Result:
    """What a command printed and its exit code."""

    code: int
    out: str
    err: str


def charrnn(*arguments: str, stdin: bytes = b"", cwd: Path | None = None) -> Result:
    """Run ``charrnn ARGUMENTS`` in a folder, in an environment that is the same everywhere."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="", errors="backslashreplace")
    with (
        mock.patch.dict(os.environ, {"COLUMNS": "100"}),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")),
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        for name in ("CHARRNN_MODEL", "FORCE_COLOR", "TTY_COMPATIBLE"):
            os.environ.pop(name, None)
        code = _code(arguments)
    return Result(code, _text(out), _text(err))


def _code(arguments: tuple[str, ...]) -> int:
    try:
        main(arguments)
    except SystemExit as end:
        assert isinstance(end.code, int | None)
        return end.code or 0


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode(errors="surrogateescape")  # type: ignore[attr-defined]


class Process(subprocess.Popen[bytes]):
    """Ends with the ``with`` that it is in, if that ends by an error: a test fails at once."""

    def __exit__(self, kind: Any, *error: Any) -> None:
        if kind:
            self.kill()
        super().__exit__(kind, *error)


def popen(
    *arguments: str,
    cwd: Path,
    script: str = "",
    interruptible: bool = True,
) -> Process:
    """``charrnn ARGUMENTS`` as a process of its own, its output in pipes.

    ``script``: what to run instead. If ``interruptible`` it takes the signals that end a process
    even where the tests ignore them: in a shell's background, or under ``nohup``.
    """
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if interruptible else ()
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ends}
    try:
        return Process(
            [sys.executable, *(["-c", script] if script else ["-m", "charrnn"]), *arguments],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": PYTHONPATH},
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def on_terminal(
    arguments: Sequence[str],
    cwd: Path,
    *,
    code: int = 0,
    stdout: BinaryIO | None = None,
    **environment: str,
) -> str:
    """What a command that ends with ``code`` writes to a terminal of 100 columns.

    What goes to stdout may go to a file instead.
    """
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (30, 100))
    process = subprocess.Popen(
        [sys.executable, "-m", "charrnn", *arguments],
        cwd=cwd,
        stdin=follower,
        stdout=stdout or follower,
        stderr=follower,
        env=os.environ | {"PYTHONPATH": PYTHONPATH, "TERM": "xterm-256color"} | environment,
    )
    os.close(follower)
    received = b""
    while select.select([leader], [], [], 60)[0]:
        try:
            block = os.read(leader, 65536)
        except OSError:  # Linux says so when the other side is gone
            break
        if not block:
            break
        received += block
    os.close(leader)
    assert process.wait(30) == code, received
    return received.decode(errors="surrogateescape")
