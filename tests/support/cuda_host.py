"""The CUDA kernels compiled as C++ and run on the host, as far as that can be had.

What is checked so is what they compute, their arguments, and that every barrier is reached by all.
Not that they are fast, nor what only a real device does.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.backend.cuda import drawing, losses, sources, sums
from charrnn.backend.cuda.sources import Source
from charrnn.backend.trace import CellTrace, UpdateTrace
from charrnn.cells import CELLS
from tests.support.kernels import METHODS, ODD

COMPILER = shutil.which("c++") if sys.platform == "linux" else None
NO_COMPILER = "needs Linux and a C++ compiler"
needs_compiler = pytest.mark.skipif(COMPILER is None, reason=NO_COMPILER)

#: x, y, threads, whether they wait for each other, arguments as ``cuLaunchKernel`` takes them;
#: gives whether they all came to the same barriers.
Function = Callable[[int, int, int, bool, Any], bool]


@functools.cache
def all_sources(dtype: Any) -> list[Source]:
    """Every kernel there is, and those of a cell of the tests."""
    dtype = np.dtype(dtype)
    made = [
        kernel(dtype)
        for kernel in (
            losses.cross_entropy,
            sums.sum_of_squares,
            drawing.draw,
            sources.scatter_add,
            sources.dropout,
        )
    ]
    if dtype == np.float32:
        made.append(sources.round_to_bf16())
    for cell in (*CELLS.values(), ODD):
        trace = CellTrace(cell)
        for rounds in (False, True) if dtype == np.float32 else (False,):
            for step in (sources.forward, sources.backward):
                made.append(step(dtype, cell.name, trace, rounds=rounds))
    for method in METHODS.values():
        trace = UpdateTrace(method, len(method.slots))
        made.append(sources.update(dtype, method.update.__name__, trace))
    return made


def _compiled(made: Iterable[Source]) -> dict[str, tuple[Function, str]]:
    """By their text: the functions, and the signatures."""
    assert COMPILER
    parts = ['#include "cuda_shim.hpp"']
    for n, source in enumerate(made):
        text = source.text.replace('extern "C" ', "")  # or a name would be one function's alone
        parts.append(f"namespace k{n} {{\n{text}}}\nEXPORT(k{n}, {source.name})")
    with tempfile.TemporaryDirectory() as folder:
        file, library = Path(folder, "kernels.cpp"), Path(folder, "kernels.so")
        file.write_text("\n".join(parts))
        include = f"-I{Path(__file__).parent}"
        # Fortified, a jump from the stack of one thread to that of another would be an error.
        options = ["-std=c++17", "-O1", "-U_FORTIFY_SOURCE", "-shared", "-fPIC"]
        subprocess.run([COMPILER, *options, include, "-o", library, file], check=True)
        loaded = ctypes.CDLL(str(library))  # may be deleted now
    found = {}
    for n, source in enumerate(made):
        launch, signature = getattr(loaded, f"launch_k{n}"), getattr(loaded, f"signature_k{n}")
        launch.argtypes = [*[ctypes.c_uint] * 3, ctypes.c_bool, ctypes.c_void_p]
        launch.restype, signature.restype = ctypes.c_bool, ctypes.c_char_p
        found[source.text] = (launch, signature().decode())
    return found


@functools.cache
def _library() -> dict[str, tuple[Function, str]]:
    return _compiled([*all_sources(np.float32), *all_sources(np.float64)])


class HostKernel:
    """A kernel that takes what CuPy's ``RawKernel`` does, but arrays of the host's.

    Arguments of another type than the kernel's own, which a device would take for something else,
    fail an assertion.
    """

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name

    def compile(self) -> None:
        """It is, with all others."""

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int], arguments: tuple[Any, ...]
    ) -> None:
        function, signature = _library()[self.text]
        given, values = "", []
        for a in arguments:
            if isinstance(a, np.ndarray):
                given += f"*{a.dtype.kind}{a.dtype.itemsize},"
                values.append(ctypes.c_void_p(a.ctypes.data))
            else:
                assert type(a) in (int, float), f"CuPy would make something else of {a!r}"
                given += "i8," if isinstance(a, int) else "f8,"
                values.append(ctypes.c_int64(a) if isinstance(a, int) else ctypes.c_double(a))
        assert given == signature, self.name
        x, y = (*grid, 1)[:2]
        places = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        assert function(x, y, *block, "__syncthreads" in self.text, places), "a barrier of some"
