"""Drawing symbols one after another without going back to Python between them."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from charrnn.backend.fused.emit import I64, POINTER, Kernel, Pointer, Value, Variable
from charrnn.backend.fused.losses import exponentials
from charrnn.backend.fused.recurrence import product_of_units
from charrnn.backend.fused.shape import Shape

#: What ``generate`` reads of each layer, in this order: addresses, and sizes of its matrices.
LAYER = (
    *("weight_ih", "bias_ih", "gates", "recurrent", "weight_hh", "bias_hh", "states", "saved"),
    *("inputs", "hidden", "width"),
)
POINTERS = (
    "layers:i64 table embedding x ids:i64 decoder bias logits inverse_temperature "
    "arrived:i64 draws:f64 out:i64"
)
INTEGERS = "steps B L V E worker workers"

_PATIENCE = 4096  # looks at the others before this thread lets another have the processor


def build(module: ir.Module, shape: Shape) -> None:
    """Emit ``generate``; it calls ``gemm``, ``gather`` and the cell's ``forward``.

    ``ids`` [B] go in and come out as the last that were drawn; ``out`` [steps, B] gets all. The
    states begin at their first place and end there after an even number of steps. Either
    ``table`` [V, K*H] holds the first layer's input product of each symbol, or it is 0.
    An inverse temperature of 0 takes the likeliest symbol; symbol 0 is never drawn.

    Several workers may do it together, each in a thread of its own: the weights of a large model
    come from memory at every step, and each brings in a part. They wait for each other after each
    layer, counting in ``arrived``, which begins at 0. H is then a multiple of the panel.
    """

    def imported(name: str, pointers: int, integers: int) -> Any:
        kinds = [POINTER] * pointers + [I64] * integers
        return ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)

    gemm, gather = imported("gemm", 4, 7), imported("gather", 3, 2)
    forward = imported("forward", 6, 8)
    choose = _choose(module, shape)
    wait = _wait(module, shape)
    with Kernel(module, shape, "generate", POINTERS, INTEGERS) as k:
        layers, table, embedding, x, ids, decoder, bias, logits = k[
            "layers table embedding x ids decoder bias logits"
        ]
        steps, B, L, V, E, worker, workers = k[INTEGERS]
        meetings = Variable(k, Value(k, I64(0)))

        def meet() -> None:
            """Go on when all workers have come here."""
            meetings.set(meetings.get() + 1)
            k.call(wait, k["arrived"], meetings.get() * workers, workers)

        def share(count: Value) -> tuple[Value, Value]:
            """This worker's part of so many columns, in whole panels."""
            panels = (count + (shape.panel - 1)) // shape.panel
            first, last = panels * worker // workers, panels * (worker + 1) // workers
            return first * shape.panel, k.minimum(last * shape.panel, count)

        with k.loop(0, steps) as step:
            back = step - step // 2 * 2  # states go to and fro between two places
            below = Variable(k, k.address(x))

            with k.loop(0, L) as layer:
                record = {name: (layers + (layer * len(LAYER) + n)).load()
                          for n, name in enumerate(LAYER)}  # fmt: skip
                at = {name: k.pointer(value) for name, value in record.items()}
                H, width, inputs = record["hidden"], record["width"], record["inputs"]
                units = share(H)
                lowest = layer.compare("==", 0)
                with k.either(lowest & table.given()) as (yes, no):
                    with yes:
                        _look_up(k, table, ids, at["gates"], B, H, width, units)
                    with no:
                        with k.when(lowest):  # each worker all of it: there is no waiting here
                            k.call(gather, embedding, ids, x, B, E)
                        left = k.pointer(below.get())
                        product_of_units(
                            k, gemm, width // H, left, at["weight_ih"], at["bias_ih"],
                            at["gates"], B, inputs, H, *units,
                        )  # fmt: skip
                k.call(
                    forward,
                    *(at["gates"], at["recurrent"], at["weight_hh"], at["bias_hh"]),
                    *(at["states"], at["saved"], 1, B, H, back, *units, 0, 1),
                )
                meet()
                below.set(k.address(at["states"] + (1 - back) * B * H))

            H = (layers + (L * len(LAYER) - 2)).load()
            first, last = share(V)
            k.call(gemm, k.pointer(below.get()), decoder + first * H, bias + first, logits + first,
                   H, 1, 0, V, B, H, last - first)  # fmt: skip
            meet()
            with k.when(worker.compare("==", 0)), k.loop(0, B) as b:
                to = k["out"] + (step * B + b)
                k.call(choose, logits + b * V, k["inverse_temperature"],
                       k["draws"] + (step * B + b), to, V)  # fmt: skip
                (ids + b).store(to.load())
            meet()


