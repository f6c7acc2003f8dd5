"""cuBLAS on the host: a library of its name (``cublas.c``) whose products NumPy makes.

Columns lie one after the other, as there; numbers are rounded as its kinds of products allow.
"""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from collections.abc import Callable
from ctypes import CFUNCTYPE, c_int, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

from tests.support import strict_device
from tests.support.cuda_host import COMPILER

#: Of the version that the stand-in for CuPy says it is for.
MAJOR, HANDLE = 99, 7

_OK, _INVALID, _UNSUPPORTED = 0, 7, 15
_FLOAT, _DOUBLE, _BF16 = 0, 1, 14
_NUMBERS: dict[int, Any] = {_FLOAT: np.float32, _DOUBLE: np.float64, _BF16: np.uint16}

#: Kinds of the factors and of the result, and of the arithmetic: what those are rounded to.
ROUNDED: dict[tuple[int, int, int], Callable[[np.ndarray], np.ndarray]] = {
    (_FLOAT, _FLOAT, 68): lambda x: x,
    (_FLOAT, _FLOAT, 77): lambda x: to_tf32(x),
    (_BF16, _FLOAT, 68): lambda x: (x.astype(np.uint32) << 16).view(np.float32),
    (_DOUBLE, _DOUBLE, 70): lambda x: x,
}


def to_tf32(x: np.ndarray) -> np.ndarray:
    """Finite float32 to the nearest with 10 bits of mantissa, half way to the even."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    return ((bits + 0xFFF + (bits >> 13 & 1)) & ~np.uint32(0x1FFF)).view(np.float32)


class Handle:
    """What the one there is was told."""

    stream = 0
    workspace = 0


def _set_stream(handle: int, stream: int | None) -> int:
    Handle.stream, Handle.workspace = stream or 0, 0
    return _OK if handle == HANDLE else _INVALID


def _set_workspace(handle: int, workspace: int, size: int) -> int:
    Handle.workspace = workspace
    return _OK if handle == HANDLE and size else _INVALID


def _matrix(address: int, kind: int, rows: int, columns: int, leading: int) -> np.ndarray:
    number = np.dtype(_NUMBERS[kind])
    size = (leading * (columns - 1) + rows) * number.itemsize if rows and columns else 0
    flat = np.frombuffer((ctypes.c_char * size).from_address(address), number)
    strides = (number.itemsize, leading * number.itemsize)
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), strides)


def _gemm(
    handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, A: int, Atype: int,
    lda: int, B: int, Btype: int, ldb: int, beta: int, C: int, Ctype: int, ldc: int, compute: int,
    algorithm: int,
) -> int:  # fmt: skip
    """C = alpha op(A) op(B) + beta C."""
    a_shape, b_shape = (k, m) if transa else (m, k), (n, k) if transb else (k, n)
    if handle != HANDLE or lda < a_shape[0] or ldb < b_shape[0] or ldc < m:
        return _INVALID
    rounded = ROUNDED.get((Atype, Ctype, compute))
    if rounded is None or Btype != Atype or algorithm != -1:
        return _UNSUPPORTED
    stream = strict_device.current_stream()
    if Handle.stream != stream.ptr or (stream.recorded is not None and not Handle.workspace):
        return _UNSUPPORTED
    a, b = _matrix(A, Atype, *a_shape, lda), _matrix(B, Btype, *b_shape, ldb)
    c = _matrix(C, Ctype, m, n, ldc)
    scalar = ctypes.c_double if Ctype == _DOUBLE else ctypes.c_float
    factor, kept = scalar.from_address(alpha).value, scalar.from_address(beta).value

    def work() -> None:
        # Turned round, so that rows lie one after the other, as NumPy has it quickest.
        x, y = (rounded(matrix.T) for matrix in (a, b))
        found = (y.T if transb else y) @ (x.T if transa else x)
        c.T[...] = factor * found + (kept * c.T if kept else 0)

    strict_device.launch("gemm", work)
    return _OK


@functools.cache
def load() -> Any:
    """So that whoever loads ``libcublas.so.MAJOR`` has this: it is known by the name inside it."""
    assert COMPILER
    with tempfile.TemporaryDirectory() as folder:
        library, source = Path(folder, "stand-in.so"), Path(__file__).with_name("cublas.c")
        name = f"-Wl,-soname,libcublas.so.{MAJOR}"
        command = [COMPILER, "-x", "c", "-shared", "-fPIC", name, "-o", library, source]
        subprocess.run(command, check=True)
        loaded = ctypes.CDLL(str(library))
    callbacks = (
        CFUNCTYPE(c_int, c_void_p, c_void_p)(_set_stream),
        CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)(_set_workspace),
        CFUNCTYPE(
            *(c_int, c_void_p, c_int, c_int, c_int, c_int, c_int, c_void_p, c_void_p, c_int),
            *(c_int, c_void_p, c_int, c_int, c_void_p, c_void_p, c_int, c_int, c_int, c_int),
        )(_gemm),
    )
    loaded.stand_in(*callbacks)
    return loaded, callbacks
