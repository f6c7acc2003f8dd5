"""Parameters: names, the flat buffer, the start."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.backend import NumpyBackend
from charrnn.cells import CELLS
from charrnn.config import ModelConfig
from charrnn.params import Buffer, count, initial_values, parameter_shapes
from tests.support.stacks import model_config

CONFIG = ModelConfig(vocab_size=10, layers=2, hidden_size=6, embed_size=4)


def start(config: ModelConfig, init: str = "orthogonal", seed: int = 0):
    return initial_values(config, init, np.random.default_rng(seed))


def test_names_and_shapes_are_pytorchs():
    assert parameter_shapes(CONFIG) == {
        "encoder.weight": (10, 4),
        "rnn.weight_ih_l0": (24, 4),
        "rnn.weight_hh_l0": (24, 6),
        "rnn.bias_ih_l0": (24,),
        "rnn.bias_hh_l0": (24,),
        "rnn.weight_ih_l1": (24, 6),
        "rnn.weight_hh_l1": (24, 6),
        "rnn.bias_ih_l1": (24,),
        "rnn.bias_hh_l1": (24,),
        "decoder.weight": (10, 6),
        "decoder.bias": (10,),
    }


def test_a_tied_model_has_one_matrix_for_both_ends():
    config = ModelConfig(vocab_size=10, hidden_size=6, embed_size=6, tie=True)
    assert "decoder.weight" not in parameter_shapes(config)


def test_views_cover_the_flat_buffer_once_and_in_order():
    buffer = Buffer(NumpyBackend(), shapes := parameter_shapes(CONFIG))
    buffer.flat[...] = np.arange(count(shapes))
    joined = np.concatenate([view.ravel() for view in buffer.values()])
    np.testing.assert_array_equal(joined, buffer.flat)
    assert {name: view.shape for name, view in buffer.items()} == shapes


def test_part_is_the_views_under_the_rest_of_their_names():
    buffer = Buffer(NumpyBackend(), parameter_shapes(CONFIG))
    part = buffer.part("rnn.")
    part["weight_ih_l1"][...] = 5
    np.testing.assert_array_equal(buffer["rnn.weight_ih_l1"], 5)
    assert len(part) == 8


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_orthogonal_recurrent_matrices(cell):
    weight = start(model_config(cell))["rnn.weight_hh_l0"]
    for gate in weight.reshape(len(CELLS[cell].gates), 6, 6):
        np.testing.assert_allclose(gate @ gate.T, np.eye(6), atol=1e-12)


def test_uniform_weights_stay_within_their_bound():
    values = start(CONFIG, "uniform")
    for name in ("rnn.weight_hh_l0", "rnn.weight_ih_l1", "decoder.weight"):
        largest = np.abs(values[name]).max()
        assert 0.8 / np.sqrt(6) < largest <= 1 / np.sqrt(6), name


@pytest.mark.parametrize("cell, forget", [("lstm", 1), ("gru", 0)])
def test_biases_are_zero_but_for_the_forget_gate(cell, forget):
    values = start(ModelConfig(5, cell=cell, hidden_size=6))
    np.testing.assert_array_equal(values["rnn.bias_ih_l0"][6:12], forget)
    np.testing.assert_array_equal(np.delete(values["rnn.bias_ih_l0"], np.s_[6:12]), 0)
    np.testing.assert_array_equal(values["rnn.bias_hh_l0"], 0)


def test_the_same_seed_gives_the_same_start():
    again, other = start(CONFIG), start(CONFIG, seed=1)
    for name, value in start(CONFIG).items():
        np.testing.assert_array_equal(value, again[name])
    assert not np.array_equal(other["encoder.weight"], again["encoder.weight"])
