"""A cell's loop over time, forward and backward, as one function for each cell.

Made from the cell's own pointwise functions by tracing them: see ``backend/trace.py``.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir

from charrnn.backend.fused.emit import I64, POINTER, Kernel, Pointer, Value, Variable
from charrnn.backend.fused.expressions import emit
from charrnn.backend.fused.shape import Shape
from charrnn.backend.trace import CellTrace, reads

#: Arguments: pointers, integers. ``back`` is 1 where time runs backwards, else 0. Of the hidden
#: units only those from ``first`` to before ``last`` are computed, in the steps from ``begin`` to
#: before ``end``.
FORWARD = "gates recurrent weight bias states saved", "T B H back first last begin end"
READ = (
    "x index:i64 weight_ih bias_ih gates recurrent weight_hh bias_hh states saved",
    "T B H back inputs block",
)
BACKWARD = "gates drecurrent weight states saved dstate dy", "T B H back dy_row"


def build(module: ir.Module, shape: Shape, cell: CellTrace) -> None:
    """Emit ``forward``, ``read`` and ``backward``; they call ``gemm`` and ``gather``."""
    gemm = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER] * 4 + [I64] * 7), "gemm")
    with Kernel(module, shape, "forward", *FORWARD) as k:
        gates, recurrent, weight, bias, states, _ = k[FORWARD[0]]
        T, B, H, back, first, last, begin, end = k[FORWARD[1]]
        with k.loop(begin, end) as s:
            t = back * (T - 1) + s * (1 - back * 2)
            previous = states + (t + back) * B * H
            panels = (H // shape.panel * shape.panel).compare("==", H)
            with k.either(B.compare("==", 1) & panels) as (yes, no):
                with yes:
                    _step_of_one(k, cell, t, previous, weight, bias, first, last)
                with no:
                    product_of_units(
                        k, gemm, cell.gates, previous, weight, bias, recurrent, B, H, H, first, last
                    )
                    _each_element(k, cell, cell.forward, t, units=(first, last))
    _read(module, shape, cell, gemm, k.function)

    with Kernel(module, shape, "backward", *BACKWARD) as k:
        gates, drecurrent, weight, *_, dstate, dy = k[BACKWARD[0]]
        T, B, H, back, dy_row = k[BACKWARD[1]]
        width = H * cell.gates
        with k.loop(0, T) as s:
            t = (1 - back) * (T - 1) - s * (1 - back * 2)
            _each_element(k, cell, cell.backward, t, dy=dy + t * B * dy_row)
            product = gates if cell.additive else drecurrent
            k.call(gemm, product + t * B * width, weight, dstate, dstate,
                   width, 1, H, H, B, width, H)  # fmt: skip


def _read(module: ir.Module, shape: Shape, cell: CellTrace, gemm: Any, forward: Any) -> None:
    """``layers.scan.scan_read``, a block of time at a time.

    ``gates`` and ``saved`` have room for one block, so that they stay in the cache: those of a
    window would go to memory and come back.
    """
    kinds = [POINTER] * 3 + [I64] * 2
    gather = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), "gather")
    with Kernel(module, shape, "read", *READ) as k:
        x, index, weight_ih, bias_ih, gates, recurrent, weight_hh, bias_hh, states, saved = k[
            READ[0]
        ]
        T, B, H, back, inputs, block = k[READ[1]]
        width = H * cell.gates
        steps = (T + (block - 1)) // block
        with k.loop(0, steps) as number:
            begin = number * block
            end = k.minimum(begin + block, T)
            start = back * (T - end) + (1 - back) * begin  # the first in time
            rows = (end - begin) * B
            with k.either(index.given()) as (yes, no):
                with yes:
                    k.call(gather, x, index + start * B, gates, rows, width)
                with no:
                    k.call(gemm, x + start * B * inputs, weight_ih, bias_ih, gates,
                           inputs, 1, 0, width, rows, inputs, width)  # fmt: skip
            k.call(
                forward,
                *(gates + (0 - start * B * width), recurrent, weight_hh, bias_hh, states),
                saved + (0 - start * B * H * cell.saved),
                *(T, B, H, back, 0, H, begin, end),
            )


def product_of_units(
    k: Kernel, gemm: Any, gates: Any, x: Pointer, weight: Pointer, bias: Pointer, out: Pointer,
    B: Value, K: Value, H: Value, first: Value, last: Value,
) -> None:  # fmt: skip
    """out [B, gates*H] = x [B, K] weight^T + bias, but only the columns of some hidden units.

    These are all, or they begin and end where panels do.
    """
    width = H * gates
    with k.either((last - first).compare("==", H)) as (yes, no):
        with yes:
            k.call(gemm, x, weight, bias, out, K, 1, 0, width, B, K, width)
        with no, k.loop(0, gates) as gate:
            column = gate * H + first
            k.call(
                gemm,
                *(x, weight + column * K, bias.given().where(bias + column, bias), out + column),
                *(K, 1, 0, width, B, K, last - first),
            )


def _step_of_one(
    k: Kernel, cell: CellTrace, t: Value, previous: Pointer, weight: Pointer, bias: Pointer,
    first: Value, last: Value,
) -> None:  # fmt: skip
    """A step of one sequence, whose H fills panels: what bounds it is reading the weight.

    A panel's worth of units is finished before the next: its pointwise part goes on while the
    next one's weights arrive, and so do the input products of the next step. previous [H].
    """
    shape, H = k.shape, k["H"]
    width, vectors = shape.width, range(shape.vectors)
    place = _places(k, cell, t, Value(k, I64(0)))
    after = _places(k, cell, t + (1 - k["back"] * 2), Value(k, I64(0)))
    # Those of one gate alone would wait for themselves: they are added up in several parts.
    parts = max(1, 8 // (cell.gates * shape.vectors))
    with k.loop(first, last, shape.panel) as unit:
        columns = [gate * H + unit for gate in range(cell.gates)]
        sums = [
            [[Variable(k, k.real_vector(0)) for _ in vectors] for _ in columns]
            for _ in range(parts)
        ]
        with k.loop(0, H, parts) as d:
            for part in range(parts):
                left = k.splat((previous + (d + part)).load())
                for gate, column in enumerate(columns):
                    right = weight + (column * H + (d + part) * shape.panel)
                    for v in vectors:
                        total = sums[part][gate][v]
                        total.set(k.fma(left, (right + v * width).vector(), total.get()))
        with k.when(bias.given()):
            for gate, column in enumerate(columns):
                for v in vectors:
                    total = sums[0][gate][v]
                    total.set(total.get() + (bias + (column + v * width)).vector())

        for v in vectors:
            at = unit + v * width

            def load(name: str, index: tuple[int, ...], v: int = v, at: Value = at) -> Value:
                if name == "recurrent":
                    return functools.reduce(operator.add, [p[index[1]][v].get() for p in sums])
                return (place(name, index) + at).vector()

            for gate in range(cell.gates):
                k.prefetch(after("gates", (0, gate)) + at)
            values = emit(k, list(cell.forward.values()), load)
            for (name, index), value in zip(cell.forward, values, strict=True):
                (place(name, index) + at).store_vector(value)


def _places(
    k: Kernel, cell: CellTrace, t: Value, b: Value, dy: Pointer | None = None
) -> Callable[[str, tuple[int, ...]], Pointer]:
    """Where, at a step and in a sequence, the row [H] of a cell's array begins, by its index."""
    sizes: list[Value] = k["T B H back"]
    T, B, H, back = sizes
    arguments: dict[str, Pointer] = k.arguments

    def place(name: str, index: tuple[int, ...]) -> Pointer:
        if name in ("gates", "drecurrent"):
            return arguments[name] + ((t * B + b) * cell.gates + index[1]) * H
        if name == "recurrent":
            return arguments[name] + (b * cell.gates + index[1]) * H
        if dy is not None and name == "dy":
            dy_row: Value = k["dy_row"]
            return dy + b * dy_row
        if name == "saved":
            return arguments[name] + ((t * cell.saved + index[0]) * B + b) * H
        if name == "dstate":
            return arguments[name] + (B * index[0] + b) * H
        at = t + (back if name == "previous" else 1 - back)
        return arguments["states"] + (((T + 1) * index[0] + at) * B + b) * H

    return place


def _each_element(
    k: Kernel,
    cell: CellTrace,
    changes: dict[tuple[str, Any], Any],
    t: Value,
    *,
    units: tuple[Value, Value] | None = None,
    dy: Pointer | None = None,
) -> None:
    """One step's pointwise part: all it reads of an element, then all it writes.

    ``units``: from the first to before the last; all, if not given.
    """
    with k.loop(0, k["B"]) as b:
        place = _places(k, cell, t, b, dy)
        places: dict[Any, Pointer] = {}

        def row(name: str, index: tuple[int, ...]) -> Pointer:
            if (name, index) not in places:
                start = place(name, index)
                places[name, index] = start if units is None else start + units[0]
            return places[name, index]

        for name, index in [*reads(list(changes.values())), *changes]:
            row(name, index)  # outside of the loop over vectors

        def body(j: Value, mask: Value | None) -> None:
            values = emit(
                k, list(changes.values()), lambda name, index: (row(name, index) + j).vector(mask)
            )
            for (name, index), value in zip(changes, values, strict=True):
                (row(name, index) + j).store_vector(value, mask)

        k.each_vector(k["H"] if units is None else units[1] - units[0], body)
