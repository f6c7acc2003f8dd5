"""Traces of pointwise functions: what cannot be traced is refused, and what they are known by."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.backend.trace import CellTrace, UpdateTrace
from tests.support.kernels import METHODS, cell_of


@pytest.mark.parametrize(
    "operation",
    [
        lambda xp, x: xp.exp(x),
        lambda xp, x: xp.where(x, x, 0),
        lambda xp, x: np.exp(x),
        lambda xp, x: x**2,
        lambda xp, x: x // 2,
        lambda xp, x: x % 2,
        lambda xp, x: -x,
        lambda xp, x: abs(x),
        lambda xp, x: x > 0,
        lambda xp, x: x == 0,
        lambda xp, x: x != 0,
        lambda xp, x: x.any(),
        lambda xp, x: x.clip(0, 1),
        lambda xp, x: float(x[0, 0]),
        lambda xp, x: x[0, 0] and 1,
    ],
)
def test_what_cannot_be_traced_is_an_error(operation):
    """Rather than another result than the reference's."""

    def forward(xp, gates, *others) -> None:
        operation(xp, gates)

    with pytest.raises((TypeError, AttributeError, NotImplementedError)):
        CellTrace(cell_of("untraceable", forward))


def test_what_nobody_has_written_cannot_be_read():
    """A step's scratch is empty at its beginning."""

    def forward(xp, gates, recurrent, previous, state, saved, scratch) -> None:
        gates += scratch[0]

    cell = cell_of("reads scratch", forward)
    with pytest.raises(ValueError, match="scratch"):
        CellTrace(cell)


@pytest.mark.parametrize(
    "change",
    [
        {"forward": lambda xp, gates, *others: np.multiply(gates, 0.5000001, out=gates)},
        {"forward": lambda xp, gates, *others: np.add(gates, 0.5, out=gates)},
        {"forward": lambda xp, gates, recurrent, *others: np.multiply(recurrent, 0.5, out=gates)},
        {"saved": 2},
        {"additive": False},
        {"states": ("h", "c")},
    ],
)
def test_cells_that_differ_never_share_compiled_code(change):
    def forward(xp, gates, *others) -> None:
        gates *= 0.5

    one = cell_of("one", forward)
    other = cell_of("one", **({"forward": forward} | change))
    assert repr(CellTrace(one)) == repr(CellTrace(cell_of("two", forward)))
    assert repr(CellTrace(one)) != repr(CellTrace(other))


def test_optimizers_never_share_compiled_code():
    traces = {repr(UpdateTrace(method, len(method.slots))) for method in METHODS.values()}
    assert len(traces) == len(METHODS)
