"""Rows of results, and the tables they are shown in.

``python -m tests.bench.table bench.json`` prints those of a file as Markdown.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.machine import describe


class Figure(NamedTuple):
    """What is made of a value of ours and one of theirs, and on which side its goal lies."""

    of: Callable[[float, float], float]
    at_least: bool
    is_ratio: bool


FIGURES = {
    "rate ratio": Figure(lambda ours, theirs: ours / theirs, at_least=True, is_ratio=True),
    "speed-up": Figure(lambda ours, theirs: theirs / ours, at_least=True, is_ratio=True),
    "slow-down": Figure(lambda ours, theirs: ours / theirs, at_least=False, is_ratio=True),
    "difference": Figure(lambda ours, theirs: ours - theirs, at_least=False, is_ratio=False),
    "ours alone": Figure(lambda ours, theirs: ours, at_least=True, is_ratio=False),
}


@dataclass(frozen=True)
class Row:
    """One case: the values of both sides, one for each turn.

    Neighbours with the same ``table``, ``unit`` and ``sides`` share a table. ``figure`` is a key
    of ``FIGURES``; ``check`` says how far both sides were seen to compute the same.
    """

    table: str
    unit: str
    sides: Sequence[str]
    case: str
    ours: Sequence[float]
    theirs: Sequence[float]
    figure: str
    goal: float
    check: str = ""

    @property
    def value(self) -> float:
        """The figure, of the medians."""
        return FIGURES[self.figure].of(statistics.median(self.ours), statistics.median(self.theirs))

    @property
    def spread(self) -> tuple[float, float]:
        """The smallest and the largest figure of a turn."""
        turns = list(map(FIGURES[self.figure].of, self.ours, self.theirs))
        return min(turns), max(turns)

    @property
    def met(self) -> bool:
        """Whether the goal is."""
        at_least = FIGURES[self.figure].at_least
        return self.value >= self.goal if at_least else self.value < self.goal

    def to_json(self) -> dict[str, Any]:
        """With what follows from the values, for readers that are not this class."""
        return asdict(self) | {"value": self.value, "spread": self.spread, "met": self.met}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Row:
        return cls(**{field.name: found[field.name] for field in fields(cls)})


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if not value:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(0, digits)}f}"


def measured(middle: float, low: float, high: float, unit: str = "") -> str:
    """``1.62 x (1.58 to 1.70)``."""
    return f"{number(middle)}{unit and ' ' + unit} ({number(low)} to {number(high)})"


def result(row: Row) -> str:
    """The figure and its spread."""
    unit = "x" if FIGURES[row.figure].is_ratio else row.unit
    return measured(row.value, *row.spread, unit=unit)


def goal(row: Row) -> str:
    """What the figure was to be, and whether it is."""
    figure = FIGURES[row.figure]
    sign, unit = "≥" if figure.at_least else "<", "x" if figure.is_ratio else row.unit
    return f"{sign} {row.goal:g} {unit}: {'met' if row.met else 'missed'}"


def tables(rows: Sequence[Row]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Title, names of columns, and cells of each table."""
    for (title, unit, *sides), group in itertools.groupby(
        rows, key=lambda row: (row.table, row.unit, *row.sides)
    ):
        cells = []
        for row in group:
            both = (
                measured(statistics.median(values), min(values), max(values))
                for values in (row.ours, row.theirs)
            )
            cells.append([row.case, *both, result(row), goal(row), row.check])
        columns = ["", *sides, "result", "goal", "check"]
        if not any(check for *_, check in cells):
            columns, cells = columns[:-1], [line[:-1] for line in cells]
        yield f"{title}, {unit}", columns, cells


def markdown(document: dict[str, Any]) -> str:
    """The tables of ``bench.json``, for the README, without the goals."""
    lines = [f"{describe(document['machine'])}.", ""]
    for title, columns, cells in tables([Row.from_json(row) for row in document["rows"]]):
        goal_at = columns.index("goal")
        for line in ([title, *columns[1:]], ["---"] * len(columns), *cells):
            lines.append(f"| {' | '.join(line[:goal_at] + line[goal_at + 1 :])} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def show(rows: Sequence[Row], machine: dict[str, Any]) -> None:
    """Print the tables on stdout."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    for title, columns, cells in tables(rows):
        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column)
        for line in cells:
            table.add_row(*line)
        console.print(table)
    console.print(describe(machine), soft_wrap=True)


def main() -> None:
    [path] = sys.argv[1:]
    print(markdown(json.loads(Path(path).read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
