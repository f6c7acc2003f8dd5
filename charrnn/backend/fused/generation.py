"""Drawing symbols one after another without going back to Python between them."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from charrnn.backend.fused.emit import I64, POINTER, Kernel, Value, Variable
from charrnn.backend.fused.losses import exponentials
from charrnn.backend.fused.shape import Shape

#: What ``generate`` reads of each layer, in this order: addresses, and sizes of its matrices.
LAYER = (
    *("weight_ih", "bias_ih", "gates", "recurrent", "weight_hh", "bias_hh", "states", "saved"),
    *("inputs", "hidden", "width"),
)
POINTERS = (
    "layers:i64 table embedding x ids:i64 decoder bias logits inverse_temperature draws:f64 out:i64"
)
INTEGERS = "steps B L V E"


def build(module: ir.Module, shape: Shape) -> None:
    """Emit ``generate``; it calls ``gemm``, ``gather`` and the cell's ``forward``.

    ``ids`` [B] go in and come out as the last that were drawn; ``out`` [steps, B] gets all. The
    states begin at their first place and end there after an even number of steps. Either
    ``table`` [V, K*H] holds the first layer's input product of each symbol, or it is 0.
    An inverse temperature of 0 takes the likeliest symbol; symbol 0 is never drawn.
    """

    def imported(name: str, pointers: int, integers: int) -> Any:
        kinds = [POINTER] * pointers + [I64] * integers
        return ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)

    gemm, gather = imported("gemm", 4, 7), imported("gather", 3, 2)
    forward = imported("forward", 6, 4)
    choose = _choose(module, shape)
    with Kernel(module, shape, "generate", POINTERS, INTEGERS) as k:
        layers, table, embedding, x, ids, decoder, bias, logits = k[
            "layers table embedding x ids decoder bias logits"
        ]
        steps, B, L, V, E = k[INTEGERS]

        with k.loop(0, steps) as step:
            back = step - step // 2 * 2  # states go to and fro between two places
            below = Variable(k, k.address(x))

            with k.loop(0, L) as layer:
                record = {name: (layers + (layer * len(LAYER) + n)).load()
                          for n, name in enumerate(LAYER)}  # fmt: skip
                at = {name: k.pointer(value) for name, value in record.items()}
                H, width = record["hidden"], record["width"]
                first = layer.compare("==", 0)
                with k.either(first & table.given()) as (yes, no):
                    with yes:
                        k.call(gather, table, ids, at["gates"], B, width)
                    with no:
                        with k.when(first):
                            k.call(gather, embedding, ids, x, B, E)
                        inputs = record["inputs"]
                        k.call(
                            gemm,
                            *(k.pointer(below.get()), at["weight_ih"], at["bias_ih"], at["gates"]),
                            *(inputs, 1, 0, width, B, inputs, width),
                        )
                k.call(
                    forward,
                    *(at["gates"], at["recurrent"], at["weight_hh"], at["bias_hh"]),
                    *(at["states"], at["saved"], 1, B, H, back),
                )
                below.set(k.address(at["states"] + (1 - back) * B * H))

            H = (layers + (L * len(LAYER) - 2)).load()
            k.call(gemm, k.pointer(below.get()), decoder, bias, logits, H, 1, 0, V, B, H, V)
            with k.loop(0, B) as b:
                to = k["out"] + (step * B + b)
                k.call(choose, logits + b * V, k["inverse_temperature"],
                       k["draws"] + (step * B + b), to, V)  # fmt: skip
                (ids + b).store(to.load())


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
