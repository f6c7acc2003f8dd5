"""A stand-in for CuPy, over the strict stand-in for a device: what ``CupyBackend`` needs of it.

Raw kernels are compiled as C++ (``cuda_host.py``), and run when they are launched.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from charrnn.backend.cupy_backend import CupyBackend
from tests.support.cuda_host import HostKernel
from tests.support.strict_device import LAUNCHES, DeviceArray, HostAccessError, Module, poisoned


class FakeCupy(Module):
    """To be put in the place of the module; ``copies`` counts those to the host."""

    def __init__(self) -> None:
        self.copies = 0
        self.add = super().__getattr__("add")
        self.add.at = self._add_at
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(
                getDeviceCount=lambda: 1,
                memGetInfo=lambda: (2**40, 2**40),
                CUDARuntimeError=RuntimeError,
            ),
            Device=lambda index: SimpleNamespace(use=lambda: None),
        )

    def empty(self, shape: Any, dtype: Any) -> DeviceArray:
        return poisoned(shape, dtype)

    def zeros(self, shape: Any, dtype: Any) -> DeviceArray:
        return DeviceArray(np.zeros(shape, dtype))

    def ones(self, shape: Any, dtype: Any) -> DeviceArray:
        return DeviceArray(np.ones(shape, dtype))

    def asarray(self, host: np.ndarray) -> DeviceArray:
        assert isinstance(host, np.ndarray)
        return DeviceArray(host.copy())

    def asnumpy(self, array: Any) -> np.ndarray:
        assert isinstance(array, DeviceArray)
        self.copies += 1
        return array.array.copy()

    def take(self, table: Any, ids: Any, axis: int, out: Any) -> Any:
        LAUNCHES["take"] += 1
        out.array[...] = table.array[ids.array]
        return out

    def _add_at(self, table: Any, ids: Any, rows: Any) -> None:
        LAUNCHES["add.at"] += 1
        np.add.at(table.array, ids.array, rows.array)

    def RawKernel(self, text: str, name: str) -> Any:  # noqa: N802
        kernel = HostKernel(text, name)

        def launch(grid: tuple[int, ...], block: tuple[int], arguments: tuple[Any, ...]) -> None:
            LAUNCHES[name] += 1
            if any(isinstance(a, np.ndarray) for a in arguments):
                raise HostAccessError(f"a NumPy array for the kernel {name}")
            kernel(grid, block, [getattr(a, "array", a) for a in arguments])

        return launch


def fake_backend(monkeypatch: pytest.MonkeyPatch, dtype: Any = np.float32) -> CupyBackend:
    """The backend of a GPU on such a module."""
    monkeypatch.setitem(sys.modules, "cupy", FakeCupy())
    return CupyBackend(dtype=dtype)
