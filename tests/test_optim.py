"""Optimisers, clipping, schedules; equality with PyTorch's is in test_torch.py."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.config import OPTIMIZER_NAMES, TrainConfig
from charrnn.optim import OPTIMIZERS, Optimizer, learning_rate
from charrnn.params import Buffer
from tests.support.devices import host, put
from tests.support.stacks import exact, model_backends

optimizers = pytest.mark.parametrize("name", sorted(OPTIMIZERS))


def optimizer_of(backend: str, name: str, shapes, **config) -> Optimizer:
    """One without clipping and weight decay, unless ``config`` says otherwise."""
    params, grads = (Buffer(exact(backend), shapes) for _ in range(2))
    settings = TrainConfig(**{"optimizer": name, "clip": 0.0, "weight_decay": 0.0} | config)
    return Optimizer(exact(backend), params, grads, settings)


def minimise(backend: str, name: str, steps: int, lr: float, **config) -> np.ndarray:
    """Parameters after steps down the bowl |x - (3, -2)|^2, from the origin."""
    optimizer = optimizer_of(backend, name, {"x": (2,)}, **config)
    for _ in range(steps):
        put(optimizer.grads.flat, 2 * (host(optimizer.params.flat) - np.array([3.0, -2.0])))
        optimizer.step(lr)
    return host(optimizer.params.flat)


@model_backends
@pytest.mark.parametrize("name, lr", [("adam", 0.05), ("rmsprop", 0.01), ("sgd", 0.02)])
def test_every_optimizer_finds_the_bottom_of_a_bowl(backend, name, lr):
    np.testing.assert_allclose(minimise(backend, name, 1000, lr), [3, -2], atol=0.02)


@model_backends
def test_adam_first_step_by_hand(backend):
    """Bias correction makes the first step the learning rate, whatever the gradient's size."""
    np.testing.assert_allclose(minimise(backend, "adam", 1, 0.1), [0.1, -0.1], rtol=1e-6)


@model_backends
def test_rmsprop_first_step_by_hand(backend):
    """square_avg = 0.01 g^2, so that the step is lr / sqrt(0.01)."""
    np.testing.assert_allclose(minimise(backend, "rmsprop", 1, 0.01), [0.1, -0.1], rtol=1e-6)


@model_backends
def test_sgd_with_momentum_by_hand(backend):
    """v1 = g1 = (-6, 4); x1 = -lr v1; g2 = 2 (x1 - x*); v2 = m v1 + g2."""
    x1 = np.array([0.6, -0.4])
    v2 = 0.5 * np.array([-6.0, 4.0]) + 2 * (x1 - np.array([3.0, -2.0]))
    found = minimise(backend, "sgd", 2, 0.1, momentum=0.5)
    np.testing.assert_allclose(found, x1 - 0.1 * v2, rtol=1e-12)


@model_backends
@optimizers
def test_weight_decay_shrinks_what_has_no_gradient(backend, name):
    optimizer = optimizer_of(backend, name, {"x": (2,)}, weight_decay=0.5)
    put(optimizer.params.flat, 1)
    optimizer.step(0.1)
    np.testing.assert_allclose(host(optimizer.params.flat), 1 - 0.1 * 0.5)


@model_backends
@pytest.mark.parametrize(
    "limit, length", [(1.0, 1.0), (5.0, 5.0), (13.0, 13.0), (20.0, 13.0), (0.0, 13.0)]
)
def test_clipping_keeps_the_direction_and_reports_the_norm_before(backend, limit, length):
    """Plain descent at a rate of 1 goes down by the clipped gradient."""
    optimizer = optimizer_of(backend, "sgd", {"x": (3,)}, clip=limit, momentum=0.0)
    gradient = np.array([3.0, 4.0, 12.0])
    put(optimizer.grads.flat, gradient)
    assert float(host(optimizer.step(1.0))) == pytest.approx(13)
    np.testing.assert_allclose(-host(optimizer.params.flat), gradient / 13 * length, rtol=1e-5)


TABLE = {"table": (9, 3), "rest": (7,)}


