"""The command line, run within the test's own process: quick, with exact bytes and exit codes."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

from charrnn.cli import main

ROOT = Path(__file__).parents[2]
TALES = ROOT / "corpora" / "tales.txt"


@dataclass(frozen=True)
class Result:
    """What a command printed and its exit code."""

    code: int
    out: str
    err: str


class _Stdin(io.TextIOWrapper):
    def isatty(self) -> bool:
        return False


def charrnn(*arguments: str, stdin: bytes = b"", cwd: Path | None = None) -> Result:
    """Run ``charrnn ARGUMENTS`` in a folder, with no model named by the environment."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    before = os.environ.pop("CHARRNN_MODEL", None)
    try:
        with (
            contextlib.chdir(cwd or Path.cwd()),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            _stdin(stdin),
        ):
            code = _code(arguments)
    finally:
        if before is not None:
            os.environ["CHARRNN_MODEL"] = before
    return Result(code, *(_text(stream) for stream in (out, err)))


def _code(arguments: tuple[str, ...]) -> int:
    try:
        main(arguments)
    except SystemExit as end:
        assert isinstance(end.code, int | None)
        return end.code or 0


@contextlib.contextmanager
def _stdin(content: bytes):
    import sys

    before, sys.stdin = sys.stdin, _Stdin(io.BytesIO(content), encoding="utf-8")
    try:
        yield
    finally:
        sys.stdin = before


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined]
