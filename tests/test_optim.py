"""Optimisers, clipping, schedules; equality with PyTorch's is in test_torch.py."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.backend import NumpyBackend
from charrnn.config import OPTIMIZER_NAMES, TrainConfig
from charrnn.optim import OPTIMIZERS, clip_by_global_norm, learning_rate
from charrnn.params import Buffer


def minimise(name: str, steps: int, lr: float, **config) -> np.ndarray:
    """Parameters after steps down the bowl |x - (3, -2)|^2, from the origin."""
    backend = NumpyBackend(np.float64)
    params, grads = (Buffer(backend, {"x": (2,)}) for _ in range(2))
    settings = TrainConfig(**{"optimizer": name, "clip": 0.0, "weight_decay": 0.0} | config)
    optimizer = OPTIMIZERS[name](backend, params, grads, settings)
    for _ in range(steps):
        grads.flat[...] = 2 * (params.flat - np.array([3.0, -2.0]))
        optimizer.step(lr)
    return params.flat


@pytest.mark.parametrize("name, lr", [("adam", 0.05), ("rmsprop", 0.01), ("sgd", 0.02)])
def test_every_optimizer_finds_the_bottom_of_a_bowl(name, lr):
    np.testing.assert_allclose(minimise(name, 1500, lr), [3, -2], atol=0.02)


def test_adam_first_step_by_hand():
    """Bias correction makes the first step the learning rate, whatever the gradient's size."""
    np.testing.assert_allclose(minimise("adam", 1, 0.1), [0.1, -0.1], rtol=1e-6)


def test_rmsprop_first_step_by_hand():
    """square_avg = 0.01 g^2, so that the step is lr / sqrt(0.01)."""
    np.testing.assert_allclose(minimise("rmsprop", 1, 0.01), [0.1, -0.1], rtol=1e-6)


def test_sgd_with_momentum_by_hand():
    """v1 = g1 = (-6, 4); x1 = -lr v1; g2 = 2 (x1 - x*); v2 = m v1 + g2."""
    x1 = np.array([0.6, -0.4])
    v2 = 0.5 * np.array([-6.0, 4.0]) + 2 * (x1 - np.array([3.0, -2.0]))
    np.testing.assert_allclose(minimise("sgd", 2, 0.1, momentum=0.5), x1 - 0.1 * v2, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_weight_decay_shrinks_what_has_no_gradient(name):
    backend = NumpyBackend(np.float64)
    params, grads = (Buffer(backend, {"x": (2,)}) for _ in range(2))
    params.flat[...] = 1
    settings = TrainConfig(optimizer=name, weight_decay=0.5)
    OPTIMIZERS[name](backend, params, grads, settings).step(0.1)
    np.testing.assert_allclose(params.flat, 1 - 0.1 * 0.5)


@pytest.mark.parametrize(
    "limit, length", [(1.0, 1.0), (5.0, 5.0), (13.0, 13.0), (20.0, 13.0), (0.0, 13.0)]
)
def test_clipping_keeps_the_direction_and_reports_the_norm_before(limit, length):
    grads = np.array([3.0, 4.0, 12.0])
    norm = clip_by_global_norm(np, grads, limit)
    assert norm == pytest.approx(13)
    np.testing.assert_allclose(grads, np.array([3, 4, 12]) / 13 * length, rtol=1e-5)


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
