"""The sizes that kernels are cut to."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

#: Depth, and rows and columns of the result, of the blocks that ``products.py`` cuts operands to:
#: they fit into the cache.
DEPTH, ROWS, COLUMNS = 256, 448, 1024
#: Input products, of all steps of time whose turn it is, that ``recurrence.py`` holds at once.
BLOCK = 2**17
#: Bytes of a line of the cache, which is also the largest vector.
LINE = 64


class Host(NamedTuple):
    """A processor, as LLVM knows it."""

    name: str
    features: str
    """Separated by commas, each behind a + or a -."""

    def has(self, feature: str) -> bool:
        return f"+{feature}" in self.features.split(",")


class Shape(NamedTuple):
    """What the vector registers of a machine hold: the sizes that kernels are cut to."""

    dtype: np.dtype[Any]
    width: int
    """Elements of a vector."""
    rows: int
    """Rows of the largest tile of a matrix product, no more than ``width`` ..."""
    vectors: int
    """... and its vectors side by side: rows x vectors registers add up products."""

    @property
    def panel(self) -> int:
        """Columns of a tile."""
        return self.width * self.vectors

    @classmethod
    def of_host(cls, host: Host, dtype: np.dtype[Any]) -> Shape:
        """The one for this processor."""
        if host.has("avx512f"):
            size, registers = 64, 32
        elif host.has("avx"):
            size, registers = 32, 16
        else:  # SSE, and ARM's NEON
            size, registers = 16, 16
        width = size // dtype.itemsize
        return cls(dtype, width, min(width, registers // 2 - 2), 2)
