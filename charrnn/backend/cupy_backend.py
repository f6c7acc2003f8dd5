"""CuPy on a CUDA device. The only module that imports CuPy, and only when asked to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from charrnn.backend.base import Array, ArrayBackend
from charrnn.backend.cuda import Kernels
from charrnn.errors import DeviceUnavailableError

_INSTALL = "install it with: pip install 'charrnn[cuda12]', or 'charrnn[cuda13]' for CUDA 13"


def _import_cupy() -> Any:
    try:
        import cupy
    except Exception as error:  # a broken installation can raise anything
        missing = isinstance(error, ModuleNotFoundError) and error.name == "cupy"
        what = "CuPy is not installed" if missing else "CuPy does not load"
        reason = "a GPU needs it" if missing else _reason(error)
        raise DeviceUnavailableError(what, reason, _INSTALL) from error
    return cupy


def _reason(error: Exception) -> str:
    """The line that says most of an error; CuPy's own begin with a frame of "=" signs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip("= \t")]
    if "Original error:" in lines[:-1]:
        return lines[lines.index("Original error:") + 1]
    return lines[0] if lines else type(error).__name__


def _check_device(runtime: Any, index: int) -> None:
    """Raise ``DeviceUnavailableError`` unless there are a driver and a device of that number."""
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        reason = _reason(error)
        if "NoDevice" not in reason:
            driver = "InsufficientDriver" in reason  # CUDA's word for none at all, too
            what = "NVIDIA's driver is missing or too old" if driver else "CUDA does not work"
            remedy = "install the driver" if driver else "check the driver"
            raise DeviceUnavailableError(what, reason, f"{remedy}, or --device cpu") from error
        count = 0
    if not count:
        raise DeviceUnavailableError("no CUDA device is found", remedy="use --device cpu")
    if index >= count:
        known = "gpu:0 is the only one" if count == 1 else f"there are gpu:0 to gpu:{count - 1}"
        raise DeviceUnavailableError("no such CUDA device", f"gpu:{index}", known)


class CupyBackend(ArrayBackend):
    """See ``Backend``; raises ``DeviceUnavailableError`` where CuPy or a device is missing."""

    deferred = True
    kernels = "cuda"

    def __init__(self, index: int = 0, dtype: Any = np.float32) -> None:
        self.xp = _import_cupy()
        self.dtype = np.dtype(dtype)
        self.name = f"gpu:{index}"
        _check_device(self.xp.cuda.runtime, index)
        self.xp.cuda.Device(index).use()  # of this thread
        try:  # the first kernel is what shows whether the CUDA libraries are all there
            self.xp.asnumpy(self.xp.tanh(self.xp.ones((2, 2), self.dtype) @ self.zeros((2, 2))))
        except Exception as error:
            raise DeviceUnavailableError(
                "the CUDA device does not work",
                _reason(error),
                f"if CUDA's libraries are missing, {_INSTALL}",
            ) from error
        # A raw kernel is compiled when it is first launched; CuPy keeps it on disk.
        self._kernels = Kernels(self.dtype, lambda text, name: self.xp.RawKernel(text, name))

    def to_device(self, host: np.ndarray[Any, Any], out: Array | None = None) -> Array:
        if out is None:
            return self.xp.asarray(host)
        # By way of memory that the device reads by itself: ``set`` may wait until it has.
        out[...] = self.xp.asarray(np.asarray(host, dtype=out.dtype, order="C"))
        return out

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        host: np.ndarray[Any, Any] = self.xp.asnumpy(array)
        return host

    def gather(self, table: Array, ids: Array, out: Array) -> Array:
        return self.xp.take(table, ids, axis=0, out=out)

    def scatter_add(self, table: Array, ids: Array, rows: Array) -> None:
        self._kernels.scatter_add(table, ids, rows)

    def kernel(self, name: str, reference: Callable[..., Any]) -> Callable[..., Any]:
        return self._kernels.find(name, reference)

    def free_memory(self) -> int:
        return int(self.xp.cuda.runtime.memGetInfo()[0])
