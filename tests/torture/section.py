"""A section: what it does to whom, how often, and what came of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_SHOWN = 10  # problems of a section


class Skip(Exception):  # noqa: N818 (it is none)
    """Why a section cannot be run here."""


@dataclass(frozen=True)
class Setting:
    """An empty folder, in memory if possible, a seed, and by how much to do more than usual."""

    folder: Path
    seed: int
    share: float

    def count(self, usual: int) -> int:
        """How often, of what is drawn at random."""
        return max(1, round(usual * self.share))


@dataclass
class Section:
    """``run`` tells of one trial after the other what was wrong, or ""."""

    name: str
    subject: str
    run: Callable[[Setting], Iterator[str]]
    trials: int = 0
    failed: int = 0
    seconds: float = 0.0
    skipped: str = ""

    def execute(self, setting: Setting) -> None:
        """All its trials; the first problems are shown as they are found."""
        print(f"{self.name}: {self.subject}", file=sys.stderr, flush=True)
        start = time.monotonic()
        try:
            for problem in self.run(setting):
                self.trials += 1
                self.failed += bool(problem)
                if problem and self.failed <= _SHOWN:
                    print(f"  trial {self.trials}: {problem}", file=sys.stderr, flush=True)
        except Skip as reason:
            self.skipped = str(reason)
        self.seconds = time.monotonic() - start

    def row(self) -> tuple[str, ...]:
        """Of the table at the end."""
        if self.skipped:
            return self.name, self.subject, "-", "-", f"skipped: {self.skipped}"
        survived = f"{self.trials - self.failed:,}"
        return self.name, self.subject, f"{self.trials:,}", survived, f"{self.seconds:,.0f}"
