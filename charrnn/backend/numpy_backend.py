"""NumPy on the CPU: the reference backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from charrnn.backend.base import Array, ArrayBackend


class NumpyBackend(ArrayBackend):
    """See ``Backend``. ``dtype`` float64 is for gradient checks."""

    name = "cpu"
    kernels = "numpy"
    weight_copies = 2.0  # of compiled kernels, one for each direction
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
