"""What charrnn eval says of a model, and how it prints tables and JSON."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from charrnn.api import LanguageModel
from charrnn.cli.console import one_line, say, write
from charrnn.config import EvalConfig
from charrnn.evaluation import signature

#: Symbols of which records are made at once: each is hundreds of bytes.
AT_ONCE = 4096

_NARROWEST, _WIDEST = 110, 10_000  # columns of a table


def about(lm: LanguageModel, config: EvalConfig) -> dict[str, Any]:
    """What figures of a model must be quoted with."""
    how = f"lanes:{config.lanes}|state:{'line' if config.by_line else 'carried'}"
    if config.cache:
        how += f"|cache:{config.cache:g}"
    return {
        "signature": signature(lm.config, lm.vocabulary, how),
        "checkpoint": lm.checkpoint.sha256,
    }


def sign(lm: LanguageModel, config: EvalConfig) -> None:
    """The same, on stderr."""
    head = about(lm, config)
    say(f"{head['signature']}, checkpoint {head['checkpoint']}")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """On stdout; the first column holds names, the others numbers."""
    table = Table(box=None, pad_edge=False)
    table.add_column(columns[0], overflow="fold")
    for name in columns[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    for name, *numbers in rows:
        table.add_row(one_line(name), *numbers)
    # A narrow terminal breaks the lines: better than figures cut off. A file takes any.
    width = max(_NARROWEST, Console().width) if sys.stdout.isatty() else _WIDEST
    page = io.StringIO()
    Console(file=page, width=width, markup=False, emoji=False, color_system=None).print(table)
    write(page.getvalue())


def decimal(x: float, digits: int) -> str:
    """A dash where there is no number."""
    return f"{x:.{digits}f}" if math.isfinite(x) else "-"


def percent(share: float, digits: int = 1) -> str:
    """A dash where there is no share."""
    return f"{100 * share:.{digits}f} %" if math.isfinite(share) else "-"
