"""Rows of a table by number: reading them, and adding to them."""

from __future__ import annotations

from llvmlite import ir

from charrnn.backend.fused.emit import Kernel, Value
from charrnn.backend.fused.shape import Shape


def build(module: ir.Module, shape: Shape) -> None:
    """Emit ``gather`` (out[n] = table[ids[n]]) and ``scatter_add`` (table[ids[n]] += rows[n])."""
    with Kernel(module, shape, "gather", "table ids:i64 out", "N E") as k:
        table, ids, out = k["table ids out"]
        N, E = k["N E"]
        with k.loop(0, N) as n:
            source, to = table + (ids + n).load() * E, out + n * E

            def copy(j: Value, mask: Value | None) -> None:
                (to + j).store_vector((source + j).vector(mask), mask)

            k.each_vector(E, copy)

    with Kernel(module, shape, "scatter_add", "table ids:i64 rows", "N E") as k:
        table, ids, rows = k["table ids rows"]
        N, E = k["N E"]
        with k.loop(0, N) as n:
            to, source = table + (ids + n).load() * E, rows + n * E

            def add(j: Value, mask: Value | None) -> None:
                total = (to + j).vector(mask) + (source + j).vector(mask)
                (to + j).store_vector(total, mask)

            k.each_vector(E, add)
