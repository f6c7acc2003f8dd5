"""``python -m tests.bench.startup``: how long a command takes that has next to nothing to do.

Wall time of whole processes, against a Python that does no more than import the libraries that
the command needs. The sampled model is a small one, trained for two steps beforehand.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.harness import QUICK, TALES, BenchError, Plan, main, take_turns
from tests.bench.table import Row

CHARRNN = str(Path(sys.executable).with_name("charrnn"))
TURNS = 3  # times those of other benchmarks: these processes are short


@dataclass(frozen=True)
class Case:
    """Arguments of ``charrnn``, the imports they are compared with, and the goal."""

    arguments: str
    imports: str
    figure: str
    goal: float

    @property
    def name(self) -> str:
        return f"charrnn {self.arguments}; import {self.imports}"


CASES = (
    Case("--help", "typer, rich", "slow-down", 1.5),
    Case("sample --length 1", "numpy, typer, rich", "difference", 100),
)


def measure(plan: Plan) -> Iterator[Row]:
    """A row for each command."""
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "model")
        train = f"train {TALES} --steps 2 --hidden 64 --layers 1 --batch-size 8 --output {model}"
        milliseconds([CHARRNN, *train.split()])
        for case in CASES:
            if plan.wants(case.name):
                yield _row(case, plan, model)


def _row(case: Case, plan: Plan, model: str) -> Row:
    def ours() -> float:
        return milliseconds([CHARRNN, *case.arguments.split()], CHARRNN_MODEL=model)

    def theirs() -> float:
        return milliseconds([sys.executable, "-c", f"import {case.imports}"])

    take_turns(QUICK, ours, theirs)  # files come into the system's cache
    found = take_turns(replace(plan, turns=TURNS * plan.turns), ours, theirs)
    return Row(
        table="start-up",
        unit="ms",
        sides=("charrnn", "imports alone"),
        case=case.name,
        ours=found[0],
        theirs=found[1],
        figure=case.figure,
        goal=case.goal,
    )


def milliseconds(command: list[str], **environment: str) -> float:
    """From the start of a command to its end; of modules as they are once installed: compiled."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=own | environment)
    elapsed = time.perf_counter() - begin
    if done.returncode:
        raise BenchError(f"{Path(command[0]).name} failed: {done.stderr.strip()}")
    return 1e3 * elapsed


if __name__ == "__main__":
    main(measure, __doc__)
