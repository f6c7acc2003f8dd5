"""What the core asks of an array library and its device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

import numpy as np

#: An array of whichever library the backend uses; its shape stands in the docstring beside it.
Array = Any

Item = TypeVar("Item")
Result = TypeVar("Result")


class Weight(Protocol):
    """A weight matrix [N, K] in whatever form the backend multiplies with best."""

    array: Array

    def refresh(self) -> None:
        """Take over what ``array`` now holds; called after each change."""


class Backend(Protocol):
    """One array library on one device; chosen once by the caller and passed on explicitly.

    ``xp`` is the array module (NumPy or CuPy) and covers what is identical in both. What
    differs stands behind the methods.
    """

    name: str
    xp: Any
    dtype: np.dtype[Any]
    threads: int
    """Parts that a batch may be cut into, each for a thread of its own in ``map``."""
    deferred: bool
    """Whether results are waited for when looked at: on a device that runs beside the host."""
    kernels: str
    """What computes, for the records: results may differ from another by rounding."""
    weight_copies: float
    """Floats kept beside each one of a weight, at most, for products to read."""
    factor_copies: float
    """Floats taken for each one that is multiplied, for the time of a product."""

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

    def weight(self, array: Array, *, backward: bool) -> Weight:
        """``array`` [N, K] as an operand; ``backward``: for ``linear_backward`` too."""

    def linear(self, x: Array, weight: Weight, out: Array, bias: Array | None = None) -> None:
        """out = x weight^T + bias; x [M, K], weight [N, K], bias [N], out [M, N]."""

    def linear_backward(self, dy: Array, weight: Weight, out: Array) -> None:
        """out = dy weight, the gradient of x; dy [M, N], out [M, K]."""

    def linear_gradient(
        self, dy: Array, x: Array, dweight: Array, dbias: Array, *, add: bool = False
    ) -> None:
        """dweight = dy^T x and dbias = the column sums of dy; or, if ``add``, += these.

        dy [M, N], x [M, K], dweight [N, K], dbias [N].
        """

    def gather(self, table: Array, ids: Array, out: Array) -> Array:
        """``out[n] = table[ids[n]]``; table [V, E], int64 ids [N], out [N, E]."""

    def scatter_add(self, table: Array, ids: Array, rows: Array) -> None:
        """``table[ids[n]] += rows[n]``, repeated ids adding up; shapes as in ``gather``."""

    def kernel(self, name: str, reference: Callable[..., Any]) -> Callable[..., Any]:
        """The backend's own form of a function of the core, or ``reference`` itself.

        The reference defines what is computed. The tests hold every other form against it.
        Names: ``scan_forward``, ``scan_read``, ``scan_backward`` (``layers/scan.py``), ``dropout``,
        ``cross_entropy`` (``layers/head.py``), ``sum_of_squares`` and ``update``
        (``optim.py``), ``generate`` (``sampling.py``), ``rank`` (``verdicts.py``).
        """

    def prepare(self, cell: Any) -> None:
        """Do now what has to be done once for a cell, such as compiling its kernels."""

    def capture(self, step: Callable[[], Result]) -> Callable[[], Result]:
        """``step``, or what does the same more quickly: on a GPU, a CUDA graph of its work.

        A step is to do no more than queue work of the device, on the same arrays each time: what
        changes from one to the next is in arrays that are written beforehand. Its results may be
        overwritten by the next.
        """

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """[function(item) for item in items], side by side where there are threads for it.

        Not from within another ``map``, which would wait for a thread for ever.
        """

    def free_memory(self) -> int:
        """Bytes of the device's memory that can still be had."""


class PlainWeight:
    """A weight as it is; see ``Weight``."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def refresh(self) -> None:
        """There is nothing to take over."""


class ArrayBackend:
    """What NumPy and CuPy spell alike; see ``Backend``."""

    xp: Any
    dtype: np.dtype[Any]
    threads = 1
    deferred = False
    kernels = "arrays"
    weight_copies = factor_copies = 0.0

    def empty(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        return self.xp.empty(shape, dtype or self.dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        return self.xp.zeros(shape, dtype or self.dtype)

    def weight(self, array: Array, *, backward: bool) -> Weight:
        return PlainWeight(array)

    def linear(self, x: Array, weight: Weight, out: Array, bias: Array | None = None) -> None:
        self.xp.matmul(x, weight.array.T, out=out)
        if bias is not None:
            out += bias

    def linear_backward(self, dy: Array, weight: Weight, out: Array) -> None:
        self.xp.matmul(dy, weight.array, out=out)

    def linear_gradient(
        self, dy: Array, x: Array, dweight: Array, dbias: Array, *, add: bool = False
    ) -> None:
        if add:
            dweight += dy.T @ x
            dbias += self.xp.sum(dy, axis=0)
        else:
            self.xp.matmul(dy.T, x, out=dweight)
            self.xp.sum(dy, axis=0, out=dbias)

    def kernel(self, name: str, reference: Callable[..., Any]) -> Callable[..., Any]:
        return reference

    def prepare(self, cell: Any) -> None:
        """There is nothing to do."""

    def capture(self, step: Callable[[], Result]) -> Callable[[], Result]:
        return step

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        return [function(item) for item in items]
