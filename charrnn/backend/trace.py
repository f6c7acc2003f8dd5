"""From a pointwise function written for arrays to the expression of one element.

A function of ``cells/`` or ``optim.py`` runs once on arrays of ``Expression`` in place of
numbers, with ``SYMBOLS`` in place of NumPy. What it leaves in the arrays is what it computes for
each element, however many passes over memory it was written in; a backend makes one pass of it,
in LLVM's language (``fused/expressions.py``) or in CUDA C (``cuda/sources.py``). So the readable
form is the only form, and whatever is written that way is fast.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class Expression:
    """A number that is not known yet: a named input, a constant, or an operation on others."""

    def __init__(self, operation: str, *operands: Any) -> None:
        self.operation = operation
        self.operands = operands

    def __add__(self, other: Any) -> Expression:
        return Expression("add", self, other)

    def __sub__(self, other: Any) -> Expression:
        return Expression("subtract", self, other)

    def __rsub__(self, other: Any) -> Expression:
        return Expression("subtract", other, self)

    def __mul__(self, other: Any) -> Expression:
        return Expression("multiply", self, other)

    def __truediv__(self, other: Any) -> Expression:
        return Expression("divide", self, other)

    def __rtruediv__(self, other: Any) -> Expression:
        return Expression("divide", other, self)

    __radd__, __rmul__ = __add__, __mul__

    def _unknown(self, *others: Any) -> bool:
        raise TypeError("a comparison of numbers that are not known yet")

    __bool__ = __eq__ = __ne__ = _unknown  # without these, Python has an answer of its own
    __hash__ = None  # type: ignore[assignment]

    def tanh(self) -> Expression:
        return Expression("tanh", self)

    def sqrt(self) -> Expression:
        return Expression("sqrt", self)


class _Symbols:
    """Stands in for NumPy where a function is traced; has what kernels can be made of."""

    maximum = staticmethod(np.frompyfunc(lambda a, b: Expression("maximum", a, b), 2, 1))
    sign = staticmethod(np.frompyfunc(lambda a: Expression("sign", a), 1, 1))
    add, subtract, multiply, divide = np.add, np.subtract, np.multiply, np.divide
    tanh, sqrt = np.tanh, np.sqrt

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(f"xp.{name} cannot be compiled yet: add it to {__name__}")


SYMBOLS = _Symbols()


def inputs(name: str, *shape: int) -> np.ndarray[Any, Any]:
    """An array of named inputs, to trace a function with."""
    array = np.empty(shape, dtype=object)
    for index in np.ndindex(shape):
        array[index] = Expression("input", name, index)
    return array


def reads(expressions: list[Any]) -> list[tuple[str, Any]]:
    """The inputs, (name, index), that expressions are made of."""
    found: dict[tuple[str, Any], None] = {}
    seen: set[int] = set()

    def visit(e: Any) -> None:
        if isinstance(e, Expression) and id(e) not in seen:
            seen.add(id(e))
            if e.operation == "input":
                found[e.operands] = None
            else:
                for operand in e.operands:
                    visit(operand)

    for e in expressions:
        visit(e)
    return list(found)


def described(expressions: list[Any]) -> str:
    """A text that two lists share only if they compute the same."""
    numbers: dict[int, int] = {}
    lines: list[str] = []

    def visit(e: Any) -> str:
        if not isinstance(e, Expression):
            return repr(float(e))
        if e.operation == "input":
            return f"{e.operands[0]}{e.operands[1]}"
        if id(e) not in numbers:
            line = f"{e.operation} {' '.join(visit(o) for o in e.operands)}"
            numbers[id(e)] = len(lines)
            lines.append(line)
        return f"%{numbers[id(e)]}"

    ends = [visit(e) for e in expressions]
    return "\n".join([*lines, *ends])


Arrays = dict[str, Any]


class CellTrace:
    """What a cell computes for one element, in both directions.

    ``forward`` and ``backward`` map each element that they write, (array, index), to what it
    becomes. An array's index is (step's own order..., 0, block): blocks of H columns.
    """

    def __init__(self, cell: Any) -> None:
        gates, states = len(cell.gates), len(cell.states)
        self.gates, self.states = gates, states
        self.saved: int = cell.saved
        self.additive = cell.additive

        shapes: dict[str, tuple[int, ...]] = {
            **dict.fromkeys(("gates", "recurrent", "drecurrent"), (1, gates)),
            **dict.fromkeys(("previous", "state", "dstate"), (states, 1, 1)),
            "saved": (self.saved, 1, 1),
            "scratch": (2, 1, 1),
            "dy": (1, 1),
        }

        def arrays() -> tuple[Arrays, Arrays]:
            """Inputs, to work on and as they were."""
            made = {name: inputs(name, *shape) for name, shape in shapes.items()}
            return made, {name: array.copy() for name, array in made.items()}

        a, before = arrays()
        previous, state = list(a["previous"]), list(a["state"])
        scratch = a["scratch"]
        cell.forward(SYMBOLS, a["gates"], a["recurrent"], previous, state, a["saved"], scratch)
        self.forward = _changes(before, a, ("gates", "state", "saved"))
        _check(self.forward, {"gates", "recurrent", "previous"})

        a, before = arrays()
        previous, state, dstate = (list(a[name]) for name in ("previous", "state", "dstate"))
        dstate[0] += a["dy"]
        drecurrent = a["gates" if cell.additive else "drecurrent"]
        cell.backward(
            *(SYMBOLS, a["gates"], a["saved"], previous, state, dstate, drecurrent, a["scratch"])
        )
        self.backward = _changes(before, a, ("gates", "drecurrent", "dstate"))
        _check(self.backward, {"gates", "saved", "previous", "state", "dstate", "dy"})

    def __repr__(self) -> str:
        lines = [f"{self.gates} {self.states} {self.saved} {self.additive}"]
        for changes in (self.forward, self.backward):
            lines += [str(list(changes)), described(list(changes.values()))]
        return "\n".join(lines)


def _check(changes: dict[tuple[str, Any], Any], known: set[str]) -> None:
    """Raise where what is written depends on what nobody has written before."""
    unknown = {name for name, _ in reads(list(changes.values()))} - known
    if unknown:
        raise ValueError(f"a cell reads what holds nothing yet: {', '.join(sorted(unknown))}")


def _changes(before: Arrays, after: Arrays, names: tuple[str, ...]) -> dict[tuple[str, Any], Any]:
    """What the elements of these arrays became, of those that are another than before."""
    return {
        (name, index): after[name][index]
        for name in names
        for index in np.ndindex(after[name].shape)
        if after[name][index] is not before[name][index]
    }


class UpdateTrace:
    """What an optimiser's update does to one element: new ``p`` and slots, in this order."""

    def __init__(self, update: Any, slots: int) -> None:
        self.slots, self.scalars = slots, 4
        p, g, state = inputs("p", 1), inputs("g", 1), inputs("slots", slots, 1)
        scratch = inputs("scratch", 1)
        update(SYMBOLS, p, g, list(state), inputs("scalars", self.scalars), scratch)
        self.results = [p[0], *state[:, 0]]

    def __repr__(self) -> str:
        return described(self.results)
