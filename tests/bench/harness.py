"""How all benchmarks measure: fresh processes, in turn, undisturbed; and medians.

Each value comes from a process of its own (``call``), which warms up, measures and ends before
the next one starts. The two sides take turns, so that a machine that slows down for a while
slows both. Long-lived workers would save importing PyTorch each time, but the threads of the one
that waits may still spin, and a single process measures its own luck with memory addresses over
and over; fresh ones draw it anew. A side's result is the median over its processes, each of
which gives the median of its repetitions.

Both sides use all cores, as they do by default, whatever the environment says: its variables are
not the same for both. A value during which other programs took
processor time is measured again: PyTorch's threads wait for each other by spinning, so that with
one of two cores busy its steps take up to ten times as long.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from tests.bench.machine import OthersUse, machine
from tests.bench.table import Row, result, show

ROOT = Path(__file__).parents[2]
TALES = ROOT / "corpora" / "tales.txt"

THREADS = {f"{library}_NUM_THREADS" for library in ("MKL", "OMP", "OPENBLAS")}
DISTURBED = 0.05  # of the processor, used by other programs

T = TypeVar("T")


class BenchError(Exception):
    """Why there is no result, or none to be trusted."""


@dataclass(frozen=True)
class Plan:
    """How much to measure: processes a side, and seconds in each.

    ``patience``: seconds to wait for other programs to end; without any, a disturbed value is
    taken as it is. ``only``: cases with this in their name.
    """

    turns: int = 7
    seconds: float = 1.0
    megabytes: int = 100
    patience: float = 600
    only: str = ""

    def wants(self, case: str) -> bool:
        return self.only in case


QUICK = Plan(turns=2, seconds=0.05, megabytes=2, patience=0)


@dataclass(frozen=True)
class Shape:
    """A model, whose embedding is as wide as its hidden layers, and its training windows."""

    cell: str
    layers: int
    hidden: int
    vocab: int = 65
    batch: int = 50
    window: int = 50

    @property
    def model(self) -> str:
        return f"{self.cell} {self.layers}x{self.hidden}"

    @property
    def step(self) -> str:
        return f"{self.model}, {self.batch}x{self.window}, vocab {self.vocab:,}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def call(function: str, **arguments: Any) -> Any:
    """What ``MODULE:FUNCTION`` gives for arguments of JSON types, in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.worker", function],
        input=json.dumps(arguments),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in THREADS},
    )
    if done.returncode:
        raise BenchError(f"{function} failed with exit code {done.returncode}")
    return json.loads(done.stdout)


def take_turns(
    plan: Plan, ours: Callable[[], T], theirs: Callable[[], T]
) -> tuple[list[T], list[T]]:
    """A value of each side in every turn. Who goes first changes, so that neither always does."""
    values: tuple[list[T], list[T]] = ([], [])
    pair = list(zip((ours, theirs), values, strict=True))
    for turn in range(plan.turns):
        for measure, found in pair if turn % 2 == 0 else reversed(pair):
            found.append(undisturbed(measure, plan.patience))
    return values


def undisturbed(measure: Callable[[], T], patience: float) -> T:
    """The first value during which other programs left the processor alone."""
    deadline = time.monotonic() + patience
    while True:
        use = OthersUse()
        value = measure()
        share = use.share()
        if share < DISTURBED or not patience:
            return value
        tell(f"again, once it is quiet: others used {share:.0%} of the processor")
        while share >= DISTURBED:
            if time.monotonic() > deadline:
                raise BenchError("other programs keep the processor busy")
            use = OthersUse()
            time.sleep(1)
            share = use.share()


def median_time(step: Callable[[], object], seconds: float, least: int = 3) -> float:
    """The median duration of ``step``, repeated for ``seconds`` and ``least`` times at least."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def require_torch() -> None:
    """Raise ``BenchError`` where PyTorch is not installed."""
    if importlib.util.find_spec("torch") is None:
        raise BenchError("needs PyTorch: `make bench` installs it")


def tell(message: str) -> None:
    """On stderr, at once."""
    print(message, file=sys.stderr, flush=True)


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options of every benchmark."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--quick", action="store_true", help="see it run; figures mean little")
    options.add_argument("--only", default="", metavar="TEXT", help="cases with TEXT in their name")
    return options


def run(
    subjects: Sequence[Callable[[Plan], Iterator[Row]]],
    arguments: argparse.Namespace,
    keep: Callable[[list[Row]], None] = lambda rows: None,
) -> None:
    """Measure and print the tables. Whatever happens, the rows so far are shown and kept."""
    plan = replace(QUICK if arguments.quick else Plan(), only=arguments.only)
    rows: list[Row] = []
    try:
        for measure in subjects:
            for row in measure(plan):
                tell(f"{row.table}: {row.case}: {result(row)}")
                rows.append(row)
    except BenchError as error:
        sys.exit(f"tests.bench: error: {error}")
    finally:
        if rows:
            show(rows, machine())
            keep(rows)


def main(measure: Callable[[Plan], Iterator[Row]], description: str | None) -> None:
    """The command of one subject."""
    run([measure], parser(description).parse_args())
