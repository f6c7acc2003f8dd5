"""Dropout (Srivastava et al. 2014), inverted: what is kept is scaled by 1 / (1 - p)."""

from __future__ import annotations

import numpy as np

from charrnn.backend import Array, Backend

_DRAWS = 2**16  # p is rounded to a multiple of 1/65536: 16-bit draws cost half of 32-bit ones


class Dropout:
    """Drops each element of an array of ``shape`` with probability ``p``."""

    def __init__(self, backend: Backend, shape: tuple[int, ...], p: float) -> None:
        self.backend = backend
        self.threshold = min(round(p * _DRAWS), _DRAWS - 1)
        self.dropped = False
        if self.threshold:
            self.draws = backend.empty(shape, np.uint16)
            self.mask = backend.empty(shape)
            self.output = backend.empty(shape)

    def forward(self, x: Array, rng: np.random.Generator | None) -> Array:
        """x * mask / (1 - p), in a buffer of its own; ``x`` itself without an ``rng``.

        The mask is drawn on the host, so that it is the same for every device.
        """
        self.dropped = rng is not None and self.threshold > 0
        if rng is None or not self.dropped:
            return x
        draws = rng.integers(0, _DRAWS, size=self.draws.shape, dtype=np.uint16)
        self.backend.to_device(draws, out=self.draws)
        xp = self.backend.xp
        xp.greater_equal(self.draws, self.threshold, out=self.mask)
        self.mask *= _DRAWS / (_DRAWS - self.threshold)
        return xp.multiply(x, self.mask, out=self.output)

    def backward(self, dy: Array) -> Array:
        """dy <- dy * mask / (1 - p), in place, with the mask of the last ``forward``."""
        if self.dropped:
            dy *= self.mask
        return dy
