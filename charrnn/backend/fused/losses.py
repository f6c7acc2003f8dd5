"""Softmax, cross-entropy and its gradient, row by row while the row is in the cache."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from charrnn.backend.fused.emit import Kernel, Pointer, Value, Variable
from charrnn.backend.fused.shape import Shape

#: Logits so far below the largest count for nothing; their exponentials would become denormal,
#: which processors multiply slowly.
_LEAST = -80.0


def build(module: ir.Module, shape: Shape) -> None:
    """Emit ``cross_entropy``, which is ``layers.head.cross_entropy``; scale is a pointer."""
    with Kernel(
        module, shape, "cross_entropy", "logits targets:i64 losses scale", "N V gradient"
    ) as k:
        logits, targets, losses, scale = k["logits targets losses scale"]
        N, V, gradient = k["N V gradient"]
        factor = scale.load()
        with k.loop(0, N) as n:
            row = logits + n * V
            target = row + (targets + n).load()

            # Once ``target`` holds an exponential, its logit is gone.
            logit = target.load()
            top, mass = exponentials(k, row, V)
            (losses + n).store(k.log(mass) - (logit - top))

            with k.when(gradient.compare("!=", 0)):

                def scale_down(j: Value, mask: Value | None) -> None:
                    (row + j).store_vector((row + j).vector(mask) * (factor / mass), mask)

                k.each_vector(V, scale_down)
                target.store(target.load() - factor)


def exponentials(k: Kernel, row: Pointer, V: Value, scale: Value | None = None) -> Any:
    """row [V] <- exp(scale * (row - max)); gives the maximum and the sum of what that makes."""
    low = k.real_vector(float("-inf"))
    largest = Variable(k, low)

    def find_largest(j: Value, mask: Value | None) -> None:
        x = (row + j).vector(mask)
        x = x if mask is None else mask.where(x, low)
        largest.set(k.maximum(x, largest.get()))

    k.each_vector(V, find_largest)
    top = k.max(largest.get())
    total = Variable(k, k.real_vector(0))

    def exponentiate(j: Value, mask: Value | None) -> None:
        x = (row + j).vector(mask) - k.splat(top)
        x = x if scale is None else x * k.splat(scale)
        e = x.compare("<", _LEAST).where(0.0, k.exp(x))
        (row + j).store_vector(e, mask)
        e = e if mask is None else mask.where(e, 0.0)
        total.set(total.get() + e)

    k.each_vector(V, exponentiate)
    return top, k.sum(total.get())
