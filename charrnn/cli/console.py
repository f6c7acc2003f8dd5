"""What the commands share: options, Rich consoles, exact and safe output."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.errors import UsageError

if TYPE_CHECKING:
    from charrnn.api import LanguageModel

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
    """Text that does no harm to a terminal: control and bidi characters spelled out.

    So are the stand-ins for bytes in a file name that are not UTF-8.
    """
    return "".join(
        c.encode("unicode_escape").decode()
        if (unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t") or c in _BIDI
        else c
        for c in text
    )


def write(text: str) -> None:
    """To stdout at once: as it is into a file or pipe, escaped on a terminal."""
    if sys.stdout.isatty():
        text = escape(text)
    sys.stdout.buffer.write(text.encode(errors="surrogateescape"))
    sys.stdout.buffer.flush()


def say(text: str) -> None:
    """A note on stderr."""
    print(f"charrnn: {escape(text)}", file=sys.stderr)


def report(message: str) -> None:
    """An error on stderr, in one line."""
    print(f"charrnn: error: {escape(' '.join(message.split()))}", file=sys.stderr)


def bars_are_wanted() -> bool:
    """Whether stderr is a terminal that may be drawn on."""
    dumb = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stderr.isatty() and not dumb


def at_most_one(given: dict[str, bool]) -> str:
    """The one of these options that is given, if any; raises ``UsageError`` for several."""
    names = [name for name, there in given.items() if there]
    if len(names) > 1:
        raise UsageError("options that exclude each other", " and ".join(names))
    return "".join(names)


def load_model(model: Path | None, device: str) -> LanguageModel:
    """The model that is meant; a note of the device's choice is printed."""
    from charrnn.api import LanguageModel

    lm = LanguageModel.load(model, device, say)
    if lm.note:
        say(lm.note)
    return lm


def two_columns(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values in two columns, a line each; a name that stays the same is shown once."""
    lines, last = [], ""
    for name, value in rows:
        line = escape(value).replace("\n", "\\n").replace("\t", "\\t")
        lines.append(f"{'' if name == last else name:12}{line}\n")
        last = name
    return "".join(lines)
