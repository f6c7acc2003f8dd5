"""Softmax, cross-entropy and its gradient, ranks: row by row while the row is in the cache."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from charrnn.backend.fused.emit import Kernel, Pointer, Value, Variable
from charrnn.backend.fused.shape import Shape

#: Logits so far below the largest count for nothing; their exponentials would become denormal,
#: which processors multiply slowly.
_LEAST = -80.0


def build(module: ir.Module, shape: Shape) -> None:
    """Emit ``cross_entropy``, which is ``layers.head.cross_entropy``; scale is a pointer.

    And ``rank``, which is ``verdicts.rank``.
    """
    _rank(module, shape)
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


def _rank(module: ir.Module, shape: Shape) -> None:
    with Kernel(module, shape, "rank", "logits targets:i64 nats:f64 ranks:i64 top:f64", "N V") as k:
        logits, targets, nats, ranks, top = k["logits targets nats ranks top"]
        N, V = k["N V"]
        with k.loop(0, N) as n:
            row = logits + n * V
            largest = _largest(k, row, V)
            of_target = (row + (targets + n).load()).load() - largest
            likelier = Variable(k, k.real_vector(0))
            mass = Variable(k, k.as_double(k.real_vector(0)))

            def count(j: Value, mask: Value | None) -> None:
                x = (row + j).vector(mask) - k.splat(largest)
                e = x.compare("<", _LEAST).where(0.0, k.exp(x))
                one = x.compare(">", k.splat(of_target)).where(1.0, k.real_vector(0))
                if mask is not None:
                    e, one = mask.where(e, 0.0), mask.where(one, 0.0)
                likelier.set(likelier.get() + one)
                mass.set(mass.get() + k.as_double(e))

            k.each_vector(V, count)
            total = k.sum(mass.get())
            (nats + n).store(k.log(total) - k.as_double(of_target))
            (top + n).store(k.double(1) / total)
            (ranks + n).store(k.as_integer(k.sum(likelier.get())) + 1)


def _largest(k: Kernel, row: Pointer, V: Value) -> Value:
    """The maximum of row [V]."""
    low = k.real_vector(float("-inf"))
    largest = Variable(k, low)

    def find(j: Value, mask: Value | None) -> None:
        x = (row + j).vector(mask)
        x = x if mask is None else mask.where(x, low)
        largest.set(k.maximum(x, largest.get()))

    k.each_vector(V, find)
    return k.max(largest.get())


def exponentials(k: Kernel, row: Pointer, V: Value, scale: Value | None = None) -> Any:
    """row [V] <- exp(scale * (row - max)); gives the maximum and the sum of what that makes."""
    top = _largest(k, row, V)
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
