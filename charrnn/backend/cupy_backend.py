"""CuPy on a CUDA device. The only module that imports CuPy, and only when asked to."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from charrnn.backend.base import Array, ArrayBackend, Result, Weight
from charrnn.backend.cuda import CapturedStep, Cublas, Kernels
from charrnn.backend.cuda.cublas import WORKSPACE, arithmetic_of
from charrnn.errors import DeviceUnavailableError

#: Compute capability of the first devices that multiply in tf32 and bf16.
_AMPERE = 80

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


class _Weight:
    """See ``Weight``; ``operand`` is what products read."""

    def __init__(self, backend: CupyBackend, array: Array) -> None:
        self.backend, self.array = backend, array
        self.operand = backend.operand(array)

    def refresh(self) -> None:
        self.backend.operand(self.array, out=self.operand)


class CupyBackend(ArrayBackend):
    """See ``Backend``; raises ``DeviceUnavailableError`` where CuPy or a device is missing.

    Products are made in ``precision``, one of ``cublas.PRECISIONS``, all else in that of ``dtype``.
    ``announce`` is told of what could be faster.
    """

    deferred = True

    def __init__(
        self,
        index: int = 0,
        dtype: Any = np.float32,
        precision: str = "fp32",
        announce: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.xp = _import_cupy()
        self.dtype = np.dtype(dtype)
        self.name = f"gpu:{index}"
        self.kernels = f"cuda, {precision}"
        self.announce = announce
        _check_device(self.xp.cuda.runtime, index)
        device = self.xp.cuda.Device(index)
        device.use()  # of this thread
        if precision != "fp32" and int(device.compute_capability) < _AMPERE:
            had = f"{self.name}, compute capability {device.compute_capability}"
            raise DeviceUnavailableError(f"the device has no {precision}", had, "use fp32")
        self._arithmetic = arithmetic_of(self.dtype, precision)
        self._exact = arithmetic_of(self.dtype, "fp32")
        self._rounds = precision == "bf16" and self._arithmetic is not self._exact
        # A raw kernel is compiled when it is first launched; CuPy keeps it on disk.
        self._kernels = Kernels(
            self.dtype, lambda text, name: self.xp.RawKernel(text, name), rounds=self._rounds
        )
        self.weight_copies = self.factor_copies = 0.5 if self._rounds else 0.0
        try:  # the first kernels are what shows whether the CUDA libraries are all there
            self._cublas = self._load_cublas()
            one, two = self.xp.ones((2, 2), self.dtype), self.empty((2, 2))
            self._cublas.multiply(one, one, two, self._exact)
            self.xp.asnumpy(self.xp.tanh(two))
        except Exception as error:
            raise DeviceUnavailableError(
                "the CUDA device does not work",
                _reason(error),
                f"if CUDA's libraries are missing, {_INSTALL}",
            ) from error

    def _load_cublas(self) -> Cublas:
        cuda = self.xp.cuda
        handle = cuda.device.get_cublas_handle()  # CuPy finds the library, wherever it is
        library = ctypes.CDLL(f"libcublas.so.{cuda.runtime.runtimeGetVersion() // 1000}")
        cublas = Cublas(library, handle, self.empty((WORKSPACE,), np.uint8))
        cublas.use(cuda.get_current_stream().ptr)
        return cublas

    def to_device(self, host: np.ndarray[Any, Any], out: Array | None = None) -> Array:
        if out is None:
            return self.xp.asarray(host)
        # By way of memory that the device reads by itself: ``set`` may wait until it has.
        out[...] = self.xp.asarray(np.asarray(host, dtype=out.dtype, order="C"))
        return out

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        host: np.ndarray[Any, Any] = self.xp.asnumpy(array)
        return host

    def operand(self, array: Array, out: Array | None = None) -> Array:
        """``array`` as products read it, in ``out`` if it is not the array itself."""
        if not self._rounds or array.dtype == np.uint16:  # the bits of bfloat16
            return array
        if out is None:
            out = self.empty(array.shape, np.uint16)
        self._kernels.round_to_bf16(array, out)
        return out

    def weight(self, array: Array, *, backward: bool) -> Weight:
        return _Weight(self, array)

    def linear(self, x: Array, weight: Weight, out: Array, bias: Array | None = None) -> None:
        assert isinstance(weight, _Weight)
        x = self.operand(x)
        self._cublas.multiply(x, weight.operand, out, self._arithmetic, transposed=(False, True))
        if bias is not None:
            out += bias

    def linear_backward(self, dy: Array, weight: Weight, out: Array) -> None:
        assert isinstance(weight, _Weight)
        self._cublas.multiply(self.operand(dy), weight.operand, out, self._arithmetic)

    def linear_gradient(
        self, dy: Array, x: Array, dweight: Array, dbias: Array, *, add: bool = False
    ) -> None:
        self._cublas.multiply(
            *(self.operand(dy), self.operand(x), dweight, self._arithmetic),
            transposed=(True, False),
            add=add,
        )
        ones = self.xp.ones((1, len(dy)), self.dtype)  # a product sums columns up quickly
        self._cublas.multiply(ones, dy, dbias[None], self._exact, add=add)

    def gather(self, table: Array, ids: Array, out: Array) -> Array:
        return self.xp.take(table, ids, axis=0, out=out)

    def scatter_add(self, table: Array, ids: Array, rows: Array) -> None:
        self._kernels.scatter_add(table, ids, rows)

    def kernel(self, name: str, reference: Callable[..., Any]) -> Callable[..., Any]:
        return self._kernels.find(name, reference)

    def prepare(self, cell: Any) -> None:
        self._kernels.prepare(cell)

    def capture(self, step: Callable[[], Result]) -> Callable[[], Result]:
        return CapturedStep(self.xp, self._cublas, self.announce, step)

    def free_memory(self) -> int:
        return int(self.xp.cuda.runtime.memGetInfo()[0])
