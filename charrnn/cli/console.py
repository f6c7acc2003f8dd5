"""What the commands share: options, Rich consoles, exact and safe output."""

from __future__ import annotations

import math
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

ModelOption = Annotated[
    Path | None,
    typer.Option(
        "-m",
        "--model",
        envvar="CHARRNN_MODEL",
        help="Run folder or checkpoint file; by default the newest run under checkpoints/.",
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, gpu or gpu:K.", metavar="DEVICE")]

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def escape(text: str) -> str:
    """Text that does no harm to a terminal: control and bidi characters spelled out."""
    return "".join(
        c.encode("unicode_escape").decode()
        if (unicodedata.category(c) == "Cc" and c not in "\n\t") or c in _BIDI
        else c
        for c in text
    )


def write(text: str) -> None:
    """To stdout at once: as it is into a file or pipe, escaped on a terminal."""
    if sys.stdout.isatty():
        text = escape(text)
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


def say(text: str) -> None:
    """A note on stderr."""
    print(f"charrnn: {escape(text)}", file=sys.stderr)


def size(number: float) -> str:
    """Bytes for people: ``12.3 MB``."""
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}" if unit != "bytes" else f"{number:.0f} bytes"
        number /= 1000
    return f"{number:.1f} GB"


def duration(seconds: float) -> str:
    """``1:23:45`` or ``3:07``."""
    if not math.isfinite(seconds):
        return "?"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values in two columns, escaped; a name that stays the same is shown once."""
    lines, last = [], ""
    for name, value in rows:
        lines.append(f"{'' if name == last else name:12}{escape(value)}\n")
        last = name
    return "".join(lines)


def shape(dimensions: tuple[int | str, ...]) -> str:
    """``256 x 64``."""
    return " x ".join(map(str, dimensions))
