"""What a backend's own kernels are tried on, beside the functions that they stand for."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest

from charrnn.backend import Backend, NumpyBackend
from charrnn.cells import CELLS
from charrnn.cells.base import Cell, sigmoid, split
from charrnn.config import TrainConfig
from charrnn.layers import Scan, cross_entropy
from charrnn.layers.dropout import dropout
from charrnn.optim import OPTIMIZERS, method_of

dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])

#: One at a time among ordinary numbers.
SPECIAL = [0.0, -1e-40, 100.0, -100.0, 1e4, np.inf, -np.inf, np.nan]
specials = pytest.mark.parametrize("special", SPECIAL, ids=str)

METHODS = OPTIMIZERS | {
    "sgd without momentum": method_of(TrainConfig(optimizer="sgd", momentum=0.0))
}


def assert_close(found, expected, magnitude=0.0, ulps: float = 4, name: str = "") -> None:
    """Equal up to so many units in the last place of ``expected`` plus ``magnitude``.

    ``magnitude`` is that of the terms which cancel in it. What is not finite lies where it should.
    """
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite], err_msg=name)
    allowed = ulps * np.finfo(found.dtype).eps * (np.abs(expected) + magnitude)
    excess = np.abs(found[finite] - expected[finite]) - allowed[finite]
    assert np.all(excess <= 0), f"{name}: {excess.max()} too far off"


def random(dtype: Any, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


# The functions of the core, on any backend


class ScanCase(NamedTuple):
    """What a scan reads, in float64; I = 3 inputs."""

    weights: dict[str, np.ndarray]
    x: np.ndarray
    states: np.ndarray
    dy: np.ndarray
    dfinal: np.ndarray

    @classmethod
    def make(cls, cell: str, T: int, B: int, H: int) -> ScanCase:
        rng = np.random.default_rng([T, B, H])
        K, S, scale = len(CELLS[cell].gates), len(CELLS[cell].states), 1 / np.sqrt(H)
        weights = {
            "weight_ih": rng.normal(size=(K * H, 3)) * 0.5,
            "weight_hh": rng.normal(size=(K * H, H)) * scale,
            "bias_ih": rng.normal(size=K * H) * 0.5,
            "bias_hh": rng.normal(size=K * H) * 0.5,
        }
        x, dy = rng.normal(size=(T * B, 3)), rng.normal(size=(T, B, 2 * H))
        states, dfinal = rng.normal(size=(2, S, B, H))
        return cls(weights, x, states, dy, dfinal)

    def run(self, backend: Any, cell: str, reverse: bool, strided: bool) -> dict[str, np.ndarray]:
        """Everything that a scan computes; ``strided``: dy is one direction's half of both."""
        T, B, H = *self.dy.shape[:2], self.dy.shape[2] // 2
        given = partial(_given, backend)

        def all_of(arrays: list[Any]) -> np.ndarray:
            return np.array([backend.to_host(a) for a in arrays])

        weights = self._weights(backend)
        grads = {name: given(np.full(a.shape, np.nan)) for name, a in self.weights.items()}
        scan = Scan(backend, CELLS[cell], weights, grads, T, B, reverse=reverse)
        for to, state in zip(scan.initial, self.states, strict=True):
            backend.to_device(state, out=to)
        y = backend.to_host(scan.forward(given(self.x)))
        final = all_of(scan.final)
        dy = given(self.dy)[:, :, H:] if strided else given(self.dy[:, :, H:])
        dx, dstates = scan.backward(dy, [given(d) for d in self.dfinal])
        found = {"y": y, "final": final, "dx": backend.to_host(dx), "dstates": all_of(dstates)}
        return found | {f"d {name}": backend.to_host(g) for name, g in grads.items()}

    def read(self, backend: Any, cell: str, reverse: bool, index: np.ndarray | None) -> np.ndarray:
        """h and final states, where there is no way back; ``index`` [T*B]: of these rows of x."""
        T, B, rows = *self.dy.shape[:2], len(self.x)
        scan = Scan(backend, CELLS[cell], self._weights(backend), None, T, B, reverse=reverse,
                    rows=rows)  # fmt: skip
        for to, state in zip(scan.initial, self.states, strict=True):
            backend.to_device(state, out=to)
        places = None if index is None else backend.to_device(index)
        y = backend.to_host(scan.forward(_given(backend, self.x), places))
        return np.concatenate([y, *(backend.to_host(state)[None] for state in scan.final)])

    def _weights(self, backend: Any) -> dict[str, Any]:
        arrays = {name: _given(backend, value) for name, value in self.weights.items()}
        return {
            name: backend.weight(a, backward=True) if "weight" in name else a
            for name, a in arrays.items()
        }


