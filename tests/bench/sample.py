"""``python -m tests.bench.sample``: sampling one character at a time, ours and PyTorch's.

First the time a character takes where one text is drawn, against PyTorch; then how many
characters a second 64 texts at once give, against a single one, both ours. Texts have the
length that ``charrnn sample`` draws by default, and count from the first to the last symbol,
preparations included. Both sides have the same parameters, and the likeliest text must be the
same. How much faster 64 texts can be is limited by arithmetic: their rows say how much of it the
processor still had to give.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.bench.harness import BenchError, Plan, Shape, call, main, require_torch, take_turns
from tests.bench.table import Row

SHAPES = (Shape("lstm", 1, 128), Shape("lstm", 2, 512), Shape("lstm", 3, 512))
GOAL = 10.0  # times as fast as PyTorch
TEXTS, TEXTS_GOAL = 64, 8.0  # texts at once; times the characters of one

LENGTH = 500
START = 1  # the symbol that all texts begin after


def measure(plan: Plan) -> Iterator[Row]:
    """Two rows for each shape, those against PyTorch first."""
    require_torch()
    with tempfile.TemporaryDirectory() as folder:
        for row in (_against_torch, _many_at_once):
            for shape in SHAPES:
                if plan.wants(shape.model):
                    yield row(shape, plan, Path(folder))


def _sides(shape: Shape, plan: Plan, folder: Path) -> Callable[..., dict[str, Any]]:
    """Samples from a model of that shape, with parameters of its own."""
    parameters = str(folder / "parameters.npz")
    call("tests.bench.ours:write_parameters", shape=shape.to_dict(), parameters=parameters)

    def side(name: str, **more: int) -> dict[str, Any]:
        return call(
            f"tests.bench.{name}:sample",
            shape=shape.to_dict(),
            parameters=parameters,
            start=START,
            length=LENGTH,
            seconds=plan.seconds,
            **more,
        )

    return side


def _against_torch(shape: Shape, plan: Plan, folder: Path) -> Row:
    side = _sides(shape, plan, folder)
    ours, theirs = take_turns(plan, lambda: side("ours"), lambda: side("rival"))
    if any(a["greedy"] != b["greedy"] for a, b in zip(ours, theirs, strict=True)):
        raise BenchError(f"{shape.model}: the likeliest texts differ")
    return Row(
        table="sampling one text",
        unit="µs/character",
        sides=("charrnn", "PyTorch"),
        case=shape.model,
        ours=[1e6 * found["seconds"] / LENGTH for found in ours],
        theirs=[1e6 * found["seconds"] / LENGTH for found in theirs],
        figure="speed-up",
        goal=GOAL,
        check="same likeliest text",
    )


def _many_at_once(shape: Shape, plan: Plan, folder: Path) -> Row:
    side = _sides(shape, plan, folder)
    many, one = take_turns(plan, lambda: side("ours", texts=TEXTS), lambda: side("ours", texts=1))
    # 64 texts share each weight that is read, so that what limits them is arithmetic.
    share = statistics.median(
        TEXTS * LENGTH * found["products"] / found["seconds"] / found["limit"] for found in many
    )
    return Row(
        table=f"sampling {TEXTS} texts at once",
        unit="characters/s",
        sides=(f"{TEXTS} texts", "one text"),
        case=shape.model,
        ours=[TEXTS * LENGTH / found["seconds"] for found in many],
        theirs=[LENGTH / found["seconds"] for found in one],
        figure="rate ratio",
        goal=TEXTS_GOAL,
        check=f"{TEXTS} texts take {share:.0%} of the processor's rate of products",
    )


if __name__ == "__main__":
    main(measure, __doc__)
