"""A stand-in for a GPU: NumPy arrays that behave as strictly as a device's.

Copying to the host other than by ``Backend.to_host``, mixing with NumPy arrays, calling NumPy
functions on them or asking for a truth value raises, as CuPy does or, where CuPy would silently
wait for the device, more strictly. Only functions that CuPy has too are to be had from ``xp``.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from charrnn.backend.numpy_backend import ArrayBackend

#: What would have been started on a device, by name: each operation on arrays is one launch.
LAUNCHES: Counter[str] = Counter()

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
    return DeviceArray(np.asarray(value))  # reductions stay on the device, as 0-d arrays


def _refuse(how: str) -> Any:
    def method(self: DeviceArray, *args: Any, **kwargs: Any) -> Any:
        raise HostAccessError(f"implicit copy to the host: {how}")

    return method


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on the pretended device."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__":
            raise HostAccessError(f"ufunc.{method} is not for device arrays")
        out = kwargs.pop("out", None)
        LAUNCHES[ufunc.__name__] += 1
        if out is None:
            return _wrap(ufunc(*map(_unwrap, inputs), **kwargs))
        ufunc(*map(_unwrap, inputs), out=_unwrap(out), **kwargs)
        return out[0]

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
        LAUNCHES["assignment"] += 1
        self.array[_unwrap(key)] = _unwrap(value)

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
        LAUNCHES["fill"] += 1
        self.array.fill(value)

    def set(self, host: np.ndarray[Any, Any]) -> None:
        """From the host; CuPy copies no other type or shape, and not to every other element."""
        assert (host.dtype, host.shape) == (self.dtype, self.shape)
        assert self.array.flags.c_contiguous
        self.array[...] = host

    def copy(self) -> DeviceArray:
        LAUNCHES["copy"] += 1
        return _wrap(self.array.copy())


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
            LAUNCHES[name] += 1
            if out is not None:
                function(*map(_unwrap, args), out=_unwrap(out), **kwargs)
                return out
            return _wrap(function(*map(_unwrap, args), **kwargs))

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