def _given(backend: Any, array: np.ndarray) -> Any:
    return backend.to_device(array.astype(backend.dtype))


def entropies(backend: Any, logits: np.ndarray, targets: np.ndarray, scale: float):
    """Losses and what the logits become, in the backend's dtype."""
    given = backend.to_device(np.ascontiguousarray(logits, backend.dtype))
    losses = backend.to_device(np.full(len(logits), np.nan, backend.dtype))
    kernel = backend.kernel("cross_entropy", cross_entropy)
    with np.errstate(all="ignore"):
        kernel(backend.xp, given, backend.to_device(targets), losses, scale)
    return backend.to_host(losses), backend.to_host(given)


def dropped(
    backend: Any, x: np.ndarray, draws: np.ndarray, threshold: int, scale: float
) -> list[np.ndarray]:
    """What dropout makes of x, and the same in place."""
    given, out = backend.to_device(x), backend.to_device(np.full_like(x, np.nan))
    kernel, drawn = backend.kernel("dropout", dropout), backend.to_device(draws)
    with np.errstate(all="ignore"):
        for to in (out, given):
            kernel(backend.xp, given, drawn, threshold, scale, to)
    return [backend.to_host(out), backend.to_host(given)]


class UpdateCase(NamedTuple):
    """An optimiser's update after some steps."""

    p: np.ndarray
    g: np.ndarray
    slots: np.ndarray
    scalars: np.ndarray

    @classmethod
    def make(cls, name: str, dtype: Any, size: int) -> UpdateCase:
        method = METHODS[name]
        rng = np.random.default_rng(size)
        p, g = rng.normal(size=(2, size))
        slots = np.abs(rng.normal(size=(len(method.slots), size)))
        own = method.scalars(TrainConfig(optimizer=name.split()[0], weight_decay=0.0), 0.01, 7)
        scalars = np.array([0.5, 0.999, *own])
        return cls(*(a.astype(dtype) for a in (p, g, slots, scalars)))

    def run(self, backend: Any, name: str) -> dict[str, np.ndarray]:
        """New parameters and slots, in the backend's dtype."""
        p, g, scalars, *slots = (
            backend.to_device(a.astype(backend.dtype))
            for a in (self.p, self.g, self.scalars, *self.slots)
        )
        update = backend.kernel("update", METHODS[name])
        with np.errstate(all="ignore"):
            update(backend.xp, p, g, slots, scalars, backend.empty(p.shape))
        found = {"p": p} | dict(zip(METHODS[name].slots, slots, strict=True))
        return {array: backend.to_host(value) for array, value in found.items()}


# Cells that there are not


def cell_of(name: str, forward: Any, backward: Any = lambda *arguments: None, **options) -> Cell:
    """A made-up cell, by default of one gate and one state."""
    default = {"gates": ("a",), "states": ("h",), "saved": 1, "additive": True}
    return Cell(name=name, forward=forward, backward=backward, **(default | options))


def odd_forward(xp, gates, recurrent, previous, state, saved, scratch) -> None:
    """Everything that can be traced, over two gates and two states."""
    a, b = split(gates, 2)
    u, v = split(recurrent, 2)
    a += u
    sigmoid(xp, a)
    xp.maximum(b, v, out=scratch[0])
    xp.multiply(scratch[0], scratch[0], out=saved[0])
    saved[0] += 0.25
    xp.sqrt(saved[0], out=saved[1])
    xp.divide(b, saved[1], out=b)
    xp.tanh(b, out=b)
    (h, m), (h_before, m_before) = state, previous
    xp.subtract(1, a, out=scratch[1])
    xp.multiply(scratch[1], m_before, out=m)
    xp.add(m, b, out=m)
    xp.sign(v, out=h)
    h *= 0.125
    h += m
    h -= h_before
    h /= 2


def odd_backward(xp, gates, saved, previous, state, dstate, drecurrent, scratch) -> None:
    """No gradient of anything, but it reads and writes all that it may."""
    a, b = split(gates, 2)
    u, v = split(drecurrent, 2)
    dh, dm = dstate
    xp.multiply(dh, state[1], out=scratch[0])
    xp.multiply(dm, previous[0], out=u)
    xp.subtract(u, a, out=v)
    u += saved[0]
    v *= saved[1]
    a[...] = scratch[0]
    b *= dh
    b *= 0.5
    dh.fill(0)
    dm *= state[0]
    dm -= scratch[0]