def _look_up(
    k: Kernel, table: Pointer, ids: Pointer, gates: Pointer, B: Value, H: Value, width: Value,
    units: tuple[Value, Value],
) -> None:  # fmt: skip
    """gates [B, width] = table[ids], but only the columns of some hidden units."""
    first, last = units
    with k.loop(0, B) as b, k.loop(0, width // H) as gate:
        column = gate * H + first
        source, to = table + ((ids + b).load() * width + column), gates + (b * width + column)

        def copy(j: Value, mask: Value | None) -> None:
            (to + j).store_vector((source + j).vector(mask), mask)

        k.each_vector(last - first, copy)


def _wait(module: ir.Module, shape: Shape) -> Any:
    """Count one more in ``arrived`` and wait until there are ``wanted``, if there are others."""
    yield_ = ir.Function(module, ir.FunctionType(ir.IntType(32), []), "sched_yield")
    with Kernel(module, shape, "wait", "arrived:i64", "wanted workers") as k:
        place = k["arrived"].llvm
        with k.when(k["workers"].compare(">", 1)):
            builder = k.builder
            builder.atomic_rmw("add", place, I64(1), "seq_cst")
            look, again = (builder.append_basic_block(n) for n in ("look", "again"))
            end = builder.append_basic_block("end")
            before = builder.block
            builder.branch(look)
            builder.position_at_end(look)
            looks = builder.phi(I64)
            looks.add_incoming(I64(0), before)
            seen = Value(k, builder.load_atomic(place, "seq_cst", 8, typ=I64))
            builder.cbranch(seen.compare("<", k["wanted"]).llvm, again, end)
            builder.position_at_end(again)
            with k.when(Value(k, looks).compare(">", _PATIENCE)):
                builder.call(yield_, [])
            looks.add_incoming(builder.add(looks, I64(1)), builder.block)
            builder.branch(look)
            builder.position_at_end(end)
    return k.function


def _choose(module: ir.Module, shape: Shape) -> Any:
    """chosen = the symbol at ``draw`` in the distribution of logits [V]; uses them up."""
    with Kernel(
        module, shape, "choose", "logits inverse_temperature draw:f64 chosen:i64", "V"
    ) as k:
        logits, inverse, draw, chosen, V = k["logits inverse_temperature draw chosen V"]
        low = Value(k, k.real(float("-inf")))
        logits.store(low)  # the unknown symbol
        temperate = inverse.load().compare(">", 0.0)

        with k.either(temperate) as (yes, no):
            with yes:
                _, total = exponentials(k, logits, V, inverse.load())
                # The inverse of the distribution: as many symbols as end at or below the draw.
                target = draw.load() * k.as_double(total)
                mass, place = Variable(k, k.double(0)), Variable(k, Value(k, I64(1)))
                last = Variable(k, Value(k, I64(1)))  # that has any probability
                with k.loop(1, V) as j:
                    e = (logits + j).load()
                    last.set(e.compare(">", 0.0).where(j, last.get()))
                    mass.set(mass.get() + k.as_double(e))
                    passed = mass.get().compare("<=", target)
                    place.set(passed.where(j + 1, place.get()))
                # By rounding, the sum may end below a draw next to 1.
                chosen.store(k.minimum(place.get(), last.get()))
            with no:
                best, at = Variable(k, low), Variable(k, Value(k, I64(1)))
                with k.loop(1, V) as j:
                    x = (logits + j).load()
                    larger = x.compare(">", best.get())
                    at.set(larger.where(j, at.get()))
                    best.set(larger.where(x, best.get()))
                chosen.store(at.get())
    return k.function
