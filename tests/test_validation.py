"""The losses of a held-out text: those of reading it symbol by symbol."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.model import Model
from charrnn.params import initial_values
from charrnn.validation import Scorer
from tests.support.stacks import cells, exact, model_backends, model_config
from tests.support.tiny import by_hand


def model_of(backend: str = "numpy", cell: str = "lstm", *, zero: bool = False) -> Model:
    config = model_config(cell)
    model = Model(config, exact(backend))
    if not zero:
        model.load(initial_values(config, "orthogonal", np.random.default_rng(0)))
    return model


@model_backends
@cells
@pytest.mark.parametrize("length", [2, 5, 129, 300])
def test_token_losses_equal_the_plainest_way(backend, cell, length):
    model, ids = model_of(backend, cell), np.random.default_rng(1).integers(0, 7, size=length)
    losses = Scorer(model, ids, lanes=1).losses()
    np.testing.assert_allclose(losses, by_hand(model, ids), rtol=1e-10)


@model_backends
def test_lanes_are_scored_each_from_a_zero_state_in_order(backend):
    model, ids = model_of(backend), np.random.default_rng(1).integers(0, 7, size=11)
    expected = by_hand(model, ids[:6]) + by_hand(model, ids[5:])
    np.testing.assert_allclose(Scorer(model, ids, lanes=2).losses(), expected, rtol=1e-10)


@model_backends
def test_a_scorer_repeats_itself(backend):
    model, ids = model_of(backend), np.random.default_rng(1).integers(0, 7, size=300)
    scorer = Scorer(model, ids, lanes=3)
    np.testing.assert_array_equal(scorer.losses(), scorer.losses())


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary():
    losses = Scorer(model_of(zero=True), np.array([1, 2, 3, 4]), lanes=1).losses()
    np.testing.assert_allclose(np.exp(losses), 7, rtol=1e-12)
