"""Traced expressions (``backend/trace.py``) as code over vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from charrnn.backend.fused.emit import Kernel, Value
from charrnn.backend.trace import Expression


def emit(k: Kernel, expressions: list[Any], load: Callable[[str, Any], Value]) -> list[Value]:
    """The code of expressions, each operation once; ``load(name, index)`` reads an input."""
    done: dict[int, Value] = {}
    number: dict[str, Callable[..., Value]] = {
        "add": lambda a, b: a + b,
        "subtract": lambda a, b: a - b,
        "multiply": lambda a, b: a * b,
        "divide": lambda a, b: a / b,
        "tanh": k.tanh,
        "sqrt": k.sqrt,
        # What is not a number, whichever it is.
        "maximum": lambda a, b: b.compare("==", b).where(b.compare(">", a).where(b, a), b),
        "sign": lambda a: a.compare(">", 0.0).where(1.0, a.compare("<", 0.0).where(-1.0, a)),
    }

    def visit(e: Any) -> Value:
        if not isinstance(e, Expression):
            return k.real_vector(float(e))
        if id(e) not in done:
            if e.operation == "input":
                done[id(e)] = load(*e.operands)
            else:
                done[id(e)] = number[e.operation](*map(visit, e.operands))
        return done[id(e)]

    return [visit(e) for e in expressions]
