"""What the commands share: options, Rich consoles, exact and safe output."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from charrnn.errors import InputOutputError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

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

RawOption = Annotated[
    bool, typer.Option("--raw", help="Control characters as they are, on a terminal too.")
]

#: What a terminal acts on, what deceives about the text around it, and what it cannot show.
#: Joiners, soft hyphens, variation selectors and private use are text: they steer nothing, and
#: emoji, Persian, Thai or a font's own signs need them.
_HARMFUL = re.compile(
    "["
    r"\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, but line breaks and tabs: they are layout
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # order of writing, and what was before it
    r"\u2028\u2029"  # ends of lines to some terminals, and to none that a person sees
    r"\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # byte-order mark, notes, letters not shown
    r"\ud800-\udfff"  # stand-ins for bytes in a file name that are not UTF-8
    "]"
)


def escape(text: str) -> str:
    """Text that does no harm to a terminal: control and bidi characters spelled out."""
    return _HARMFUL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """The same without line breaks and tabs: a name cannot look like another line."""
    return escape(text).replace("\n", "\\n").replace("\t", "\\t")


def json_line(record: dict[str, Any]) -> str:
    """JSON in UTF-8 and in one line, the same on a terminal as in a pipe.

    What would be escaped there is by JSON's own means, so that it is read as what it was.
    """
    text = json.dumps(record, ensure_ascii=False)
    return _HARMFUL.sub(lambda found: json.dumps(found[0])[1:-1], text) + "\n"


def stdin() -> BinaryIO:
    """What is read from a pipe; raises ``InputOutputError`` where there is none."""
    if sys.stdin is None:
        raise InputOutputError("cannot read", "-", "stdin is closed")
    return sys.stdin.buffer


def write(text: str, *, raw: bool = False) -> None:
    """To stdout at once: as it is into a file or pipe, escaped on a terminal unless ``raw``."""
    if sys.stdout.isatty() and not raw:
        text = escape(text)
    sys.stdout.buffer.write(text.encode(errors="surrogateescape"))
    sys.stdout.buffer.flush()


def say(text: str) -> None:
    """A note on stderr, in one line; it is for people, and escaped in a file too.

    Where that cannot be written, as on a full disk, it is left out.
    """
    with contextlib.suppress(OSError):
        print(f"charrnn: {one_line(text)}", file=sys.stderr)


def report(message: str) -> None:
    """An error, in the same way."""
    say(f"error: {message}")


def plain_is_wanted() -> bool:
    """Whether nothing may be sent to a terminal but text."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def bars_are_wanted() -> bool:
    """Whether stderr is a terminal that may be drawn on."""
    return sys.stderr.isatty() and not plain_is_wanted()


def rich_console(*, stderr: bool = False) -> Console:
    """What draws tables and colours; with ``NO_COLOR`` not even bold letters."""
    from rich.console import Console  # loads what most commands do without

    return Console(
        stderr=stderr,
        color_system=None if plain_is_wanted() else "auto",
        highlight=False,
        markup=False,
        emoji=False,
    )


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
        lines.append(f"{'' if name == last else name:12}{one_line(value)}\n")
        last = name
    return "".join(lines)


def shell_word(text: str) -> str:
    """As a shell reads it back, whatever is in it, in what a terminal shows as it is."""
    if one_line(text) == text:
        return shlex.quote(text)
    raw = os.fsencode(text)
    plain = {byte: chr(byte) for byte in range(0x20, 0x7F)} | {0x27: r"\'", 0x5C: r"\\"}
    return "$'" + "".join(plain.get(byte, f"\\x{byte:02x}") for byte in raw) + "'"


@contextlib.contextmanager
def on_a_terminal_or_not() -> Iterator[None]:
    """What cannot be shown since the terminal has gone is left out: the work goes on."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise
