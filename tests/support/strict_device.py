"""A stand-in for a GPU: NumPy arrays that behave as strictly as a device's.

Copying to the host other than by ``Backend.to_host``, mixing with NumPy arrays, calling NumPy
functions on them or asking for a truth value raises, as CuPy does or, where CuPy would silently
wait for the device, more strictly. Only functions that CuPy has too are to be had from ``xp``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from charrnn.backend.numpy_backend import ArrayBackend

#: What would have been started on a device, by name: each operation on arrays is one launch.
LAUNCHES: Counter[str] = Counter()


class Stream:
    """What is queued here is run at once, or while it is ``recorded`` taken down instead."""

    def __init__(self, ptr: int) -> None:
        self.ptr = ptr
        self.recorded: list[Callable[[], None]] | None = None


#: Those that are in use, one within the other, on top of the default stream.
STREAMS = [Stream(0)]


def current_stream() -> Stream:
    return STREAMS[-1]


def launch(name: str, work: Callable[[], None]) -> None:
    """Work of the device, in its order."""
    if (recorded := current_stream().recorded) is not None:
        recorded.append(work)
        return
    LAUNCHES[name] += 1
    work()


def _made(name: str, work: Callable[[], Any]) -> DeviceArray:
    """What some work comes to, as a new array; reductions stay on the device, as 0-d arrays."""
    if current_stream().recorded is None:
        LAUNCHES[name] += 1
        return _wrap(work())
    model = np.asarray(work())
    made = poisoned(model.shape, model.dtype)
    launch(name, lambda: made.array.__setitem__(..., work()))
    return made


#: What the core uses; each is in CuPy under this name, with the same ``axis`` and ``out``.
_FUNCTIONS = {
    *("add", "arange", "concatenate", "divide", "exp", "greater_equal", "log", "matmul", "max"),
    *("maximum", "mean", "minimum", "multiply", "sign", "sqrt", "stack", "subtract", "sum", "tanh"),
    "vdot",
}


class HostAccessError(TypeError):
    """Something that would wait for the device, or fail on one."""


def _unwrap(value: Any) -> Any:
    if isinstance(value, DeviceArray):
        return value.array
    if isinstance(value, np.ndarray):
        raise HostAccessError("a NumPy array among device arrays")
    if isinstance(value, tuple | list):
        return type(value)(_unwrap(v) for v in value)
    return value


def _wrap(value: Any) -> Any:
    return DeviceArray(np.asarray(value))


def _refuse(how: str) -> Any:
    def method(self: DeviceArray, *args: Any, **kwargs: Any) -> Any:
        raise HostAccessError(f"implicit copy to the host: {how}")

    return method


def _called(name: str, function: Any, args: Any, kwargs: Any, out: Any) -> Any:
    """A function of NumPy's on device arrays, into ``out`` if there is one."""
    args = tuple(map(_unwrap, args))
    if out is None:
        return _made(name, lambda: function(*args, **kwargs))
    launch(name, lambda: function(*args, out=out.array, **kwargs))
    return out


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on the pretended device."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__":
            raise HostAccessError(f"ufunc.{method} is not for device arrays")
        out = kwargs.pop("out", None)
        return _called(ufunc.__name__, ufunc, inputs, kwargs, out[0] if out else None)

    def __array_function__(self, function: Any, *args: Any) -> Any:
        raise HostAccessError(f"numpy.{function.__name__} called on a device array")

    __array__ = _refuse("__array__")
    __bool__ = _refuse("__bool__")
    __float__ = _refuse("__float__")
    __int__ = _refuse("__int__")
    __index__ = _refuse("__index__")
    item = _refuse("item")
    tolist = _refuse("tolist")

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, key: Any) -> DeviceArray:
        return _wrap(self.array[_unwrap(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        key, value = _unwrap(key), _unwrap(value)
        launch("assignment", lambda: self.array.__setitem__(key, value))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def size(self) -> int:
        return self.array.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    @property
    def nbytes(self) -> int:
        return self.array.nbytes

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.array.ctypes.data)

    @property
    def itemsize(self) -> int:
        return self.array.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        return self.array.strides

    @property
    def flags(self) -> Any:
        return self.array.flags

    @property
    def T(self) -> DeviceArray:  # noqa: N802
        return _wrap(self.array.T)

    def reshape(self, *shape: Any) -> DeviceArray:
        return _wrap(self.array.reshape(*shape))

    def fill(self, value: float) -> None:
        launch("fill", lambda: self.array.fill(value))

    def set(self, host: np.ndarray[Any, Any]) -> None:
        """From the host; CuPy copies no other type or shape, and not to every other element."""
        assert (host.dtype, host.shape) == (self.dtype, self.shape)
        assert self.array.flags.c_contiguous
        self.array[...] = host

    def copy(self) -> DeviceArray:
        return _made("copy", self.array.copy)


def poisoned(shape: tuple[int, ...], dtype: Any) -> DeviceArray:
    """An array that nobody has written to: whoever reads it will notice."""
    filler = np.empty(shape, dtype)
    filler.fill(np.nan if filler.dtype.kind == "f" else 113)
    return DeviceArray(filler)


class Module:
    """What the core sees as ``xp``."""

    def __getattr__(self, name: str) -> Any:
        if name not in _FUNCTIONS:
            raise HostAccessError(f"xp.{name} is not known to be the same in CuPy")
        function = getattr(np, name)

        def call(*args: Any, out: Any = None, **kwargs: Any) -> Any:
            return _called(name, function, args, kwargs, out)

        return call


class StrictBackend(ArrayBackend):
    """A ``Backend`` over ``DeviceArray``; ``copies`` counts those to the host."""

    name = "strict"
    deferred = True
    xp: Any = Module()

    def __init__(self, dtype: Any = np.float32) -> None:
        self.dtype = np.dtype(dtype)
        self.copies = 0

    def empty(self, shape: tuple[int, ...], dtype: Any = None) -> DeviceArray:
        return poisoned(shape, dtype or self.dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any = None) -> DeviceArray:
        return DeviceArray(np.zeros(shape, dtype or self.dtype))

    def to_device(self, host: np.ndarray[Any, Any], out: Any = None) -> DeviceArray:
        assert isinstance(host, np.ndarray)
        if out is None:
            return DeviceArray(host.copy())
        out.set(host.astype(out.dtype))
        return out

    def to_host(self, array: Any) -> np.ndarray[Any, Any]:
        assert isinstance(array, DeviceArray)
        self.copies += 1
        return array.array.copy()

    def gather(self, table: Any, ids: Any, out: Any) -> Any:
        out.array[...] = _unwrap(table)[_unwrap(ids)]
        return out

    def scatter_add(self, table: Any, ids: Any, rows: Any) -> None:
        np.add.at(_unwrap(table), _unwrap(ids), _unwrap(rows))

    def free_memory(self) -> int:
        return 2**40
