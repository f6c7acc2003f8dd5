"""Passes over flat arrays: an optimiser's update, a sum of squares, dropout."""

from __future__ import annotations

from llvmlite import ir

from charrnn.backend.fused.emit import Kernel, Pointer, Value, Variable
from charrnn.backend.fused.expressions import emit
from charrnn.backend.fused.shape import Shape
from charrnn.backend.trace import UpdateTrace


def build_update(module: ir.Module, shape: Shape, update: UpdateTrace) -> None:
    """Emit ``update``: pointers to scalars, p, g and each slot; N."""
    names = [f"slot{n}" for n in range(update.slots)]
    with Kernel(module, shape, "update", " ".join(["scalars", "p", "g", *names]), "N") as k:
        fixed = [k.splat((k["scalars"] + n).load()) for n in range(update.scalars)]

        def body(j: Value, mask: Value | None) -> None:
            def load(name: str, index: tuple[int, ...]) -> Value:
                if name == "scalars":
                    return fixed[index[0]]
                array: Pointer = k[f"slot{index[0]}" if name == "slots" else name]
                return (array + j).vector(mask)

            for name, value in zip(["p", *names], emit(k, update.results, load), strict=True):
                (k[name] + j).store_vector(value, mask)

        k.each_vector(k["N"], body)


def build(module: ir.Module, shape: Shape) -> None:
    """Emit ``sum_of_squares`` (x [N] -> total, in double precision) and ``dropout``."""
    with Kernel(module, shape, "sum_of_squares", "x total:f64", "N") as k:
        x, total = k["x total"]
        sums = Variable(k, k.real_vector(0))
        double = Variable(k, k.double(0))
        block = 256 * shape.width

        def drain() -> None:
            double.set(double.get() + k.as_double(k.sum(sums.get())))
            sums.set(k.real_vector(0))

        with k.loop(0, k["N"], block) as start:
            count = k.minimum(k["N"] - start, k.like(block, ir.IntType(64)))

            def add(j: Value, mask: Value | None) -> None:
                v = (x + start + j).vector(mask)
                sums.set(k.fma(v, v, sums.get()))

            k.each_vector(count, add)
            drain()
        total.store(double.get())

    with Kernel(module, shape, "dropout", "x draws:u16 out scale", "N threshold") as k:
        x, draws, out = k["x draws out"]
        factor = k.splat(k["scale"].load())
        kind = ir.VectorType(ir.IntType(16), shape.width)
        limit = k.like(Value(k, k.builder.trunc(k["threshold"].llvm, ir.IntType(16))), kind)

        def drop(j: Value, mask: Value | None) -> None:
            drawn = (draws + j).vector(mask).llvm
            kept = Value(k, k.builder.icmp_unsigned(">=", drawn, limit.llvm))
            value = (x + j).vector(mask) * kept.where(factor, 0.0)
            (out + j).store_vector(value, mask)

        k.each_vector(k["N"], drop)
