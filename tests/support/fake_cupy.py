"""A stand-in for CuPy, over the strict stand-in for a device: what ``CupyBackend`` needs of it.

Raw kernels are compiled as C++ (``cuda_host.py``), and run when they are launched.
"""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from charrnn.backend.cupy_backend import CupyBackend
from tests.support.cuda_host import HostKernel
from tests.support.strict_device import LAUNCHES, DeviceArray, HostAccessError, Module, poisoned

#: What CUDA says, in CuPy's words: as seen on machines without a driver, and without a device.
NO_DRIVER = (
    "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"
)
NO_DEVICE = "cudaErrorNoDevice: no CUDA-capable device is detected"


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""


class FakeCupy(Module):
    """To be put in the place of the module; ``copies`` counts those to the host.

    ``devices``: how many there are, or what CUDA says where none can be used.
    """

    def __init__(self, devices: int | str = 1) -> None:
        self.copies, self.devices = 0, devices
        self.__spec__ = importlib.util.spec_from_loader("cupy", loader=None)
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(
                getDeviceCount=self._count,
                memGetInfo=lambda: (2**40, 2**40),
                CUDARuntimeError=CUDARuntimeError,
            ),
            Device=lambda index: SimpleNamespace(use=lambda: None),
        )

    def _count(self) -> int:
        if isinstance(self.devices, str):
            raise CUDARuntimeError(self.devices)
        return self.devices

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

    def RawKernel(self, text: str, name: str) -> Any:  # noqa: N802
        kernel = HostKernel(text, name)

        def launch(grid: tuple[int, ...], block: tuple[int], arguments: tuple[Any, ...]) -> None:
            LAUNCHES[name] += 1
            if any(isinstance(a, np.ndarray) for a in arguments):
                raise HostAccessError(f"a NumPy array for the kernel {name}")
            kernel(grid, block, [getattr(a, "array", a) for a in arguments])

        return launch


def fake_backend(dtype: Any = np.float32) -> CupyBackend:
    """The backend of a GPU on such a module."""
    with mock.patch.dict(sys.modules, {"cupy": FakeCupy()}):
        return CupyBackend(dtype=dtype)
