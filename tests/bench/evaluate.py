"""``python -m tests.bench.evaluate``: scoring a long text, ours and PyTorch's.

One text whose context is never cut, a symbol waiting for the one before it; then the same text in
32 lanes. Ours is all that ``charrnn eval`` does with a text that is in memory: encoding, losses,
ranks, calibration. PyTorch runs its modules over the whole text at once without gradients, and
takes the cross-entropy. Both sides have the same parameters and must find the same loss.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.bench.harness import (
    TALES,
    BenchError,
    Plan,
    Shape,
    call,
    main,
    require_torch,
    take_turns,
)
from tests.bench.table import Row

SHAPES = (Shape("lstm", 1, 128), Shape("lstm", 2, 256), Shape("gru", 2, 256))
LANES = (1, 32)
GOAL = 1.5  # times as fast as PyTorch
CHARACTERS = 40_000
CLOSE = 1e-5  # of the losses, relative


def measure(plan: Plan) -> Iterator[Row]:
    """A row for each shape and number of lanes."""
    require_torch()
    text = TALES.read_text(encoding="utf-8")[
        : CHARACTERS // 10 if not plan.patience else CHARACTERS
    ]
    with tempfile.TemporaryDirectory() as folder:
        path, parameters = Path(folder) / "text.txt", str(Path(folder) / "parameters.npz")
        path.write_text(text, encoding="utf-8")
        for lanes in LANES:
            for shape in SHAPES:
                if plan.wants(shape.model):
                    size = replace(shape, vocab=len(set(text)) + 1)
                    yield _row(plan, size, lanes, str(path), parameters)


def _row(plan: Plan, shape: Shape, lanes: int, text: str, parameters: str) -> Row:
    given = {"shape": shape.to_dict(), "parameters": parameters}
    call("tests.bench.ours:write_parameters", **given)
    given |= {"text": text, "lanes": lanes, "seconds": plan.seconds}
    ours, theirs = take_turns(
        plan,
        lambda: call("tests.bench.ours:evaluate", **given),
        lambda: call("tests.bench.rival:evaluate", **given),
    )
    apart = max(abs(a["nats"] / b["nats"] - 1) for a, b in zip(ours, theirs, strict=True))
    if apart > CLOSE:
        raise BenchError(f"{shape.model}: the losses differ by {apart:.1e}")
    return Row(
        table=f"scoring a text in {'one lane' if lanes == 1 else f'{lanes} lanes'}",
        unit="characters/s",
        sides=("charrnn", "PyTorch"),
        case=shape.model,
        ours=[found["tokens"] / found["seconds"] for found in ours],
        theirs=[found["tokens"] / found["seconds"] for found in theirs],
        figure="rate ratio",
        goal=GOAL,
        check=f"losses agree to {apart:.0e}",
    )


if __name__ == "__main__":
    main(measure, __doc__)