ODD = cell_of(
    "odd", odd_forward, odd_backward, gates=("a", "b"), states=("h", "m"), saved=2, additive=False
)


# A backend's own kernels against the functions that they stand for


def check_scan(
    backend: Backend, cell: str, T: int, B: int, H: int, reverse: bool, strided: bool
) -> None:
    """Beside the reference in float64."""
    case = ScanCase.make(cell, T, B, H)
    expected = case.run(NumpyBackend(np.float64), cell, reverse, strided)
    found = case.run(backend, cell, reverse, strided)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == backend.dtype
        assert_close(found[name], value, np.abs(value).max(), ulps=12, name=name)


def check_a_cell_nobody_has_seen_before(backend: Backend, T: int, B: int, H: int) -> None:
    """``ODD``, which is no cell that has a name."""
    with mock.patch.dict(CELLS, odd=ODD):
        case = ScanCase.make("odd", T, B, H)
        expected = case.run(NumpyBackend(np.float64), "odd", reverse=True, strided=True)
        found = case.run(backend, "odd", reverse=True, strided=True)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(found[name], value, np.abs(value).max(), ulps=40, name=name)


def check_cross_entropy(backend: Backend, scale: float, N: int, V: int, spread: float) -> None:
    """The gradient too, where ``scale`` asks for one."""
    dtype = backend.dtype.type
    logits = random(dtype, N, V) * dtype(spread)
    targets = np.random.default_rng(0).integers(0, V, size=N)
    found, gradient = entropies(backend, logits, targets, scale)
    expected, expected_gradient = entropies(NumpyBackend(np.float64), logits, targets, scale)
    assert_close(found, expected, np.abs(logits).max() + np.log(V))
    if scale:
        assert_close(gradient, expected_gradient, scale, ulps=8)


#: Where one of the logits is special: that of the target, another, or every one.
special_places = pytest.mark.parametrize("place", ["target", "other", "all"])


def check_cross_entropy_of_a_special_value(
    backend: Backend, special: float, place: str, V: int
) -> None:
    """In the second of three rows."""
    dtype = backend.dtype
    logits, targets = random(dtype, 3, V), np.array([2, V - 1, 5])
    logits[1, {"target": V - 1, "other": 17, "all": slice(None)}[place]] = special
    found, gradient = entropies(backend, logits, targets, scale=0.5)
    expected, expected_gradient = entropies(NumpyBackend(dtype), logits, targets, scale=0.5)
    assert_close(found, expected, 10)
    assert_close(gradient, expected_gradient, 1)


def check_dropout(backend: Backend, size: int, threshold: int) -> None:
    """Exactly, in place too; what is not a number stays none."""
    x, scale = random(backend.dtype, size), 65_536 / (65_536 - threshold)
    draws = np.random.default_rng(1).integers(0, 65_536, size=size).astype(np.uint16)
    draws[: min(3, size)] = [0, threshold - 1, threshold][: min(3, size)]
    for last in (x[-1], np.nan):
        x[-1] = last
        expected, _ = dropped(NumpyBackend(backend.dtype), x, draws, threshold, scale)
        for found in dropped(backend, x, draws, threshold, scale):
            np.testing.assert_array_equal(found, expected)


methods = pytest.mark.parametrize("name", sorted(METHODS))


def check_update(backend: Backend, name: str, size: int) -> None:
    """Beside the reference in float64."""
    case = UpdateCase.make(name, backend.dtype, size)
    found, expected = case.run(backend, name), case.run(NumpyBackend(np.float64), name)
    for array, value in expected.items():
        assert_close(found[array], value, 1, name=array)


def check_update_of_a_special_value_anywhere(backend: Backend, name: str, special: float) -> None:
    """In parameters, gradients and each of the moments."""
    dtype = backend.dtype
    for place in ("p", "g", *range(len(METHODS[name].slots))):
        case = UpdateCase.make(name, dtype, 20)
        (case.slots[place] if isinstance(place, int) else getattr(case, place))[17] = special
        found, expected = case.run(backend, name), case.run(NumpyBackend(dtype), name)
        for array, value in expected.items():
            assert_close(found[array], value, 1, name=f"{array} of {place}")
