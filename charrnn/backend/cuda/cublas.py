"""Matrix products by cuBLAS, called in its own library.

CuPy calls it as well, but not while a CUDA graph is captured, nor in a precision that a call
chooses. Nothing here imports CuPy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from ctypes import CDLL, byref, c_char_p, c_double, c_float, c_int, c_size_t, c_void_p
from typing import Any, NamedTuple

import numpy as np

from charrnn.backend.base import Array

#: Bytes of the room that cuBLAS works in: NVIDIA's advice for its largest devices.
WORKSPACE = 32 * 2**20


class Arithmetic(NamedTuple):
    """How products are made, in cuBLAS's numbers for it."""

    operand: int
    """``cudaDataType`` of what is multiplied."""
    result: int
    compute: int
    """``cublasComputeType_t``"""
    scalar: Any
    """ctypes' kind of the factors of a product and of what it is added to."""


_R_32F, _R_64F, _R_16BF = 0, 1, 14
_COMPUTE_32F, _COMPUTE_64F, _COMPUTE_32F_FAST_TF32 = 68, 70, 77
_DEFAULT_ALGORITHM = -1

DOUBLE = Arithmetic(_R_64F, _R_64F, _COMPUTE_64F, c_double)

#: Of float32 arrays: what their numbers are rounded to before they are multiplied. Sums are in
#: single precision always.
PRECISIONS = {
    "fp32": Arithmetic(_R_32F, _R_32F, _COMPUTE_32F, c_float),
    "tf32": Arithmetic(_R_32F, _R_32F, _COMPUTE_32F_FAST_TF32, c_float),
    "bf16": Arithmetic(_R_16BF, _R_32F, _COMPUTE_32F, c_float),
}

_FUNCTIONS = {
    "cublasSetStream_v2": [c_void_p, c_void_p],
    "cublasSetWorkspace_v2": [c_void_p, c_void_p, c_size_t],
    "cublasGemmEx": [
        *(c_void_p, c_int, c_int, c_int, c_int, c_int, c_void_p),
        *(c_void_p, c_int, c_int, c_void_p, c_int, c_int),
        *(c_void_p, c_void_p, c_int, c_int, c_int, c_int),
    ],
}


class CublasError(RuntimeError):
    """A call that failed; says of what."""


class Cublas:
    """The library, for the device whose ``handle`` is given; ``room`` is its workspace.

    Calls are queued on the stream that ``on`` was last told of, and never wait.
    """

    def __init__(self, library: CDLL, handle: int, room: Array) -> None:
        for name, kinds in _FUNCTIONS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = kinds, c_int
        self.library, self.handle, self.room = library, handle, room
        library.cublasGetStatusString.restype = c_char_p

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self.library, name)(self.handle, *arguments)
        if status:
            reason = self.library.cublasGetStatusString(status).decode()
            raise CublasError(f"{name}: {reason}")

    def use(self, stream: int) -> None:
        """Queue on this stream from now on; cuBLAS forgets its workspace over it."""
        self._call("cublasSetStream_v2", stream)
        self._call("cublasSetWorkspace_v2", self.room.data.ptr, self.room.nbytes)

    @contextlib.contextmanager
    def on(self, stream: int, then: int) -> Iterator[None]:
        """Queue on a stream for a while, ``then`` on another."""
        self.use(stream)
        try:
            yield
        finally:
            self.use(then)

    def multiply(
        self,
        a: Array,
        b: Array,
        out: Array,
        arithmetic: Arithmetic,
        *,
        transposed: tuple[bool, bool] = (False, False),
        add: bool = False,
    ) -> None:
        """out [M, N] = a b or, if ``add``, += that; a [M, K] and b [K, N], or ``transposed``.

        Rows lie one after the other here, columns in cuBLAS: it gets every array transposed, and
        so the factors in turned order.
        """
        (M, N), K = out.shape, a.shape[0 if transposed[0] else 1]
        assert a.shape[:: -1 if transposed[0] else 1] == (M, K)
        assert b.shape[:: -1 if transposed[1] else 1] == (K, N)
        if not out.size:
            return
        one, beta = arithmetic.scalar(1), arithmetic.scalar(add)
        kind = arithmetic.operand
        self._call(
            "cublasGemmEx",
            *(int(transposed[1]), int(transposed[0]), N, M, K, byref(one)),
            *(b.data.ptr, kind, _row(b), a.data.ptr, kind, _row(a)),
            *(byref(beta), out.data.ptr, arithmetic.result, _row(out)),
            *(arithmetic.compute, _DEFAULT_ALGORITHM),
        )


def _row(array: Array) -> int:
    """How many numbers lie from the beginning of a row to that of the next."""
    rows, columns = array.shape
    stride: int = array.strides[0] // array.itemsize
    if columns > 1 and array.strides[1] != array.itemsize:
        raise ValueError("an operand of a product must have contiguous rows")
    return max(1, stride if rows > 1 else columns)


def arithmetic_of(dtype: np.dtype[Any], precision: str) -> Arithmetic:
    """Of products of arrays of ``dtype``; double precision has no choice."""
    return DOUBLE if dtype.itemsize == 8 else PRECISIONS[precision]