def random_steps(optimizer: Optimizer, touched, rows, steps: int = 3) -> list[float]:
    """Norms of steps with random gradients, of the table's other ``rows`` none."""
    rng = np.random.default_rng(0)
    put(optimizer.params.flat, rng.normal(size=optimizer.params.flat.shape))
    norms = []
    for _ in range(steps):
        put(optimizer.grads.flat, rng.normal(size=optimizer.grads.flat.shape))
        for row in np.setdiff1d(np.arange(9), rows):
            put(optimizer.grads["table"][row], 0)
        norms.append(float(host(optimizer.step(0.1, touched))))
    return norms


@model_backends
@optimizers
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_a_step_that_touches_every_row_is_a_step_of_all(backend, name, dtype):
    config = {"clip": 2.0, "weight_decay": 0.01}
    some, every = (optimizer_of(backend, name, TABLE, **config) for _ in range(2))
    rows = np.arange(9).astype(dtype)
    norms = random_steps(some, rows, rows)
    np.testing.assert_allclose(norms, random_steps(every, None, rows), rtol=1e-13)
    np.testing.assert_allclose(host(some.params.flat), host(every.params.flat), rtol=1e-12)
    for slot, expected in every.buffers.items():
        np.testing.assert_allclose(host(some.buffers[slot].flat), host(expected.flat), rtol=1e-12)


@model_backends
@optimizers
def test_rows_that_are_not_touched_stay_as_they_are(backend, name):
    """Whatever stands in their gradients; the others' norm and update are as if of all."""
    rows = np.array([1, 4, 8])
    others = np.setdiff1d(np.arange(9), rows)
    config = {"clip": 2.0, "weight_decay": 0.01}
    some, every = (optimizer_of(backend, name, TABLE, **config) for _ in range(2))
    expected = random_steps(every, None, rows, steps=1)
    buffers = [some.params, *some.buffers.values()]
    rng = np.random.default_rng(0)
    put(some.params.flat, rng.normal(size=some.params.flat.shape))
    put(some.grads.flat, rng.normal(size=some.grads.flat.shape))
    for row in others:
        put(some.grads["table"][row], np.nan)
    before = [host(buffer["table"])[others] for buffer in buffers]
    assert float(host(some.step(0.1, rows))) == pytest.approx(expected[0])
    for buffer, values in zip(buffers, before, strict=True):
        np.testing.assert_array_equal(host(buffer["table"])[others], values)
    for buffer, other in zip(buffers, [every.params, *every.buffers.values()], strict=True):
        ours, theirs = host(buffer["table"])[rows], host(other["table"])[rows]
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
        np.testing.assert_allclose(host(buffer["rest"]), host(other["rest"]), rtol=1e-12)


@pytest.mark.parametrize("slot", ["params", "grads", "buffers"])
@model_backends
def test_a_number_that_is_none_is_not_lost(backend, slot):
    """Divergence shows itself by it; where it is a gradient nothing is updated, as far as known."""
    optimizer = optimizer_of(backend, "adam", TABLE, clip=1.0)
    buffer = optimizer.buffers["exp_avg"] if slot == "buffers" else getattr(optimizer, slot)
    put(buffer.flat[5:6], np.nan)
    norm = host(optimizer.step(0.1))
    assert np.isnan(norm) == (slot == "grads")
    stopped = slot == "grads" and not optimizer.backend.deferred
    assert np.isnan(host(optimizer.params.flat)[5]) == (not stopped)


def test_cosine_schedule_by_points():
    config = TrainConfig(lr=1.0, warmup=0.2)
    rates = [learning_rate(config, p) for p in (0.1, 0.2, 0.6, 1.0)]
    np.testing.assert_allclose(rates, [0.5, 1.0, 0.505, 0.01])


def test_constant_schedule_stays_after_warm_up():
    config = TrainConfig(lr=1.0, warmup=0.2, schedule="constant")
    assert [learning_rate(config, p) for p in (0.1, 0.2, 0.9, 1.0)] == [0.5, 1.0, 1.0, 1.0]


def test_without_warm_up_the_rate_begins_at_its_height():
    assert learning_rate(TrainConfig(lr=1.0, warmup=0.0, weight_decay=0.0), 0.0) == 1.0


def test_every_optimizer_that_can_be_named_exists():
    assert set(OPTIMIZERS) == set(OPTIMIZER_NAMES)
