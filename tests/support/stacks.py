"""Recurrent stacks with random weights, and the cases that the tests cross them over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from charrnn.backend import Backend, NumpyBackend
from charrnn.cells import CELLS
from charrnn.config import ModelConfig
from charrnn.layers import Stack, States, copy_states
from charrnn.params import Buffer, recurrent_shapes

DIRECTIONS = {"forward": (False,), "reverse": (True,), "both": (False, True)}

cells = pytest.mark.parametrize("cell", sorted(CELLS))
directions = pytest.mark.parametrize("direction", DIRECTIONS)
layers = pytest.mark.parametrize("layers", [1, 2, 3])

INPUT, HIDDEN = 2, 3


def model_config(cell: str, **sizes: Any) -> ModelConfig:
    """A small language model's configuration for a cell by its name in ``CELLS``."""
    kind, _, activation = cell.partition("_")
    defaults = {"vocab_size": 7, "layers": 2, "hidden_size": 6, "embed_size": 4}
    return ModelConfig(cell=kind, activation=activation or "tanh", **(defaults | sizes))


@dataclass
class Case:
    """A stack in float64, its parameters, an input [T, B, I] and initial states [B, H]."""

    backend: Backend
    stack: Stack
    params: Buffer
    grads: Buffer
    x: np.ndarray[Any, Any]
    states: list[list[np.ndarray[Any, Any]]]

    @classmethod
    def make(
        cls, cell: str, layers: int, direction: str, steps: int, batch: int = 2, seed: int = 0
    ) -> Case:
        backend = NumpyBackend(np.float64)
        rng = np.random.default_rng(seed)
        reverse = DIRECTIONS[direction]
        shapes = recurrent_shapes(
            CELLS[cell], INPUT, HIDDEN, layers, bidirectional=len(reverse) == 2
        )
        params, grads = Buffer(backend, shapes), Buffer(backend, shapes)
        params.flat[...] = rng.normal(scale=0.6, size=params.flat.shape)
        stack = Stack(backend, CELLS[cell], params, grads, layers, steps, batch, directions=reverse)
        x = rng.normal(size=(steps, batch, INPUT))
        states = [[rng.normal(size=s.shape) * 0.5 for s in scan] for scan in stack.initial]
        return cls(backend, stack, params, grads, x, states)

    def forward(
        self, x: np.ndarray[Any, Any] | None = None, states: Any = None
    ) -> np.ndarray[Any, Any]:
        """The output [T, B, D*H] from these states on (by default the case's), copied."""
        copy_states(self.stack.initial, self.states if states is None else states)
        return np.array(self.stack.forward(self.x if x is None else x))

    def upstream(self, seed: int = 1) -> tuple[np.ndarray[Any, Any], States]:
        """Random gradients of the output and of the final states."""
        rng = np.random.default_rng(seed)
        dy = rng.normal(size=self.forward().shape)
        return dy, [[rng.normal(size=s.shape) for s in scan] for scan in self.stack.final]

    def run(self, dy: np.ndarray[Any, Any], dfinal: States) -> dict[str, np.ndarray[Any, Any]]:
        """Outputs and all gradients, under the names that the PyTorch oracle gives them."""
        found = {"y": self.forward()}
        final = clone(self.stack.final)
        dx, dstates = self.stack.backward(dy, dfinal)
        found |= {"d x": np.array(dx)}
        for name, states in (("final", final), ("d state", dstates)):
            for scan, values in enumerate(states):
                found |= {f"{name}.{scan}.{k}": np.array(v) for k, v in enumerate(values)}
        return found | {f"d {name}": np.array(g) for name, g in self.grads.items()}


def clone(states: States) -> States:
    """A copy of every state array."""
    return [[np.array(s) for s in scan] for scan in states]
