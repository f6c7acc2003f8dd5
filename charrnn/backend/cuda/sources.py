"""CUDA C of the pointwise kernels, one thread an element, from the traces of ``backend/trace.py``.

The code includes nothing and uses no more of CUDA than a few words, so that the tests can compile
it as C++ as well and hold what it computes against the functions that were traced. Sizes and
indices are 64 bits wide. ``real`` is float or double.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from charrnn.backend.trace import CellTrace, Expression, UpdateTrace, reads


class Source(NamedTuple):
    """Code of one kernel."""

    name: str
    text: str
    arrays: tuple[str, ...]
    """The arrays that it takes, by name, before its numbers."""


def source(
    dtype: np.dtype[Any],
    name: str,
    arrays: dict[str, str],
    numbers: dict[str, str],
    body: str,
    device: str = "",
) -> Source:
    """A kernel of these arguments, each with its type, in this order; ``device``: what it calls."""
    words = [f"{kind} *{array}" for array, kind in arrays.items()]
    words += [f"{kind} {number}" for number, kind in numbers.items()]
    real = "float" if dtype.itemsize == 4 else "double"
    text = f"typedef {real} real;\n{_HELPERS}{device}\n"
    text += f'extern "C" __global__ void {name}({", ".join(words)})\n{{\n{body}\n}}\n'
    return Source(name, text, tuple(arrays))


#: What is not a number stays none, whichever of two it is.
_HELPERS = """
static __device__ inline real maximum(real a, real b) { return a != a || a >= b ? a : b; }
static __device__ inline real sign(real a) { return a > 0 ? 1 : a < 0 ? -1 : a; }
"""

#: To the nearest of bfloat16, half way to the even.
_BF16 = """
static __device__ inline unsigned short bf16(float x)
{
    union { float value; unsigned bits; } number;
    number.value = x;
    return x == x ? (number.bits + 0x7fff + (number.bits >> 16 & 1)) >> 16 : 0x7fff;
}
"""

_OPERATIONS = {
    "add": "{} + {}",
    "subtract": "{} - {}",
    "multiply": "{} * {}",
    "divide": "{} / {}",
    "tanh": "tanh({})",
    "sqrt": "sqrt({})",
    "maximum": "maximum({}, {})",
    "sign": "sign({})",
}


def assignments(changes: dict[str, Any], load: Callable[[str, Any], str]) -> str:
    """Code that gives each place the value of its expression; ``load(name, index)`` is an input.

    Each operation is done once, and everything is read before anything is written.
    """
    lines: list[str] = []
    names: dict[int, str] = {}

    def visit(e: Any) -> str:
        if not isinstance(e, Expression):
            return f"(real){float(e)!r}"
        if id(e) not in names:
            if e.operation == "input":
                value = load(*e.operands)
            else:
                value = _OPERATIONS[e.operation].format(*map(visit, e.operands))
            names[id(e)] = f"v{len(names)}"
            lines.append(f"const real {names[id(e)]} = {value};")
        return names[id(e)]

    written = [f"{place} = {visit(e)};" for place, e in changes.items()]
    return "\n".join(f"    {line}" for line in lines + written)


# A step of a cell

#: For the memory of a scan (``layers/scan.py``), the element of hidden unit ``j`` of sequence
#: ``b`` at step ``t``; ``n`` is the number of a gate, a state or what else there are several of.
_PLACES = {
    "gates": "gates[((t * B + b) * {gates} + {n}) * H + j]",
    "recurrent": "recurrent[(b * {gates} + {n}) * H + j]",
    "bias": "bias[{n} * H + j]",
    "previous": "states[(({n} * (T + 1) + t + back) * B + b) * H + j]",
    "state": "states[(({n} * (T + 1) + t + 1 - back) * B + b) * H + j]",
    "saved": "saved[((t * {saved} + {n}) * B + b) * H + j]",
    "drecurrent": "drecurrent[((t * B + b) * {gates} + {n}) * H + j]",
    "dstate": "dstate[({n} * B + b) * H + j]",
    "product": "product[b * H + j]",
    "dy": "dy[t * dy_step + b * dy_row + j]",
    "rounded": "rounded[(b * {blocks} + {n}) * H + j]",
}
_SIZES = ("t", "T", "B", "H", "back")


Factors = list[tuple[str, tuple[int, ...]]]


def forward(dtype: np.dtype[Any], name: str, cell: CellTrace, *, rounds: bool = False) -> Source:
    """The pointwise part of step ``t`` for all B sequences and H units.

    ``back`` is 1 where time runs backwards, else 0. The bias of the recurrent product is added
    here, unless it is in the input product already. ``rounds``: what the next recurrent product
    multiplies goes to ``rounded`` in bfloat16 as well, here h.
    """
    added: dict[str, list[str]] = {"recurrent": [] if cell.additive else ["bias"]}
    factors: Factors = [("state", (0, 0, 0))] if rounds else []
    return _step(dtype, f"{name}_forward", cell, cell.forward, added, _SIZES, factors)


def backward(dtype: np.dtype[Any], name: str, cell: CellTrace, *, rounds: bool = False) -> Source:
    """Likewise of the way back. ``product`` [B, H] is the step after's part of the gradient of h.

    In ``dy``, ``dy_step`` and ``dy_row`` numbers lie from one step and one sequence to the next.
    """
    numbers = (*_SIZES, "dy_step", "dy_row")
    gradient = "gates" if cell.additive else "drecurrent"
    factors: Factors = [(gradient, (0, n)) for n in range(cell.gates)] if rounds else []
    added = {"dstate": ["product"]}
    return _step(dtype, f"{name}_backward", cell, cell.backward, added, numbers, factors)


def _step(
    dtype: np.dtype[Any],
    name: str,
    cell: CellTrace,
    changes: dict[tuple[str, Any], Any],
    added: dict[str, list[str]],
    numbers: tuple[str, ...],
    factors: Factors,
) -> Source:
    """``added``: to what is read of an array (of several states, the first) this comes on top.

    ``factors`` are what is kept in ``rounded`` as well, one block of H after the other.
    """

    def place(array: str, index: tuple[int, ...]) -> str:
        n = index[1] if array in ("gates", "recurrent", "bias", "drecurrent") else index[0]
        sizes = {"gates": cell.gates, "saved": cell.saved, "blocks": len(factors)}
        return _PLACES[array].format(n=n, **sizes)

    def load(array: str, index: tuple[int, ...]) -> str:
        more = [] if array == "dstate" and index[0] else added.get(array, [])
        return " + ".join(place(a, index) for a in (array, *more))

    code = assignments({place(*at): value for at, value in changes.items()}, load)
    for n, at in enumerate(factors):
        code += f"\n    {place('rounded', (n,))} = bf16({place(*at)});"
    read, written = {array for array, _ in reads(list(changes.values()))}, {a for a, _ in changes}
    read |= {more for array in read for more in added.get(array, [])}
    arrays = {
        array: "real" if kinds & written else "const real"
        for array, kinds in ((a, {"previous", "state"} if a == "states" else {a}) for a in _ARRAYS)
        if kinds & (read | written)
    }
    if factors:
        name, arrays = f"{name}_bf16", arrays | {"rounded": "unsigned short"}
    body = f"""\
    const long long b = blockIdx.x, j = (long long)blockIdx.y * blockDim.x + threadIdx.x;
    if (j >= H) return;
{code}"""
    device = _BF16 if factors else ""
    return source(dtype, name, arrays, dict.fromkeys(numbers, "long long"), body, device)


_ARRAYS = ("gates", "recurrent", "bias", "drecurrent", "states", "saved", "dstate", "product", "dy")

# Flat arrays

_EACH = """\
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= N) return;
"""


def update(dtype: np.dtype[Any], name: str, trace: UpdateTrace) -> Source:
    """An optimiser's update of N parameters, in place."""
    slots = [f"slot{n}" for n in range(trace.slots)]

    def load(array: str, index: tuple[int, ...]) -> str:
        if array == "scalars":
            return f"scalars[{index[0]}]"
        return f"slot{index[0]}[i]" if array == "slots" else f"{array}[i]"

    changes = {f"{array}[i]": e for array, e in zip(["p", *slots], trace.results, strict=True)}
    arrays = {"scalars": "const real", "p": "real", "g": "const real"} | dict.fromkeys(
        slots, "real"
    )
    body = _EACH + assignments(changes, load)
    return source(dtype, f"update_{name}", arrays, {"N": "long long"}, body)


