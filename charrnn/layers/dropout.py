"""Dropout (Srivastava et al. 2014), inverted: what is kept is scaled by 1 / (1 - p)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from charrnn.backend import Array, Backend

_DRAWS = 2**16  # p is rounded to a multiple of 1/65536: 16-bit draws cost half of 32-bit ones


def dropout(xp: Any, x: Array, draws: Array, threshold: int, scale: float, out: Array) -> None:
    """out = x * scale where the draw is at least the threshold, else 0; out may be x.

    x and out [...] of the same shape, draws uint16 [N] for all their elements.
    """
    kept = xp.greater_equal(draws, threshold).reshape(x.shape)
    xp.multiply(x, kept, out=out)
    out *= scale


class Dropout:
    """Drops each element of an array of at most ``shape`` with probability ``p``."""

    def __init__(self, backend: Backend, shape: tuple[int, ...], p: float) -> None:
        self.backend = backend
        self.threshold = min(round(p * _DRAWS), _DRAWS - 1)
        self.scale = _DRAWS / (_DRAWS - self.threshold)
        self.dropped, self.size = False, math.prod(shape)
        if self.threshold:
            self.draws = backend.empty((self.size,), np.uint16)
            self.output = backend.empty(shape)
        self._dropout = backend.kernel("dropout", dropout)

    def draw(self, rng: np.random.Generator | None, size: int | None = None) -> None:
        """Decide what the next passes drop of all, or ``size``, elements; nothing without ``rng``.

        The draws are made on the host, so that they are the same on every device.
        """
        size = self.size if size is None else size
        self.dropped = rng is not None and self.threshold > 0
        if rng is not None and self.dropped:
            draws = np.frombuffer(rng.bytes(2 * size), np.uint16)
            self.drawn = self.backend.to_device(draws, out=self.draws[:size])

    def forward(self, x: Array) -> Array:
        """x [n, ...] with some elements dropped, in a buffer of its own; or ``x`` itself."""
        if not self.dropped:
            return x
        out = self.output[: len(x)]
        self._dropout(self.backend.xp, x, self.drawn, self.threshold, self.scale, out)
        return out

    def backward(self, dy: Array) -> Array:
        """dy with the same elements dropped, in place."""
        if self.dropped:
            self._dropout(self.backend.xp, dy, self.drawn, self.threshold, self.scale, dy)
        return dy
