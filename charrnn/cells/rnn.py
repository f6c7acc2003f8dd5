"""The vanilla (Elman 1990) recurrent cell with a choice of activation.

h' = f(x W_ih^T + b_ih + h W_hh^T + b_hh),  f = tanh, relu or sigmoid
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from charrnn.backend import Array
from charrnn.cells.base import Cell, sigmoid, sigmoid_backward, tanh_backward


def forward(
    activate: Callable[[Any, Array], None],
    xp: Any,
    gates: Array,
    recurrent: Array,
    previous: list[Array],
    state: list[Array],
    saved: Array,
    scratch: Array,
) -> None:
    """One step; shapes and roles as in ``Cell``."""
    gates += recurrent
    activate(xp, gates)
    state[0][...] = gates


def backward(
    activate_backward: Callable[[Any, Array, Array, Array], None],
    xp: Any,
    gates: Array,
    saved: Array,
    previous: list[Array],
    state: list[Array],
    dstate: list[Array],
    drecurrent: Array,
    scratch: Array,
) -> None:
    """Backward pass through one step; shapes and roles as in ``Cell``."""
    activate_backward(xp, gates, dstate[0], scratch[0])
    dstate[0].fill(0)


def _tanh(xp: Any, x: Array) -> None:
    xp.tanh(x, out=x)


def _tanh_backward(xp: Any, y: Array, dy: Array, scratch: Array) -> None:
    tanh_backward(xp, y, dy)


def _relu(xp: Any, x: Array) -> None:
    xp.maximum(x, 0, out=x)


def _relu_backward(xp: Any, y: Array, dy: Array, scratch: Array) -> None:
    xp.sign(y, out=y)  # y >= 0, so this is 1 where the unit is active, else 0
    y *= dy


def _cell(name: str, activate: Callable[..., None], activate_backward: Callable[..., None]) -> Cell:
    return Cell(
        name=f"rnn_{name}",
        gates=("h",),
        states=("h",),
        saved=0,
        additive=True,
        forward=partial(forward, activate),
        backward=partial(backward, activate_backward),
    )


RNN_TANH = _cell("tanh", _tanh, _tanh_backward)
RNN_RELU = _cell("relu", _relu, _relu_backward)
RNN_SIGMOID = _cell("sigmoid", sigmoid, sigmoid_backward)
