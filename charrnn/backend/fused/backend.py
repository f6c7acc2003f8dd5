"""The CPU at its full speed: compiled kernels, and a batch cut over threads."""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from charrnn.backend.base import Array, Item, Result, Weight
from charrnn.backend.fused import jit
from charrnn.backend.fused.jit import Function, address
from charrnn.backend.fused.loop import GenerationLoop
from charrnn.backend.fused.shape import BLOCK, DEPTH, LINE, ROWS, Shape
from charrnn.backend.numpy_backend import NumpyBackend
from charrnn.backend.trace import CellTrace, UpdateTrace

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor


def available_threads(group: Path = Path("/sys/fs/cgroup")) -> int:
    """The processors that this process may use, a container's limit included."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = map(int, (group / "cpu.max").read_text().split())
    except (OSError, ValueError):  # no such group, or "max"
        return count or 1
    return max(1, min(count or 1, round(quota / period)))


class PackedWeight:
    """A weight [N, K] in panels, one copy for each direction; see ``products.py``."""

    def __init__(self, backend: FusedBackend, array: Array, backward: bool) -> None:
        self.backend, self.array = backend, array
        (N, K), panel = array.shape, backend.shape.panel
        self.forward = backend.empty((-(-N // panel), K, panel))
        self.backward = backend.empty((-(-K // panel), N, panel)) if backward else None
        self.refresh()

    def refresh(self) -> None:
        (N, K), products = self.array.shape, self.backend.products
        self.backend.call(products["pack_transposed"], self.array, self.forward, K, K, N)
        if self.backward is not None:
            self.backend.call(products["pack"], self.array, self.backward, K, N, K)


class FusedBackend(NumpyBackend):
    """NumPy arrays under compiled kernels; see ``Backend``.

    ``announce`` is told, once, when kernels have to be compiled; else they are on disk.
    """

    def __init__(
        self,
        dtype: Any = np.float32,
        threads: int | None = None,
        announce: Callable[[str], None] = lambda message: None,
    ) -> None:
        super().__init__(dtype)
        self.threads = threads or available_threads()
        host = jit.host()
        self.shape = Shape.of_host(host, self.dtype)
        self.kernels = f"{host.name}, {8 * self.shape.width * self.dtype.itemsize} bits"
        self.announce = functools.cache(announce)  # once, however many modules there are
        self._modules: dict[tuple[str, Any], dict[str, Function]] = {}
        self._loops: WeakKeyDictionary[Any, GenerationLoop] = WeakKeyDictionary()
        self._lock = threading.Lock()
        #: Held while the threads of the pool wait for each other: two such groups would for ever.
        self.together = threading.Lock()
        self._room = threading.local()
        self.products = self._module(
            "products", {"pack": 5, "pack_transposed": 5, "gemm": 11, "gradient": 12}
        )
        self.others = self._module(
            "others",
            {"gather": 5, "scatter_add": 5, "cross_entropy": 7, "rank": 7, "sum_of_squares": 3}
            | {"dropout": 6},
        )
        self._kernels: dict[str, Callable[..., Any]] = {
            "scan_forward": self._scan_forward,
            "scan_read": self._scan_read,
            "scan_backward": self._scan_backward,
            "cross_entropy": self._cross_entropy,
            "rank": self._rank,
            "sum_of_squares": self._sum_of_squares,
            "dropout": self._dropout,
        }

    def empty(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        return self._aligned(np.empty, shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        return self._aligned(np.zeros, shape, dtype)

    def _aligned(self, make: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        """Beginning where a line of the cache does: a vector is then not read from two of them."""
        kind = np.dtype(dtype or self.dtype)
        size = math.prod(shape) * kind.itemsize
        room = make(size + LINE, np.uint8)
        start = -address(room) % LINE
        return room[start : start + size].view(kind).reshape(shape)

    def call(self, function: Function, *arguments: Any) -> None:
        """Call with the addresses of arrays; None is 0. Checks that they are of our kind."""
        values = []
        for a in arguments:
            if isinstance(a, np.ndarray):
                if a.dtype.kind == "f" and a.dtype != self.dtype:
                    raise TypeError(f"an array of {a.dtype} for kernels of {self.dtype}")
                values.append(address(a))
            else:
                values.append(0 if a is None else a)
        function(*values)

    # Threads

    @functools.cached_property
    def _pool(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor  # loads what one thread does without

        # An overflow shows itself as a loss that is not finite; NumPy would warn in each thread.
        quiet = functools.partial(np.seterr, all="ignore")
        return ThreadPoolExecutor(self.threads, "charrnn", initializer=quiet)

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
        key: Any = None,
        trace: Callable[[], Any] = lambda: None,
        imports: dict[str, Function] | None = None,
    ) -> dict[str, Function]:
        """One module for each ``name`` and ``key``; ``imports`` are functions that it calls.

        ``trace`` gives what it is made from, if that is not from this folder alone.
        """
        found = self._modules.get((name, key))
        if found is None:
            source = trace()

            def build() -> str:
                from charrnn.backend.fused import modules

                return modules.text(name, self.shape, source)

            identity = (self.shape, repr(source))
            found = jit.functions(name, signatures, build, identity, self.announce, imports or {})
            self._modules[name, key] = found
        return found

    def cell(self, cell: Any) -> dict[str, Function]:
        """``forward``, ``read`` and ``backward`` of ``recurrence.py`` for a cell."""
        imports = {"gemm": self.products["gemm"], "gather": self.others["gather"]}
        signatures = {"forward": 14, "read": 16, "backward": 12}
        return self._module("cell", signatures, cell, lambda: CellTrace(cell), imports)

    def prepare(self, cell: Any) -> None:
        self.cell(cell)

    def generation(self, cell: Any) -> Function:
        """``generate`` of ``generation.py`` for a cell."""
        imports = {
            "gemm": self.products["gemm"],
            "gather": self.others["gather"],
            "forward": self.cell(cell)["forward"],
        }
        return self._module("generation", {"generate": 19}, cell, imports=imports)["generate"]

    # Products

    def weight(self, array: Array, *, backward: bool) -> Weight:
        return PackedWeight(self, array, backward)

    def linear(self, x: Array, weight: Weight, out: Array, bias: Array | None = None) -> None:
        assert isinstance(weight, PackedWeight)
        self._gemm(x, weight.forward, bias, out)

    def linear_backward(self, dy: Array, weight: Weight, out: Array) -> None:
        assert isinstance(weight, PackedWeight) and weight.backward is not None
        self._gemm(dy, weight.backward, None, out)

    def _gemm(self, x: Array, packed: Array, init: Array | None, out: Array) -> None:
        (M, K), N = x.shape, out.shape[1]
        self.call(self.products["gemm"], x, packed, init, out, K, 1, 0, N, M, K, N)

    def linear_gradient(
        self, dy: Array, x: Array, dweight: Array, dbias: Array, *, add: bool = False
    ) -> None:
        (K, M), N, panel = dy.shape, x.shape[1], self.shape.panel
        room = self._workspace(DEPTH * (ROWS + -(-N // panel) * panel))
        if not add:
            dbias.fill(0)
        self.call(
            self.products["gradient"],
            *(dy, x, dweight if add else None, dweight, dbias, room),
            *(M, N, N, M, K, N),
        )

    # Rows

    def gather(self, table: Array, ids: Array, out: Array) -> Array:
        assert ids.dtype == np.int64
        self.call(self.others["gather"], table, ids, out, len(ids), table.shape[1])
        return out

    def scatter_add(self, table: Array, ids: Array, rows: Array) -> None:
        assert ids.dtype == np.int64
        self.call(self.others["scatter_add"], table, ids, rows, len(ids), table.shape[1])

    # The core's own functions

    def kernel(self, name: str, reference: Callable[..., Any]) -> Callable[..., Any]:
        if name == "generate":  # compiled now, not when the first symbols are on the screen
            for kind, cell in list(self._modules):
                if kind == "cell":
                    self.generation(cell)
            return functools.partial(self._generate, reference)
        return self._update(reference) if name == "update" else self._kernels[name]

    def _scan_forward(
        self, backend: Any, cell: Any, memory: Any, weight: PackedWeight, bias: Array, reverse: bool
    ) -> None:
        _, T, B, H = memory.states.shape
        self.call(
            self.cell(cell)["forward"],
            *(memory.gates, memory.recurrent, weight.forward, None if cell.additive else bias),
            *(memory.states, memory.saved, T - 1, B, H, reverse, 0, H, 0, T - 1),
        )

    def _scan_read(
        self, backend: Any, cell: Any, memory: Any, x: Array, index: Array | None,
        weight_ih: PackedWeight, bias_ih: Array, weight_hh: PackedWeight, bias_hh: Array,
        reverse: bool,
    ) -> None:  # fmt: skip
        (_, T, B, H), width = memory.states.shape, memory.gates.shape[2]
        block = min(T - 1, max(1, BLOCK // (B * width)))
        room = self._workspace(block * B * (width + cell.saved * H))
        assert index is None or index.dtype == np.int64
        self.call(
            self.cell(cell)["read"],
            *(x, index, weight_ih.forward, bias_ih, room, memory.recurrent),
            *(weight_hh.forward, None if cell.additive else bias_hh, memory.states),
            *(room[block * B * width :], T - 1, B, H, reverse, x.shape[1], block),
        )

    def _scan_backward(
        self, backend: Any, cell: Any, memory: Any, weight: PackedWeight, dy: Array, reverse: bool
    ) -> None:
        _, T, B, H = memory.states.shape
        row = dy.strides[1] // dy.itemsize  # dy may be one direction's part of both
        assert dy.strides == (B * row * dy.itemsize, row * dy.itemsize, dy.itemsize)
        self.call(
            self.cell(cell)["backward"],
            *(memory.gates, memory.drecurrent, weight.backward, memory.states, memory.saved),
            *(memory.dstate, dy.ctypes.data, T - 1, B, H, reverse, row),
        )

    def _cross_entropy(
        self, xp: Any, logits: Array, targets: Array, losses: Array, scale: float
    ) -> None:
        factor = np.array(scale, self.dtype)
        function = self.others["cross_entropy"]
        self.call(function, logits, targets, losses, factor, *logits.shape, scale != 0)

    def _rank(self, logits: Array, targets: Array, nats: Array, ranks: Array, top: Array) -> None:
        function, places = self.others["rank"], (address(nats), address(ranks), address(top))
        self.call(function, logits, targets, *places, *logits.shape)

    def _sum_of_squares(self, xp: Any, x: Array) -> Array:
        total = np.empty((), np.float64)
        self.call(self.others["sum_of_squares"], x, address(total), x.size)
        return total

    def _dropout(
        self, xp: Any, x: Array, draws: Array, threshold: int, scale: float, out: Array
    ) -> None:
        factor = np.array(scale, self.dtype)
        self.call(self.others["dropout"], x, draws, out, factor, x.size, threshold)

    def _update(self, method: Any) -> Callable[..., Any]:
        slots = len(method.slots)
        function = self._module(
            "update", {"update": 4 + slots}, method, lambda: UpdateTrace(method, slots)
        )["update"]

        def update(
            xp: Any, p: Array, g: Array, slots: list[Array], scalars: Array, scratch: Array
        ) -> None:
            self.call(function, scalars, p, g, *slots, p.size)

        return update

    def _generate(
        self,
        reference: Callable[..., Any],
        window: Any,
        ids: np.ndarray[Any, Any],
        draws: np.ndarray[Any, Any],
        config: Any,
    ) -> np.ndarray[Any, Any]:
        if config.cuts or config.unknown:
            found: np.ndarray[Any, Any] = reference(window, ids, draws, config)
            return found

        def run(number: int) -> np.ndarray[Any, Any]:
            columns, network = window.columns[number], window.parts[number]
            with self._lock:
                loop = self._loops.get(network)
                if loop is None:
                    alone = len(window.parts) == 1
                    loop = self._loops[network] = GenerationLoop(self, network, alone=alone)
            return loop.run(ids[columns], draws[:, columns], config.temperature)

        return np.concatenate(self.map(run, range(len(window.parts))), axis=1)
