"""Matrix products in tiles that stay in registers.

A tile of the result, R rows by one panel of columns, is added up in registers over the whole
depth: at every step one row of the panel is loaded and multiplied by R numbers (Goto & van de
Geijn 2008). The right operand is packed in panels beforehand, so that it is read in order; a
weight is packed once for each update of the parameters, not once for each product.

Everything is row-major. ``gemm``: c [M, N] = init + a [M, K] @ b [K, N], a with any strides.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from charrnn.backend.fused.emit import I64, Kernel, Pointer, Value, Variable
from charrnn.backend.fused.shape import COLUMNS, DEPTH, ROWS, Shape


def build(module: ir.Module, shape: Shape) -> None:
    """Emit ``pack``, ``pack_transposed``, ``gemm`` and ``gradient``."""
    tiles = [_tile(module, shape, rows) for rows in range(1, shape.rows + 1)]
    _pack(module, shape, "pack", transposed=False)
    _pack(module, shape, "pack_transposed", transposed=True)
    rows = _rows(module, shape, tiles)
    _gemm(module, shape, rows)
    _gradient(module, shape, rows)


#: Rows of the right operand by which it is asked for before it is used.
AHEAD = 16

_TILE = "a b init c", "a_row a_depth b_row init_row c_row depth columns"


def _tile(module: ir.Module, shape: Shape, rows: int) -> Any:
    """c [rows, columns] = init + a @ b for up to one panel of columns; init may be 0.

    b [depth, panel] with rows ``b_row`` apart; init and c may be the same.
    """
    with Kernel(module, shape, f"tile{rows}", *_TILE) as k:
        a, b, init, c = k["a b init c"]
        a_row, a_depth, b_row, init_row, c_row, depth, columns = k[_TILE[1]]
        width, vectors = shape.width, range(shape.vectors)
        # A small tile alone would wait for its own sums: it is added up in several parts.
        parts = max(1, 8 // (rows * shape.vectors))
        sums = [
            [[Variable(k, k.real_vector(0)) for _ in vectors] for _ in range(rows)]
            for _ in range(parts)
        ]

        def step(d: Value, part: int) -> None:
            right = [(b + d * b_row + v * width).vector() for v in vectors]
            for v in vectors:
                k.prefetch(b + (d + AHEAD) * b_row + v * width)
            for row in range(rows):
                left = k.splat((a + d * a_depth + a_row * row).load())
                for v in vectors:
                    total = sums[part][row][v]
                    total.set(k.fma(left, right[v], total.get()))

        whole = depth // parts * parts
        with k.loop(0, whole, parts) as d:
            for part in range(parts):
                step(d + part, part)
        if parts > 1:
            with k.loop(whole, depth) as d:
                step(d, 0)

        masks = [k.lanes(columns - v * width) for v in vectors]
        for row in range(rows):
            for v in vectors:
                total = sums[0][row][v]
                for part in range(1, parts):
                    total.set(total.get() + sums[part][row][v].get())
                with k.when(init.given()):
                    start = (init + init_row * row + v * width).vector(masks[v])
                    total.set(total.get() + start)
                (c + c_row * row + v * width).store_vector(total.get(), masks[v])
    return k.function


def _rows(module: ir.Module, shape: Shape, tiles: list[Any]) -> Any:
    """All rows of one panel, in tiles as even as can be. ``packed``: a lies tile after tile."""
    names = _TILE[1].replace("depth columns", "depth columns rows packed")
    with Kernel(module, shape, "rows", _TILE[0], names) as k:
        a, b, init, c = k[_TILE[0]]
        a_row, a_depth, b_row, init_row, c_row, depth, columns, rows, packed = k[names]
        count = (rows + (shape.rows - 1)) // shape.rows
        with k.loop(0, count) as tile:
            first = tile * rows // count
            size = (tile + 1) * rows // count - first
            is_packed = packed.compare("!=", 0)
            start = a + is_packed.where(first * depth, first * a_row)
            stride = is_packed.where(size, a_depth)
            end = k.builder.append_basic_block("done")
            switch = k.builder.switch(size.llvm, end)
            for number, function in enumerate(tiles, 1):
                switch.add_case(I64(number), block := k.builder.append_basic_block("tile"))
                k.builder.position_at_end(block)
                k.call(
                    function,
                    *(start, b, init.given().where(init + first * init_row, init)),
                    *(c + first * c_row, a_row, stride, b_row, init_row, c_row, depth, columns),
                )
                k.builder.branch(end)
            k.builder.position_at_end(end)
    return k.function


def _gemm(module: ir.Module, shape: Shape, rows: Any) -> None:
    """c [M, N] = init + a [M, K] @ b, b packed; init 0, c itself, or rows ``init_row`` apart."""
    names = "a_row a_depth init_row c_row M K N"
    with Kernel(module, shape, "gemm", _TILE[0], names) as k:
        a, b, init, c = k[_TILE[0]]
        a_row, a_depth, init_row, c_row, M, K, N = k[names]
        block_rows = 4 * shape.rows  # more would lie on more pages than the processor has at hand
        with (
            k.loop(0, K, DEPTH) as block,
            k.loop(0, N, COLUMNS) as left,
            k.loop(0, M, block_rows) as m,
            k.loop(left, k.minimum(left + COLUMNS, N), shape.panel) as n,
        ):
            first = block.compare("==", 0)
            start, start_row = first.where(init, c), first.where(init_row, c_row)
            depth = k.minimum(K - block, DEPTH)
            k.call(
                rows,
                *(a + m * a_row + block * a_depth, b + (n * K + block * shape.panel)),
                *(start.given().where(start + (m * start_row + n), start), c + (m * c_row + n)),
                *(a_row, a_depth, shape.panel, start_row, c_row, depth),
                *(k.minimum(N - n, shape.panel), k.minimum(M - m, block_rows), 0),
            )


def _pack(module: ir.Module, shape: Shape, name: str, *, transposed: bool) -> None:
    """source [K, N], or [N, K] if transposed, into panels [N / panel, K, panel] padded with 0."""
    with Kernel(module, shape, name, "source packed", "row K N") as k:
        source, packed = k["source packed"]
        row, K, N = k["row K N"]
        with k.loop(0, N, shape.panel) as n, k.loop(0, K) as d:
            to = packed + n * K + d * shape.panel
            if transposed:
                columns = k.minimum(N - n, shape.panel)
                with k.loop(0, columns) as column:
                    (to + column).store((source + (n + column) * row + d).load())
                with k.loop(columns, shape.panel) as column:
                    (to + column).store(Value(k, k.real(0)))
            else:
                for v in range(shape.vectors):
                    mask = k.lanes(N - n - v * shape.width)
                    (to + v * shape.width).store(
                        (source + d * row + n + v * shape.width).vector(mask)
                    )


def _gradient(module: ir.Module, shape: Shape, rows: Any) -> None:
    """c [M, N] = init + y^T x for y [K, M], x [K, N]; sums [M] += the columns of y.

    init is 0 or c itself. ``room`` is for one block of either operand, packed.
    """
    names = "y_row x_row c_row M K N"
    with Kernel(module, shape, "gradient", "y x init c sums room", names) as k:
        y, x, init, c, sums, room = k["y x init c sums room"]
        y_row, x_row, c_row, M, K, N = k[names]
        left, right = room, room + DEPTH * ROWS
        with k.loop(0, K, DEPTH) as block:
            depth = k.minimum(K - block, DEPTH)
            start = block.compare("==", 0).where(init, c)
            k.call(module.get_global("pack"), x + block * x_row, right, x_row, depth, N)
            with k.loop(0, M, ROWS) as m:
                height = k.minimum(M - m, ROWS)
                _pack_tiles(k, y + (block * y_row + m), y_row, depth, height, sums + m, left)
                with k.loop(0, N, shape.panel) as n:
                    at = m * c_row + n
                    k.call(
                        rows,
                        *(left, right + n * depth, start.given().where(start + at, start), c + at),
                        *(1, 0, shape.panel, c_row, c_row, depth),
                        *(k.minimum(N - n, shape.panel), height, 1),
                    )


def _pack_tiles(
    k: Kernel, y: Pointer, y_row: Value, depth: Value, height: Value, sums: Pointer, room: Pointer
) -> None:
    """y [depth, height] tile after tile, [depth, rows] each, as ``rows`` cuts them."""
    count = (height + (k.shape.rows - 1)) // k.shape.rows
    with k.loop(0, count) as tile:
        first = tile * height // count
        size = (tile + 1) * height // count - first
        mask = k.lanes(size)
        total = Variable(k, k.real_vector(0))
        with k.loop(0, depth) as d:
            row = (y + d * y_row + first).vector(mask)
            (room + first * depth + d * size).store_vector(row, mask)
            total.set(total.get() + row)
        (sums + first).store_vector((sums + first).vector(mask) + total.get(), mask)
