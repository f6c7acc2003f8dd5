"""Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers 2000).

i, f, o = sigmoid(x W_ih^T + b_ih + h W_hh^T + b_hh),  g = tanh(likewise)
c' = f * c + i * g
h' = o * tanh(c')
"""

from __future__ import annotations

from typing import Any

from charrnn.backend import Array
from charrnn.cells.base import Cell, sigmoid, sigmoid_backward, split, tanh_backward


def forward(
    xp: Any,
    gates: Array,
    recurrent: Array,
    previous: list[Array],
    state: list[Array],
    saved: Array,
    scratch: Array,
) -> None:
    """One step; shapes and roles as in ``Cell``. Saves tanh(c')."""
    gates += recurrent
    i, f, g, o = split(gates, 4)
    sigmoid(xp, gates[:, : 2 * i.shape[-1]])  # i and f lie side by side
    xp.tanh(g, out=g)
    sigmoid(xp, o)
    (h, c), tanh_c = state, saved[0]
    xp.multiply(f, previous[1], out=c)
    xp.multiply(i, g, out=tanh_c)
    c += tanh_c
    xp.tanh(c, out=tanh_c)
    xp.multiply(o, tanh_c, out=h)


def backward(
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
    i, f, g, o = split(gates, 4)
    dh, dc = dstate
    tanh_c, c_before = saved[0], previous[1]
    a, b = scratch

    xp.multiply(dh, tanh_c, out=a)  # do
    xp.multiply(dh, o, out=b)  # d tanh(c')
    sigmoid_backward(xp, o, a, dh)  # dh is read for the last time above: room for scratch
    tanh_backward(xp, tanh_c, b)
    dc += tanh_c

    xp.multiply(dc, c_before, out=a)  # df
    xp.multiply(dc, g, out=b)  # di
    xp.multiply(dc, i, out=tanh_c)  # dg; tanh(c') is used up
    dc *= f
    sigmoid_backward(xp, f, a, dh)
    sigmoid_backward(xp, i, b, dh)
    tanh_backward(xp, g, tanh_c)
    dh.fill(0)


LSTM = Cell(
    name="lstm",
    gates=("i", "f", "g", "o"),
    states=("h", "c"),
    saved=1,
    additive=True,
    forward=forward,
    backward=backward,
)
