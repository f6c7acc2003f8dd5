"""What the core asks of an array library and its device."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

#: An array of whichever library the backend uses; its shape stands in the docstring beside it.
Array = Any


class Backend(Protocol):
    """One array library on one device; chosen once by the caller and passed on explicitly.

    ``xp`` is the array module (NumPy or CuPy) and covers what is identical in both. What
    differs stands behind the methods.
    """

    name: str
    xp: Any
    dtype: np.dtype[Any]

    def empty(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """An uninitialised, C-contiguous array of ``dtype`` (by default the backend's)."""

    def zeros(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """As ``empty``, filled with zeros."""

    def to_device(self, host: np.ndarray[Any, Any], out: Array | None = None) -> Array:
        """Copy a host array to the device; where given, into ``out``, of the same shape.

        It is cast to the dtype of ``out``.
        """

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        """A host copy of ``array``: the only place where the device is waited for."""

    def gemm(self, a: Array, b: Array, out: Array) -> Array:
        """``out = a @ b`` for matrices [M, K] and [K, N]; ``out`` [M, N] overlaps neither."""

    def gather(self, table: Array, ids: Array, out: Array) -> Array:
        """``out[n] = table[ids[n]]``; table [V, E], ids [N], out [N, E]."""

    def scatter_add(self, table: Array, ids: Array, rows: Array) -> None:
        """``table[ids[n]] += rows[n]``, repeated ids adding up; shapes as in ``gather``."""

    def free_memory(self) -> int:
        """Bytes of the device's memory that can still be had."""
