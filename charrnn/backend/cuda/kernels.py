"""The Python end of the CUDA kernels: what they stand for, their arguments and sizes of grids."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np

from charrnn.backend.base import Array
from charrnn.backend.cuda import drawing, losses, sources, sums
from charrnn.backend.cuda.blocks import THREADS as BLOCK
from charrnn.backend.cuda.blocks import threads_for
from charrnn.backend.cuda.generation import GenerationLoop
from charrnn.backend.cuda.sources import Source
from charrnn.backend.trace import CellTrace, UpdateTrace


class Launch(Protocol):
    """A kernel, which is compiled when it is first launched, or told to."""

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]
    ) -> None:
        """Of a grid (x, y) and a block (x,); arrays, and Python numbers, which become 64 bits."""

    def compile(self) -> None:
        """Now, or from the disk."""


#: Threads of a block of the pointwise kernels.
THREADS = 128


class Kernels:
    """The core's functions as kernels of a device, for arrays of ``dtype``.

    ``make(text, name)`` gives the kernel ``name`` of some CUDA C. Nothing here waits for a device.
    """

    def __init__(
        self, dtype: Any, make: Callable[[str, str], Launch], *, rounds: bool = False
    ) -> None:
        """``rounds``: products are made in bfloat16."""
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.rounds = rounds
        self._make = make
        self._kernels: dict[str, Callable[..., Any]] = {
            "scan_forward": self._scan_forward,
            "scan_backward": self._scan_backward,
            "cross_entropy": self._cross_entropy(),
            "dropout": self._dropout(),
            "sum_of_squares": self._sum_of_squares(),
            "generate": self._generate,
        }
        self.scatter_add = self._scatter_add()
        self.round_to_bf16 = self._round_to_bf16()
        self.draw = self._draw()
        self._loops: WeakKeyDictionary[Any, GenerationLoop] = WeakKeyDictionary()
        self._cell = functools.cache(self._made_cell)
        self.prepare: Callable[[Any], None] = functools.cache(self._compile)

    def find(self, name: str, reference: Callable[..., Any]) -> Callable[..., Any]:
        """See ``Backend.kernel``."""
        return self._update(reference) if name == "update" else self._kernels.get(name, reference)

    def _launch(self, source: Source) -> Launch:
        return self._make(source.text, source.name)

    def _compile(self, cell: Any) -> None:
        """See ``Backend.prepare``."""
        for _, kernel in self._cell(cell, self.rounds):
            kernel.compile()

    def _checked(self, *arrays: Array) -> tuple[Array, ...]:
        """``arrays``, if a kernel can read them: it would not notice another kind or order."""
        for array in arrays:
            if array.dtype.kind == "f" and array.dtype != self.dtype:
                raise TypeError(f"an array of {array.dtype} for kernels of {self.dtype}")
            if not array.flags.c_contiguous:
                raise ValueError("an array for a kernel must be contiguous")
        return arrays

    # A scan: a product and one launch a step

    def _made_cell(
        self, cell: Any, rounds: bool
    ) -> tuple[tuple[Source, Launch], tuple[Source, Launch]]:
        trace = CellTrace(cell)
        forward = sources.forward(self.dtype, cell.name, trace, rounds=rounds)
        backward = sources.backward(self.dtype, cell.name, trace, rounds=rounds)
        return (forward, self._launch(forward)), (backward, self._launch(backward))

    def _scan_forward(
        self, backend: Any, cell: Any, memory: Any, weight: Any, bias: Array, reverse: bool
    ) -> None:
        h, back, rounded = memory.states[0], int(reverse), None
        steps = range(len(h) - 1)[:: -1 if reverse else 1]
        if self.rounds:
            rounded = backend.operand(h[steps[0] + back])
        step = self.forward_step(cell, memory, bias, rounded)
        for t in steps:
            backend.linear(h[t + back] if rounded is None else rounded, weight, memory.recurrent)
            step(t, back)

    def forward_step(
        self, cell: Any, memory: Any, bias: Array, rounded: Array | None = None
    ) -> Callable[[int, int], None]:
        """The pointwise part of a step: from ``t`` and whether time runs backwards, 0 or 1.

        The new h goes to ``rounded`` [B, H] as well, in bfloat16.
        """
        (source, launch), _ = self._cell(cell, rounded is not None)
        named = memory._asdict() | {"bias": bias, "rounded": rounded}
        arrays = self._checked(*(named[name] for name in source.arrays))
        grid, sizes = _sizes(memory)

        def step(t: int, back: int) -> None:
            launch(grid, (THREADS,), (*arrays, t, *sizes, back))

        return step

    def _scan_backward(
        self, backend: Any, cell: Any, memory: Any, weight: Any, dy: Array, reverse: bool
    ) -> None:
        _, (source, launch) = self._cell(cell, self.rounds)
        product, rounded = memory.scratch[0], None
        if self.rounds:
            rounded = backend.empty(memory.recurrent.shape, np.uint16)
        named = memory._asdict() | {"product": product, "rounded": rounded}
        self._checked(*(named[name] for name in source.arrays if name != "dy"))
        arrays = [(named | {"dy": dy})[name] for name in source.arrays]
        grid, sizes = _sizes(memory)
        sizes = (*sizes, int(reverse))
        # dy may be one direction's part of both, and the strides of an axis of one are any.
        steps, rows, units = (stride // dy.itemsize for stride in dy.strides)
        assert dy.dtype == self.dtype and (units == 1 or dy.shape[2] == 1)
        product.fill(0)
        for t in range(len(dy))[:: 1 if reverse else -1]:
            launch(grid, (THREADS,), (*arrays, t, *sizes, steps, rows))
            gradient = memory.drecurrent[t] if rounded is None else rounded
            backend.linear_backward(gradient, weight, product)
        dh = memory.dstate[0]
        dh += product

    # One launch each

    def _cross_entropy(self) -> Callable[..., None]:
        launch = self._launch(losses.cross_entropy(self.dtype))

        def cross_entropy(xp: Any, logits: Array, targets: Array, out: Array, scale: float) -> None:
            assert targets.dtype == np.int64
            N, V = logits.shape
            arrays = self._checked(logits, targets, out)
            if N:
                launch((N,), (threads_for(V),), (*arrays, V, float(scale)))

        return cross_entropy

    def _dropout(self) -> Callable[..., None]:
        launch = self._launch(sources.dropout(self.dtype))

        def dropout(
            xp: Any, x: Array, draws: Array, threshold: int, scale: float, out: Array
        ) -> None:
            assert draws.dtype == np.uint16
            arrays = self._checked(x, draws, out)
            launch(_blocks(x.size), (THREADS,), (*arrays, x.size, int(threshold), float(scale)))

        return dropout

    def _scatter_add(self) -> Callable[..., None]:
        launch = self._launch(sources.scatter_add(self.dtype))

        def scatter_add(table: Array, ids: Array, rows: Array) -> None:
            assert ids.dtype == np.int64
            (V, E), N = table.shape, len(ids)
            arrays = self._checked(table, ids, rows)
            launch((V, -(-E // THREADS)), (THREADS,), (*arrays, N, E))

        return scatter_add

    def _sum_of_squares(self) -> Callable[..., Array]:
        launch = self._launch(sums.sum_of_squares(self.dtype))

        def sum_of_squares(xp: Any, x: Array) -> Array:
            blocks = max(1, min(sums.PARTS, -(-x.size // BLOCK)))
            parts = xp.empty((blocks,), x.dtype)
            launch((blocks,), (BLOCK,), (*self._checked(x, parts), x.size))
            return xp.sum(parts)

        return sum_of_squares

    def _round_to_bf16(self) -> Callable[..., None]:
        launch = self._launch(sources.round_to_bf16())

        def round_to_bf16(x: Array, out: Array) -> None:
            assert (x.dtype, out.dtype) == (np.float32, np.uint16)
            launch(_blocks(x.size), (THREADS,), (*self._checked(x, out), x.size))

        return round_to_bf16

    def _draw(self) -> Callable[..., None]:
        launch = self._launch(drawing.draw(self.dtype))

        def draw(
            logits: Array, bias: Array, masses: Array, draws: Array, ids: Array, out: Array,
            config: Any,
        ) -> None:  # fmt: skip
            """``config``: a ``SampleConfig``; for the rest see ``drawing.draw``."""
            assert draws.dtype == masses.dtype == np.float64
            assert ids.dtype == out.dtype == np.int64
            B, V = logits.shape
            arrays = (*self._checked(logits, bias), masses, draws, ids, out)
            launch((B,), (threads_for(V),), (
                *arrays, V, int(not config.unknown), float(config.temperature),
                int(config.cuts), config.top_k or V, float(config.top_p), float(config.min_p),
            ))  # fmt: skip

        return draw

    def _generate(
        self, window: Any, ids: np.ndarray[Any, Any], draws: np.ndarray[Any, Any], config: Any
    ) -> np.ndarray[Any, Any]:
        [network] = window.parts
        if network not in self._loops:
            self._loops[network] = GenerationLoop(self, window.backend, network)
        return self._loops[network].run(ids, draws, config)

    def _update(self, method: Any) -> Callable[..., None]:
        trace = UpdateTrace(method, len(method.slots))
        launch = self._launch(sources.update(self.dtype, method.update.__name__, trace))

        def update(
            xp: Any, p: Array, g: Array, slots: list[Array], scalars: Array, scratch: Array
        ) -> None:
            launch(_blocks(p.size), (THREADS,), (*self._checked(scalars, p, g, *slots), p.size))

        return update


def _blocks(size: int) -> tuple[int]:
    """The grid of a flat array."""
    return (max(1, -(-size // THREADS)),)


def _sizes(memory: Any) -> tuple[tuple[int, int], tuple[int, ...]]:
    """The grid of a step, and the numbers that follow ``t``."""
    _, T1, B, H = memory.states.shape
    return (B, -(-H // THREADS)), (T1 - 1, B, H)
