"""The whole model: gradients through embedding, dropout and tying; state from call to call."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.backend import NumpyBackend
from charrnn.layers import copy_states
from charrnn.model import Model
from charrnn.params import initial_values
from tests.support.gradients import numeric_gradient
from tests.support.stacks import cells, clone, model_config


def model_of(cell: str = "lstm", dtype=np.float64, **extra) -> Model:
    sizes = {"vocab_size": 6, "hidden_size": 4, "embed_size": 3} | extra
    config = model_config(cell, **sizes)
    model = Model(config, NumpyBackend(dtype))
    model.load(initial_values(config, "uniform", np.random.default_rng(0)))
    return model


def batch(steps: int = 4, lanes: int = 2, vocab: int = 6):
    return np.random.default_rng(1).integers(0, vocab, size=(2, steps, lanes))


@cells
@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_gradients_match_central_differences(cell, tie, dropout):
    """With the same dropout masks every time, from a state that is not zero."""
    model = model_of(cell, tie=tie, embed_size=4 if tie else 3, dropout=dropout)
    window = model.training_window(4, 2)
    rng = np.random.default_rng(2)
    states = [[rng.normal(size=s.shape) for s in layer] for layer in window.states]
    ids, targets = batch()

    def loss() -> float:
        copy_states(window.states, states)
        return float(window.loss_and_grads(ids, targets, np.random.default_rng(3)))

    loss()
    analytic = window.grads.flat.copy()
    expected = numeric_gradient(loss, model.params.flat)
    np.testing.assert_allclose(analytic, expected, rtol=1e-6, atol=1e-9)


@cells
def test_two_windows_with_carried_state_equal_one(cell):
    model = model_of(cell)
    ids, targets = batch(steps=6)
    whole, part = model.window(6, 2), model.window(3, 2)
    expected = np.array(whole.losses(ids, targets))
    found = [np.array(part.losses(ids[t : t + 3], targets[t : t + 3])) for t in (0, 3)]
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-12)


def test_states_can_be_saved_and_restored():
    model = model_of()
    window = model.window(4, 2)
    ids, _ = batch()
    window.logits(ids)
    saved = clone(window.states)
    expected = np.array(window.logits(ids))
    copy_states(window.states, saved)
    np.testing.assert_array_equal(window.logits(ids), expected)


def test_reset_forgets():
    window = model_of().window(4, 2)
    ids, _ = batch()
    first = np.array(window.logits(ids))
    assert not np.array_equal(window.logits(ids), first)
    window.reset()
    np.testing.assert_array_equal(window.logits(ids), first)


def test_training_window_carries_the_state_too():
    model = model_of()
    training, plain = model.training_window(4, 2), model.window(4, 2)
    ids, targets = batch()
    for _ in range(2):
        loss = training.loss_and_grads(ids, targets, None)
        np.testing.assert_allclose(loss, plain.losses(ids, targets).mean(), rtol=1e-12)


def test_a_small_step_against_the_gradient_lowers_the_loss():
    model = model_of()
    window = model.training_window(4, 2)
    ids, targets = batch()
    before = float(window.loss_and_grads(ids, targets, None))
    model.params.flat -= 0.01 * window.grads.flat
    window.reset()
    assert float(window.loss_and_grads(ids, targets, None)) < before


def test_dropout_is_for_training_alone():
    model = model_of(dropout=0.5)
    ids, _ = batch()
    np.testing.assert_array_equal(model.window(4, 2).logits(ids), model.window(4, 2).logits(ids))
    window = model.training_window(4, 2)
    dropped = np.array(window.logits(ids, np.random.default_rng(0)))
    window.reset()
    assert not np.array_equal(dropped, window.logits(ids, np.random.default_rng(1)))


def test_probabilities_of_all_symbols_sum_to_one():
    model = model_of()
    ids, _ = batch()
    total = 0.0
    for symbol in range(6):
        window = model.window(4, 2)
        total = total + np.exp(-window.losses(ids, np.full((4, 2), symbol)))
    np.testing.assert_allclose(total, 1, rtol=1e-12)


def test_load_wants_every_parameter():
    with pytest.raises(KeyError):
        model_of().load({"encoder.weight": np.zeros((6, 3))})
