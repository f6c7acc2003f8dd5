"""CuPy on a CUDA device. The only module that imports CuPy, and only when asked to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from charrnn.backend.base import Array, ArrayBackend
from charrnn.backend.cuda import Kernels
from charrnn.errors import DeviceUnavailableError


def _import_cupy() -> Any:
    try:
        import cupy
    except Exception as error:  # a broken installation can raise anything
        raise DeviceUnavailableError(
            "CuPy is missing or does not load",
            _reason(error),
            "install it with: pip install 'charrnn[cuda12]' or 'charrnn[cuda13]'",
        ) from error
    return cupy


def _reason(error: Exception) -> str:
    """The line that says most of an error; CuPy's own begin with a frame of "=" signs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip("= \t")]
    if "Original error:" in lines[:-1]:
        return lines[lines.index("Original error:") + 1]
    return lines[0] if lines else type(error).__name__


class CupyBackend(ArrayBackend):
    """See ``Backend``; raises ``DeviceUnavailableError`` where CuPy or a device is missing."""

    deferred = True
    kernels = "cuda"

    def __init__(self, index: int = 0, dtype: Any = np.float32) -> None:
        self.xp = _import_cupy()
        self.dtype = np.dtype(dtype)
        self.name = f"gpu:{index}"
        runtime = self.xp.cuda.runtime
        try:
            count = runtime.getDeviceCount()
        except runtime.CUDARuntimeError as error:
            raise DeviceUnavailableError(
                "no CUDA device can be used", _reason(error), "check the driver, or --device cpu"
            ) from error
        if index >= count:
            raise DeviceUnavailableError(
                "no such CUDA device", self.name, f"{count} found; use --device cpu or another"
            )
        self.xp.cuda.Device(index).use()  # of this thread
        try:  # the first kernel is what shows whether the CUDA libraries are all there
            self.xp.asnumpy(self.xp.tanh(self.xp.ones((2, 2), self.dtype) @ self.zeros((2, 2))))
        except Exception as error:
            raise DeviceUnavailableError(
                "the CUDA device does not work", _reason(error), "check CUDA, or --device cpu"
            ) from error
        # A raw kernel is compiled when it is first launched; CuPy keeps it on disk.
        self._kernels = Kernels(self.dtype, lambda text, name: self.xp.RawKernel(text, name))

    def to_device(self, host: np.ndarray[Any, Any], out: Array | None = None) -> Array:
        if out is None:
            return self.xp.asarray(host)
        out.set(np.asarray(host, dtype=out.dtype, order="C"))
        return out

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        host: np.ndarray[Any, Any] = self.xp.asnumpy(array)
        return host

    def gather(self, table: Array, ids: Array, out: Array) -> Array:
        return self.xp.take(table, ids, axis=0, out=out)

    def scatter_add(self, table: Array, ids: Array, rows: Array) -> None:
        self.xp.add.at(table, ids, rows)

    def kernel(self, name: str, reference: Callable[..., Any]) -> Callable[..., Any]:
        return self._kernels.find(name, reference)

    def free_memory(self) -> int:
        return int(self.xp.cuda.runtime.memGetInfo()[0])
