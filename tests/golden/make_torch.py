"""Makes ``torch.safetensors``: what PyTorch computes for the stacks of ``tests/support/stacks.py``.

    python -m tests.golden.make_torch

Run it from the repository's root, with torch installed, after a change of the cases. Each entry
is ``CELL-LAYERS-DIRECTION/NAME``: the inputs that the case was given, and outputs and gradients.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from charrnn.cells import CELLS
from tests.support.stacks import DIRECTIONS, Case

FILE = Path(__file__).parent / "torch.safetensors"
STEPS = 3


def main() -> None:
    """Write the file."""
    from tests.support.torch_oracle import run_stack

    entries: dict[str, np.ndarray[Any, Any]] = {}
    for cell in sorted(CELLS):
        for layers in (1, 2):
            for direction in DIRECTIONS:
                case = Case.make("numpy", cell, layers, direction, STEPS)
                dy, dfinal = case.upstream()
                params = {name: np.array(value) for name, value in case.params.items()}
                inputs = {"x": case.x, "dy": dy, "params": case.params.flat}
                for scan, (states, gradients) in enumerate(zip(case.states, dfinal, strict=True)):
                    for k, (state, gradient) in enumerate(zip(states, gradients, strict=True)):
                        inputs[f"state.{scan}.{k}"] = state
                        inputs[f"dfinal.{scan}.{k}"] = gradient
                found = run_stack(cell, layers, direction, params, case.x, case.states, dy, dfinal)
                key = f"{cell}-{layers}-{direction}"
                entries |= {f"{key}/{n}": np.ascontiguousarray(v) for n, v in inputs.items()}
                entries |= {f"{key}/{n}": np.ascontiguousarray(v) for n, v in found.items()}
    safetensors.numpy.save_file(entries, FILE)


if __name__ == "__main__":
    main()