def scatter_add(dtype: np.dtype[Any]) -> Source:
    """``Backend.scatter_add`` of ids [N] and rows [N, E]; equal ids in their order, every time."""
    arrays = {"table": "real", "ids": "const long long", "rows": "const real"}
    body = """\
    const long long v = blockIdx.x, j = (long long)blockIdx.y * blockDim.x + threadIdx.x;
    if (j >= E) return;
    real total = table[v * E + j];
    for (long long n = 0; n < N; n++)
        if (ids[n] == v) total += rows[n * E + j];
    table[v * E + j] = total;"""
    return source(dtype, "scatter_add", arrays, dict.fromkeys(("N", "E"), "long long"), body)


def dropout(dtype: np.dtype[Any]) -> Source:
    """``layers.dropout.dropout``; ``out`` may be ``x``."""
    arrays = {"x": "const real", "draws": "const unsigned short", "out": "real"}
    numbers = {"N": "long long", "threshold": "long long", "scale": "double"}
    body = _EACH + "    out[i] = x[i] * (draws[i] >= threshold ? (real)scale : (real)0);"
    return source(dtype, "dropout", arrays, numbers, body)


def round_to_bf16() -> Source:
    """Numbers of single precision to bfloat16; what comes out are its bits."""
    arrays = {"x": "const real", "out": "unsigned short"}
    body, single = _EACH + "    out[i] = bf16(x[i]);", np.dtype(np.float32)
    return source(single, "round_to_bf16", arrays, {"N": "long long"}, body, _BF16)
