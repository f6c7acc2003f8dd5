"""The command line, run within the test's own process: quick, with exact bytes and exit codes."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from charrnn.cli import main

ROOT = Path(__file__).parents[2]
TALES = ROOT / "corpora" / "tales.txt"


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
