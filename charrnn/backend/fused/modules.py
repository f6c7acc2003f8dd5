"""The modules that kernels are compiled in; imported only where one has to be."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from charrnn.backend.fused import generation, losses, pointwise, products, recurrence, rows
from charrnn.backend.fused.shape import Shape


def text(name: str, shape: Shape, trace: Any) -> str:
    """A module in LLVM's language: ``trace``: the cell or the update that it is for."""
    module = ir.Module(name)
    if name == "products":
        products.build(module, shape)
    elif name == "cell":
        recurrence.build(module, shape, trace)
    elif name == "generation":
        generation.build(module, shape)
    elif name == "update":
        pointwise.build_update(module, shape, trace)
    else:
        for part in (rows, losses, pointwise):
            part.build(module, shape)
    return str(module)
