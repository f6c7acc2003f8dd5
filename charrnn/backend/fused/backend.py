"""The CPU at its full speed: compiled kernels, and a batch cut over threads."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from charrnn.backend.base import Array, Item, Result, Weight
from charrnn.backend.fused import compile as compiler
from charrnn.backend.fused.compile import Function, Shape, call
from charrnn.backend.fused.loop import GenerationLoop
from charrnn.backend.fused.trace import CellTrace, UpdateTrace
from charrnn.backend.numpy_backend import NumpyBackend


def available_threads() -> int:
    """The processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class PackedWeight:
    """A weight [N, K] in panels, one copy for each direction; see ``products.py``."""

    def __init__(self, backend: FusedBackend, array: Array, backward: bool) -> None:
        self.backend, self.array = backend, array
        (N, K), panel = array.shape, backend.shape.panel
        self.forward = backend.empty((-(-N // panel), K, panel))
        self.backward = backend.empty((-(-K // panel) if backward else 0, N, panel))
        self.refresh()

    def refresh(self) -> None:
        (N, K), products = self.array.shape, self.backend.products
        call(products["pack_transposed"], self.array, self.forward, K, K, N)
        if self.backward.size:
            call(products["pack"], self.array, self.backward, K, N, K)


class FusedBackend(NumpyBackend):
    """NumPy arrays under compiled kernels; see ``Backend``.

    ``announce`` is called once, before kernels are compiled, if they are not on disk yet. Raises
    ``ImportError`` or ``OSError`` where the compiler does not load.
    """

    def __init__(
        self,
        dtype: Any = np.float32,
        threads: int | None = None,
        announce: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(dtype)
        self.threads = threads or available_threads()
        self.shape = Shape.of_host(self.dtype)
        self.announce = functools.cache(announce)  # once, however many modules there are
        self._modules: dict[tuple[str, str], dict[str, Function]] = {}
        self._loops: WeakKeyDictionary[Any, GenerationLoop] = WeakKeyDictionary()
        self._lock = threading.RLock()
        self._room = threading.local()
        self.products = self._module(
            "products", {"pack": 5, "pack_transposed": 5, "gemm": 11, "gradient": 12}
        )
        self.others = self._module(
            "others",
            {"gather": 5, "scatter_add": 5, "cross_entropy": 7, "sum_of_squares": 3, "dropout": 6},
        )

    # Threads

    @functools.cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads, thread_name_prefix="charrnn")

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        items = list(items)
        if len(items) < 2 or self.threads == 1:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))

    def _workspace(self, size: int) -> Array:
        """Room for so many numbers, the thread's own."""
        room = getattr(self._room, "array", None)
        if room is None or room.size < size:
            room = self._room.array = self.empty((size,))
        return room

    # Modules of compiled functions: name -> function

    def _module(
        self,
        name: str,
        signatures: dict[str, int],
        trace: Any = None,
        imports: dict[str, Function] | None = None,
        key: str = "",
    ) -> dict[str, Function]:
        """One module for each ``name`` and ``key``; ``imports`` are functions that it calls.

        ``trace``: what it is made from, if not from this folder alone.
        """

        def build() -> str:
            from charrnn.backend.fused import modules

            return modules.text(name, self.shape, trace)

        with self._lock:
            if (name, key) not in self._modules:
                self._modules[name, key] = compiler.functions(
                    *(name, signatures, build, (self.shape, repr(trace)), self.announce),
                    imports or {},
                )
            return self._modules[name, key]

    def cell(self, cell: Any) -> dict[str, Function]:
        """``forward`` and ``backward`` of ``recurrence.py`` for a cell."""
        found = self._modules.get(("cell", cell.name))
        if found:
            return found
        imports = {"gemm": self.products["gemm"]}
        signatures = {"forward": 10, "backward": 12}
        return self._module("cell", signatures, CellTrace(cell), imports, cell.name)

    def generation(self, cell: Any) -> Function:
        """``generate`` of ``generation.py`` for a cell."""
        imports = {
            "gemm": self.products["gemm"],
            "gather": self.others["gather"],
            "forward": self.cell(cell)["forward"],
        }
        return self._module("generation", {"generate": 16}, None, imports, cell.name)["generate"]

    # Products

    def weight(self, array: Array, *, backward: bool) -> Weight:
        return PackedWeight(self, array, backward)

    def linear(self, x: Array, weight: Weight, out: Array, bias: Array | None = None) -> None:
        assert isinstance(weight, PackedWeight)
        self._gemm(x, weight.forward, bias, out)

    def linear_backward(self, dy: Array, weight: Weight, out: Array) -> None:
        assert isinstance(weight, PackedWeight)
        self._gemm(dy, weight.backward, None, out)

    def _gemm(self, x: Array, packed: Array, init: Array | None, out: Array) -> None:
        (M, K), N = x.shape, out.shape[1]
        call(self.products["gemm"], x, packed, init, out, K, 1, 0, N, M, K, N)

    def linear_gradient(
        self, dy: Array, x: Array, dweight: Array, dbias: Array, *, add: bool = False
    ) -> None:
        (K, M), N, panel = dy.shape, x.shape[1], self.shape.panel
        room = self._workspace(compiler.DEPTH * (compiler.ROWS + -(-N // panel) * panel))
        if not add:
            dbias.fill(0)
        call(
            self.products["gradient"],
            *(dy, x, dweight if add else None, dweight, dbias, room),
            *(M, N, N, M, K, N),
        )

    # Rows

    def gather(self, table: Array, ids: Array, out: Array) -> Array:
        assert ids.dtype == np.int64
        call(self.others["gather"], table, ids, out, len(ids), table.shape[1])
        return out

    def scatter_add(self, table: Array, ids: Array, rows: Array) -> None:
        assert ids.dtype == np.int64
        call(self.others["scatter_add"], table, ids, rows, len(ids), table.shape[1])

    # The core's own functions: ``_name`` takes the place of the reference called ``name``

    def kernel(self, name: str, reference: Callable[..., Any]) -> Callable[..., Any]:
        if name == "update":
            return self._update(reference)
        override: Callable[..., Any] = getattr(self, f"_{name}", reference)
        return override

    def _scan_forward(
        self, backend: Any, cell: Any, memory: Any, weight: PackedWeight, bias: Array, reverse: bool
    ) -> None:
        _, T, B, H = memory.states.shape
        call(
            self.cell(cell)["forward"],
            *(memory.gates, memory.recurrent, weight.forward, None if cell.additive else bias),
            *(memory.states, memory.saved, T - 1, B, H, reverse),
        )

    def _scan_backward(
        self, backend: Any, cell: Any, memory: Any, weight: PackedWeight, dy: Array, reverse: bool
    ) -> None:
        _, T, B, H = memory.states.shape
        row = dy.strides[1] // dy.itemsize  # dy may be one direction's part of both
        assert dy.strides == (B * row * dy.itemsize, row * dy.itemsize, dy.itemsize)
        call(
            self.cell(cell)["backward"],
            *(memory.gates, memory.drecurrent, weight.backward, memory.states, memory.saved),
            *(memory.dstate, dy.ctypes.data, T - 1, B, H, reverse, row),
        )

    def _cross_entropy(
        self, xp: Any, logits: Array, targets: Array, losses: Array, scale: float
    ) -> None:
        factor = np.array(scale, self.dtype)
        function = self.others["cross_entropy"]
        call(function, logits, targets, losses, factor, *logits.shape, scale != 0)

    def _sum_of_squares(self, xp: Any, x: Array) -> Array:
        total = np.empty((), np.float64)
        call(self.others["sum_of_squares"], x, total, x.size)
        return total

    def _dropout(
        self, xp: Any, x: Array, draws: Array, threshold: int, scale: float, out: Array
    ) -> None:
        factor = np.array(scale, self.dtype)
        call(self.others["dropout"], x, draws, out, factor, x.size, threshold)

    def _update(self, reference: Callable[..., Any]) -> Callable[..., Any]:
        """An optimiser's pointwise update, compiled when its slots are known."""
        name = reference.__name__

        def update(
            xp: Any, p: Array, g: Array, slots: list[Array], scalars: Array, scratch: Array
        ) -> None:
            functions = self._modules.get(("update", name))
            if functions is None:
                trace = UpdateTrace(reference, len(slots), len(scalars))
                functions = self._module("update", {"update": 4 + len(slots)}, trace, key=name)
            call(functions["update"], scalars, p, g, *slots, p.size)

        return update

    def _generate(
        self,
        window: Any,
        ids: np.ndarray[Any, Any],
        draws: np.ndarray[Any, Any],
        temperature: float,
    ) -> np.ndarray[Any, Any]:
        def run(number: int) -> np.ndarray[Any, Any]:
            columns, network = window.columns[number], window.parts[number]
            with self._lock:
                loop = self._loops.get(network)
                if loop is None:
                    loop = self._loops[network] = GenerationLoop(self, network)
            return loop.run(ids[columns], draws[:, columns], temperature)

        return np.concatenate(self.map(run, range(len(window.parts))), axis=1)
