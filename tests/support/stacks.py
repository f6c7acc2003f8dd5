"""Recurrent stacks with random weights, and the cases that the tests cross them over."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from charrnn.backend import Backend, NumpyBackend
from charrnn.cells import CELLS
from charrnn.config import ModelConfig
from charrnn.layers import Stack, States
from charrnn.params import Buffer, recurrent_shapes
from tests.support.devices import GPU, gpu, host, put

DIRECTIONS = {"forward": (False,), "reverse": (True,), "both": (False, True)}

cells = pytest.mark.parametrize("cell", sorted(CELLS))
directions = pytest.mark.parametrize("direction", DIRECTIONS)
layers = pytest.mark.parametrize("layers", [1, 2, 3])
#: Where the mathematics is checked: see ``exact``.
backends = pytest.mark.parametrize("backend", ["numpy", "fused", GPU])
#: Likewise of a whole model, whose batch is cut into parts for two threads.
model_backends = pytest.mark.parametrize("backend", ["numpy", "fused", "fused-2", GPU])

INPUT, HIDDEN = 2, 3


@functools.cache
def backend_of(name: str, dtype: Any) -> Backend:
    """``numpy``, ``gpu``, ``fused`` with one thread or ``fused-N`` with N; each is made once."""
    if name == "numpy":
        return NumpyBackend(dtype)
    if name == "gpu":
        return gpu(dtype)
    from charrnn.backend.fused import FusedBackend

    return FusedBackend(dtype, threads=int(name.partition("-")[2] or 1))


def exact(name: str) -> Backend:
    """A backend by its name, in float64."""
    return backend_of(name, np.float64)


def weights_of(backend: Backend, params: Buffer) -> dict[str, Any]:
    """Parameters as a stack takes them: matrices as weights, biases as they are."""
    return {
        name: backend.weight(view, backward=True) if "weight" in name else view
        for name, view in params.items()
    }


def refresh(weights: dict[str, Any]) -> None:
    """Take over a change of the parameters."""
    for name, weight in weights.items():
        if "weight" in name:
            weight.refresh()


def model_config(cell: str, **sizes: Any) -> ModelConfig:
    """A small language model's configuration for a cell by its name in ``CELLS``."""
    kind, _, activation = cell.partition("_")
    defaults = {"vocab_size": 7, "layers": 2, "hidden_size": 6, "embed_size": 4}
    return ModelConfig(cell=kind, activation=activation or "tanh", **(defaults | sizes))


@dataclass
class Case:
    """A stack in float64, its parameters, an input [T, B, I] and initial states [B, H].

    Outputs and gradients are handed out as copies, [T, B, ...].
    """

    backend: Backend
    stack: Stack
    params: Buffer
    weights: dict[str, Any]
    grads: Buffer
    x: np.ndarray[Any, Any]
    states: list[list[np.ndarray[Any, Any]]]

    @classmethod
    def make(
        cls,
        backend: str,
        cell: str,
        layers: int,
        direction: str,
        steps: int,
        batch: int = 2,
        seed: int = 0,
        **options: Any,
    ) -> Case:
        """``options`` are those of ``Stack``."""
        made = exact(backend)
        rng = np.random.default_rng(seed)
        reverse = DIRECTIONS[direction]
        shapes = recurrent_shapes(
            CELLS[cell], INPUT, HIDDEN, layers, bidirectional=len(reverse) == 2
        )
        params, grads = Buffer(made, shapes), Buffer(made, shapes)
        put(params.flat, rng.normal(scale=0.6, size=params.flat.shape))
        weights = weights_of(made, params)
        stack = Stack(
            made, CELLS[cell], weights, grads, layers, steps, batch, directions=reverse, **options
        )
        x = rng.normal(size=(steps, batch, INPUT))
        states = [[rng.normal(size=s.shape) * 0.5 for s in scan] for scan in stack.initial]
        return cls(made, stack, params, weights, grads, x, states)

    def forward(
        self,
        x: np.ndarray[Any, Any] | None = None,
        states: Any = None,
        index: np.ndarray[Any, Any] | None = None,
    ) -> np.ndarray[Any, Any]:
        """The output from these states on (by default the case's).

        x [T, B, I] (by default the case's) or, with ``index`` [T, B] into it, a table [U, I].
        """
        refresh(self.weights)
        to_device = self.backend.to_device
        for to, scan in zip(self.stack.initial, states or self.states, strict=True):
            for array, state in zip(to, scan, strict=True):
                put(array, state)
        rows = to_device(np.ascontiguousarray(self.x if x is None else x).reshape(-1, INPUT))
        y = self.stack.forward(rows, None if index is None else to_device(index.reshape(-1)))
        return host(y).reshape(*self.stack.shape, -1)

    def backward(
        self, dy: np.ndarray[Any, Any], dfinal: States | None = None
    ) -> tuple[np.ndarray[Any, Any], States]:
        """Gradients of x, [T*B, I] or [U, I], and of the initial states."""
        to_device = self.backend.to_device
        final = dfinal and [[to_device(d) for d in scan] for scan in dfinal]
        dx, dstates = self.stack.backward(to_device(dy.reshape(-1, dy.shape[-1])), final)
        return host(dx), clone(dstates)

    def upstream(self, seed: int = 1) -> tuple[np.ndarray[Any, Any], States]:
        """Random gradients of the output and of the final states."""
        rng = np.random.default_rng(seed)
        dy = rng.normal(size=self.forward().shape)
        return dy, [[rng.normal(size=s.shape) for s in scan] for scan in self.stack.final]

    def run(self, dy: np.ndarray[Any, Any], dfinal: States) -> dict[str, np.ndarray[Any, Any]]:
        """Outputs and all gradients, under the names that the PyTorch oracle gives them."""
        found = {"y": self.forward()}
        final = clone(self.stack.final)
        dx, dstates = self.backward(dy, dfinal)
        found |= {"d x": dx.reshape(self.x.shape)}
        for name, states in (("final", final), ("d state", dstates)):
            for scan, values in enumerate(states):
                found |= {f"{name}.{scan}.{k}": v for k, v in enumerate(values)}
        return found | {f"d {name}": host(g) for name, g in self.grads.items()}


def clone(states: States) -> States:
    """A copy of every state array, on the host."""
    return [[host(s) for s in scan] for scan in states]
