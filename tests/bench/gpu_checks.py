"""What can be seen to be right on a GPU before PyTorch is asked, and how near losses are."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.backend import Backend, NumpyBackend
from charrnn.config import ModelConfig
from charrnn.model import Model
from charrnn.params import initial_values
from tests.bench.gpu_ours import learner
from tests.bench.harness import BenchError, Shape, tell
from tests.bench.ours import write_parameters

CHECKED = 5  # steps whose losses are compared

#: Of gradients against double precision, relative to the largest of an array.
TOLERANCES = {"fp32": 1e-4, "tf32": 5e-3, "bf16": 5e-2}
#: Of losses against those in fp32.
LOSS_TOLERANCES = {"tf32": 2e-3, "bf16": 2e-2}


def check(backends: dict[str, Backend]) -> None:
    """Of ours in each precision, all that needs no PyTorch."""
    shape = Shape("lstm", 2, 64, batch=8, window=16)
    with tempfile.TemporaryDirectory() as folder:
        parameters = str(Path(folder, "parameters.npz"))
        write_parameters(shape.to_dict(), parameters)
        for precision, backend in backends.items():
            error = check_gradients(backend, TOLERANCES[precision])
            check_graph(backend, parameters, shape)
            tell(f"{precision} is within {error:.0e} of double precision, captured to the bit")


def check_gradients(backend: Backend, tolerance: float) -> float:
    """The largest error of losses and gradients of small models, against double precision."""
    worst = 0.0
    for cell in ("rnn", "gru", "lstm"):
        config = ModelConfig(20, cell=cell, layers=2, hidden_size=48, embed_size=32)
        values = initial_values(config, "uniform", np.random.default_rng(0))
        ids, targets = np.random.default_rng(1).integers(0, 20, size=(2, 17, 9))
        found = []
        for b in (backend, NumpyBackend(np.float64)):
            model = Model(config, b, learns=True)
            model.load(values)
            window = model.training_window(*ids.shape)
            loss = b.to_host(window.loss_and_grads(ids, targets, None))
            found.append([loss, *(b.to_host(g) for g in window.grads.values())])
        for ours, exact in zip(*found, strict=True):
            error = float(np.abs(ours - exact).max() / np.abs(exact).max())
            if not error <= tolerance:
                raise BenchError(f"{cell}: {error:.0e} off what it is in double precision")
            worst = max(worst, error)
    return worst


def check_graph(backend: Backend, parameters: str, shape: Shape) -> None:
    """Steps that are captured are those that are not, to the bit."""
    found = losses_of(backend, learner(backend, shape, parameters))
    replay, backend.capture = backend.capture, lambda step: step  # type: ignore[method-assign]
    try:
        expected = losses_of(backend, learner(backend, shape, parameters))
    finally:
        backend.capture = replay  # type: ignore[method-assign]
    if found != expected:
        raise BenchError(f"captured steps lose {found}, others {expected}")


def losses_of(backend: Backend, step: Callable[[], Any]) -> list[float]:
    """Of the first steps."""
    return [float(backend.to_host(step())) for _ in range(CHECKED)]


def agreement(precision: str, found: list[float], fp32: list[float], check: str) -> str:
    """How near losses are to those in fp32, of which ``check`` says how near they are to theirs."""
    if precision == "fp32":
        return check
    errors = [abs(a - b) / b for a, b in zip(found, fp32, strict=True)]
    if not all(error <= LOSS_TOLERANCES[precision] for error in errors):
        raise BenchError(f"losses differ: {found} in {precision}, {fp32} in fp32")
    return f"losses within {max(errors):.0e} of fp32"
