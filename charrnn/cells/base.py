"""The contract of a recurrent cell: a pair of pointwise functions.

A cell owns its equations and nothing else. The scan (``layers/scan.py``) owns time, memory
and every matrix product: it hands the cell the two products of a step, x W_ih^T + b_ih and
h W_hh^T + b_hh, and takes their gradients back.

Shapes: B sequences, hidden size H, K gates. Gates lie side by side in one [B, K*H] array in
PyTorch's order. Every function works in place on what it is given and allocates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from charrnn.backend import Array


@dataclass(frozen=True)
class Cell:
    """A recurrent cell; ``h``, its output, is always the first of its ``states``.

    forward(xp, gates, recurrent, previous, state, saved, scratch)
        gates [B, K*H]      in: input product; out: activated gates
        recurrent [B, K*H]  the recurrent product; may be overwritten
        previous, state     lists of [B, H]: states before the step (read), after it (written)
        saved [n, B, H]     written: what the backward pass needs besides gates and states
        scratch [2, B, H]   room for intermediate results

    backward(xp, gates, saved, previous, state, dstate, drecurrent, scratch)
        gates [B, K*H]      in: activated gates; out: gradient of the input product
        dstate              list of [B, H]; in: gradients of ``state``; out: those of
                            ``previous``, without the part that goes through the recurrent product
        drecurrent [B, K*H] written: gradient of the recurrent product (unless ``additive``)
    """

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...]
    saved: int
    additive: bool
    """The gates see only the sum of both products, so that both have the same gradient."""
    forward: Callable[..., None]
    backward: Callable[..., None]


def split(gates: Array, count: int) -> Sequence[Array]:
    """Views of the ``count`` gates in [B, count*H], each [B, H]."""
    H = gates.shape[-1] // count
    return [gates[:, k * H : (k + 1) * H] for k in range(count)]


def sigmoid(xp: Any, x: Array) -> None:
    """x <- 1 / (1 + exp(-x)), as a scaled tanh: no overflow at either end."""
    x *= 0.5
    xp.tanh(x, out=x)
    x *= 0.5
    x += 0.5


def sigmoid_backward(xp: Any, y: Array, dy: Array, scratch: Array) -> None:
    """y <- dy * y * (1 - y), the gradient before a sigmoid that gave ``y``."""
    xp.subtract(1, y, out=scratch)
    y *= scratch
    y *= dy


def tanh_backward(xp: Any, y: Array, dy: Array) -> None:
    """y <- dy * (1 - y**2), the gradient before a tanh that gave ``y``."""
    xp.multiply(y, y, out=y)
    xp.subtract(1, y, out=y)
    y *= dy
