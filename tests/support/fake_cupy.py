"""A stand-in for CuPy, over the strict stand-in for a device: what ``CupyBackend`` needs of it.

Raw kernels are compiled as C++ (``cuda_host.py``), and run when they are launched.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from charrnn.backend.cupy_backend import CupyBackend
from tests.support import cublas_host
from tests.support.cuda_host import HostKernel
from tests.support.strict_device import (
    STREAMS,
    DeviceArray,
    HostAccessError,
    Module,
    Stream,
    current_stream,
    launch,
    poisoned,
)

#: What CUDA says, in CuPy's words: as seen on machines without a driver, and without a device.
NO_DRIVER = (
    "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"
)
NO_DEVICE = "cudaErrorNoDevice: no CUDA-capable device is detected"


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""


class CapturingStream(Stream):
    """CuPy's ``Stream``: in use within ``with``."""

    def __init__(self, non_blocking: bool) -> None:
        super().__init__(ptr=id(self))
        assert non_blocking, "else no work could be queued elsewhere while it captures"

    def __enter__(self) -> CapturingStream:
        STREAMS.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        assert STREAMS.pop() is self

    def begin_capture(self) -> None:
        self.recorded = []

    def end_capture(self) -> Any:
        work, self.recorded = self.recorded, None
        return Graph(work)


class Graph:
    """CuPy's: what was captured, to be run in its order."""

    def __init__(self, work: Any) -> None:
        self.work = work

    def launch(self) -> None:
        launch("graph", lambda: [work() for work in self.work] and None)


class MemoryPool:
    """CuPy's, of which the stand-in knows no more than whether it is asked for memory."""

    def malloc(self, size: int) -> None:
        raise NotImplementedError


class RawKernel:
    """CuPy's: takes arrays and Python numbers."""

    def __init__(self, text: str, name: str) -> None:
        self.name, self.kernel = name, HostKernel(text, name)
        self.compile = self.kernel.compile

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int], arguments: tuple[Any, ...]
    ) -> None:
        if any(isinstance(a, np.ndarray) for a in arguments):
            raise HostAccessError(f"a NumPy array for the kernel {self.name}")
        given = [getattr(a, "array", a) for a in arguments]
        launch(self.name, lambda: self.kernel(grid, block, given))


class FakeCupy(Module):
    """To be put in the place of the module; ``copies`` counts those to the host.

    ``devices``: how many there are, of what compute capability, or what CUDA says where none can
    be used.
    """

    def __init__(self, devices: int | str = 1, capability: str = "90") -> None:
        self.copies, self.devices = 0, devices
        self.pools: list[Any] = []
        self.__spec__ = importlib.util.spec_from_loader("cupy", loader=None)
        self.RawKernel = RawKernel
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(
                getDeviceCount=self._count,
                memGetInfo=lambda: (2**40, 2**40),
                runtimeGetVersion=lambda: 1000 * cublas_host.MAJOR + 20,
                CUDARuntimeError=CUDARuntimeError,
            ),
            device=SimpleNamespace(get_cublas_handle=self._handle),
            Device=lambda index: SimpleNamespace(use=lambda: None, compute_capability=capability),
            Stream=CapturingStream,
            get_current_stream=current_stream,
            MemoryPool=MemoryPool,
            using_allocator=self._using,
        )

    def _count(self) -> int:
        if isinstance(self.devices, str):
            raise CUDARuntimeError(self.devices)
        return self.devices

    def _handle(self) -> int:
        cublas_host.load()
        return cublas_host.HANDLE

    @contextlib.contextmanager
    def _using(self, malloc: Any) -> Iterator[None]:
        self.pools.append(malloc)
        try:
            yield
        finally:
            self.pools.pop()

    def _check(self, what: str) -> None:
        """CuPy copies nothing to or from the host while it captures."""
        if current_stream().recorded is not None:
            raise RuntimeError(f"the current stream is capturing: {what}")

    def empty(self, shape: Any, dtype: Any) -> DeviceArray:
        if current_stream().recorded is not None:
            assert self.pools, "memory of a graph that others may get too"
        return poisoned(shape, dtype)

    def zeros(self, shape: Any, dtype: Any) -> DeviceArray:
        return self._filled(shape, dtype, 0)

    def ones(self, shape: Any, dtype: Any) -> DeviceArray:
        return self._filled(shape, dtype, 1)

    def _filled(self, shape: Any, dtype: Any, value: int) -> DeviceArray:
        made = self.empty(shape, dtype)
        launch("fill", lambda: made.array.fill(value))
        return made

    def asarray(self, host: np.ndarray) -> DeviceArray:
        assert isinstance(host, np.ndarray)
        self._check("to the device")
        return DeviceArray(host.copy())

    def asnumpy(self, array: Any) -> np.ndarray:
        assert isinstance(array, DeviceArray)
        self._check("to the host")
        self.copies += 1
        return array.array.copy()

    def take(self, table: Any, ids: Any, axis: int, out: Any) -> Any:
        launch("take", lambda: np.take(table.array, ids.array, axis, out=out.array, mode="clip"))
        return out


def fake_backend(dtype: Any = np.float32, **options: Any) -> CupyBackend:
    """The backend of a GPU on such a module."""
    with mock.patch.dict(sys.modules, {"cupy": FakeCupy()}):
        return CupyBackend(dtype=dtype, **options)
