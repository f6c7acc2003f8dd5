"""``python -m tests.bench.train``: tokens a second of a training step, ours and PyTorch's.

A step is forward, cross-entropy, backward, clipping and Adam, on windows that follow each other
with carried state. Both sides start from the same parameters and read the same text; their first
steps, which are also the warm-up, must give the same losses, or there is no result.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.harness import BenchError, Plan, Shape, call, main, require_torch, take_turns
from tests.bench.table import Row

#: Each shape, and how many times as fast as PyTorch it should be.
CASES = (
    (Shape("lstm", 1, 128), 1.6),
    (Shape("lstm", 2, 128), 1.3),
    (Shape("lstm", 2, 256), 1.35),
    (Shape("lstm", 2, 512, batch=64, window=64), 1.2),
    (Shape("gru", 2, 256), 1.3),
    (Shape("rnn", 2, 256), 1.3),
    (Shape("lstm", 1, 256, vocab=10_000, batch=20, window=35), 1.15),
    (Shape("lstm", 2, 200, vocab=33_278, batch=20, window=35), 1.15),
)

CHECKED = 5  # steps whose losses are compared
TOLERANCE = 0.02  # between them, relative
SAME_UPDATE = 0.99  # of the parameters that PyTorch's step changes; with fewer it is said
WINDOWS = 10  # of the text, which is read again and again


def measure(plan: Plan) -> Iterator[Row]:
    """A row for each shape."""
    require_torch()
    for shape, goal in CASES:
        if plan.wants(shape.step):
            with tempfile.TemporaryDirectory() as folder:
                yield _row(shape, goal, plan, Path(folder))


def _row(shape: Shape, goal: float, plan: Plan, folder: Path) -> Row:
    parameters, text = str(folder / "parameters.npz"), str(folder / "text.npy")
    call("tests.bench.ours:write_parameters", shape=shape.to_dict(), parameters=parameters)
    np.save(text, make_text(shape))

    def side(name: str) -> dict[str, Any]:
        return call(
            f"tests.bench.{name}:train",
            shape=shape.to_dict(),
            parameters=parameters,
            text=text,
            checked=CHECKED,
            seconds=plan.seconds,
        )

    ours, theirs = take_turns(plan, lambda: side("ours"), lambda: side("rival"))
    tokens = shape.batch * shape.window
    return Row(
        table="training",
        unit="tokens/s",
        sides=("charrnn", "PyTorch"),
        case=shape.step,
        ours=[tokens / found["seconds"] for found in ours],
        theirs=[tokens / found["seconds"] for found in theirs],
        figure="rate ratio",
        goal=goal,
        check=compare(ours, theirs),
    )


def make_text(shape: Shape) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Symbols that are as unequally frequent as those of a language (Zipf's law)."""
    frequency = 1 / np.arange(1, shape.vocab + 1)
    size = WINDOWS * shape.batch * shape.window + 1
    rng = np.random.default_rng(0)
    return rng.choice(shape.vocab, size, p=frequency / frequency.sum()).astype(np.int32)


def compare(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> str:
    """How far all processes computed the same; raises ``BenchError`` where they did not."""
    differences, shares = [], []
    for a, b in zip(ours, theirs, strict=True):
        if a["parameters"] != b["parameters"]:
            raise BenchError(f"{a['parameters']} parameters against {b['parameters']}")
        pairs = zip(a["losses"], b["losses"], strict=True)
        differences += [abs(loss - expected) / expected for loss, expected in pairs]
        shares.append(a["updated"] / b["updated"])
    if not all(difference <= TOLERANCE for difference in differences):
        raise BenchError(f"losses differ: {ours[0]['losses']} against {theirs[0]['losses']}")
    found = f"losses agree to {max(differences):.0e}"
    if min(shares) < SAME_UPDATE:
        found += f"; our step updates {min(shares):.0%} of the parameters that theirs does"
    return found


if __name__ == "__main__":
    main(measure, __doc__)
