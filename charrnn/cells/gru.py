"""Gated recurrent unit (Cho et al. 2014) in PyTorch's form, the reset gate after the product.

r, z = sigmoid(x W_ih^T + b_ih + h W_hh^T + b_hh)
n = tanh(x_n + r * h_n),  x_n and h_n being the n parts of the two products
h' = (1 - z) * n + z * h
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
    """One step; shapes and roles as in ``Cell``. Saves h_n."""
    r, z, n = split(gates, 3)
    H = n.shape[-1]
    rz, h_n = gates[:, : 2 * H], recurrent[:, 2 * H :]
    rz += recurrent[:, : 2 * H]
    sigmoid(xp, rz)
    saved[0][...] = h_n
    h_n *= r
    n += h_n
    xp.tanh(n, out=n)
    h = state[0]
    xp.subtract(previous[0], n, out=h)
    h *= z
    h += n


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
    r, z, n = split(gates, 3)
    H = n.shape[-1]
    dh, h_n = dstate[0], saved[0]
    a, b = scratch

    xp.subtract(previous[0], n, out=a)
    a *= dh  # dz
    xp.multiply(dh, z, out=b)
    xp.subtract(dh, b, out=b)  # dn = dh * (1 - z)
    dh *= z
    tanh_backward(xp, n, b)
    sigmoid_backward(xp, z, a, b)
    xp.multiply(n, h_n, out=a)  # dr
    xp.multiply(n, r, out=drecurrent[:, 2 * H :])
    sigmoid_backward(xp, r, a, b)
    drecurrent[:, : 2 * H] = gates[:, : 2 * H]


GRU = Cell(
    name="gru",
    gates=("r", "z", "n"),
    states=("h",),
    saved=1,
    additive=False,
    forward=forward,
    backward=backward,
)
