"""NumPy on the CPU: the reference backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.backend.base import Array, Item, Result, Weight


class PlainWeight:
    """A weight as it is; see ``Weight``."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def refresh(self) -> None:
        """There is nothing to take over."""


class ArrayBackend:
    """What NumPy and CuPy spell alike; see ``Backend``."""

    xp: Any
    dtype: np.dtype[Any]
    threads = 1

    def empty(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        return self.xp.empty(shape, dtype or self.dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        return self.xp.zeros(shape, dtype or self.dtype)

    def weight(self, array: Array, *, backward: bool) -> Weight:
        return PlainWeight(array)

    def linear(self, x: Array, weight: Weight, out: Array, bias: Array | None = None) -> None:
        self.xp.matmul(x, weight.array.T, out=out)
        if bias is not None:
            out += bias

    def linear_backward(self, dy: Array, weight: Weight, out: Array) -> None:
        self.xp.matmul(dy, weight.array, out=out)

    def linear_gradient(
        self, dy: Array, x: Array, dweight: Array, dbias: Array, *, add: bool = False
    ) -> None:
        if add:
            dweight += dy.T @ x
            dbias += self.xp.sum(dy, axis=0)
        else:
            self.xp.matmul(dy.T, x, out=dweight)
            self.xp.sum(dy, axis=0, out=dbias)

    def kernel(self, name: str, reference: Callable[..., Any]) -> Callable[..., Any]:
        return reference

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        return [function(item) for item in items]


class NumpyBackend(ArrayBackend):
    """See ``Backend``. ``dtype`` float64 is for gradient checks."""

    name = "cpu"
    xp: Any = np

    def __init__(self, dtype: Any = np.float32) -> None:
        self.dtype = np.dtype(dtype)

    def to_device(self, host: np.ndarray[Any, Any], out: Array | None = None) -> Array:
        if out is None:
            return np.array(host)
        out[...] = host
        return out

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        return np.array(array)

    def gather(self, table: Array, ids: Array, out: Array) -> Array:
        # Any mode but "raise" lets NumPy write into `out` directly; ids are valid by construction.
        return np.take(table, ids, axis=0, out=out, mode="clip")

    def scatter_add(self, table: Array, ids: Array, rows: Array) -> None:
        # Equal ids brought together and summed as segments: no one-hot product, no slow add.at.
        order = np.argsort(ids, kind="stable")
        unique, starts = np.unique(ids[order], return_index=True)
        table[unique] += np.add.reduceat(rows[order], starts, axis=0)

    def free_memory(self) -> int:
        import psutil  # only training asks; keep it out of start-up

        return int(min(psutil.virtual_memory().available, _free_in_group()))


def _free_in_group(folder: Path = Path("/sys/fs/cgroup")) -> float:
    """What a container leaves us of its limit (Linux, cgroup 2), or inf."""
    try:
        limit = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        stat = (folder / "memory.stat").read_text().split()
        # Cached files count as used, but are dropped when memory is wanted.
        cached = sum(int(stat[stat.index(n) + 1]) for n in ("active_file", "inactive_file"))
    except (OSError, ValueError):  # no such group, or "max"
        return float("inf")
    return max(0, limit - used + cached)
