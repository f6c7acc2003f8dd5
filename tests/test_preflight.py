"""Layer table and memory estimate."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from charrnn.backend import NumpyBackend
from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import MemoryLimitError
from charrnn.evaluation import Scorer
from charrnn.model import Model
from charrnn.optim import OPTIMIZERS
from charrnn.params import count, initial_values, parameter_shapes
from charrnn.preflight import check_memory, layer_table, memory_estimate
from tests.support.stacks import cells


@pytest.mark.parametrize("tie", [False, True])
def test_table_covers_every_parameter_once(tie):
    config = ModelConfig(10, layers=12, hidden_size=6, embed_size=6, tie=tie)
    rows = layer_table(config)
    names = [name for row in rows for name in row.shapes]
    assert sorted(names) == sorted(parameter_shapes(config))
    assert sum(row.parameters for row in rows) == count(parameter_shapes(config))
    assert [row.name for row in rows] == ["encoder", *(f"rnn.{n}" for n in range(12)), "decoder"]


@contextmanager
def traced_peak() -> Iterator[list[int]]:
    """The largest number of bytes that Python and NumPy held at once, in the list given."""
    peak: list[int] = []
    tracemalloc.start()
    try:
        yield peak
        peak.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


@cells
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_estimate_is_near_what_training_takes(cell, optimizer):
    kind, _, activation = cell.partition("_")
    config = ModelConfig(
        50,
        cell=kind,
        activation=activation or "tanh",
        layers=2,
        hidden_size=96,
        embed_size=64,
        dropout=0.2,
    )
    train = TrainConfig(batch_size=16, seq_len=40, optimizer=optimizer)
    start = initial_values(config, "uniform", np.random.default_rng(0))
    rng = np.random.default_rng(0)
    ids, targets = rng.integers(0, 50, size=(2, 40, 16))
    with traced_peak() as peak:
        model = Model(config, NumpyBackend())
        model.load(start)
        window = model.training_window(40, 16)
        steps = OPTIMIZERS[optimizer](model.backend, model.params, window.grads, train)
        scorer = Scorer(model, rng.integers(0, 50, size=5000), lanes=10)
        window.loss_and_grads(ids, targets, rng)
        steps.step(1e-4)
        scorer.losses()
        buffers = (model.params, *steps.buffers.values())
        saved = [buffer.flat.copy() for buffer in buffers]
    assert len(saved) == 1 + len(steps.slots)
    estimate = memory_estimate(config, train, valid_lanes=10)
    assert 0.8 * peak[0] < estimate < 1.5 * peak[0]


def test_what_does_not_fit_is_refused_with_its_size():
    class Small(NumpyBackend):
        def free_memory(self) -> int:
            return 2**30

    check_memory(2**30, Small())
    with pytest.raises(MemoryLimitError, match=r"needs about 3.0 GiB, 1.0 GiB are free") as error:
        check_memory(3 * 2**30, Small())
    assert error.value.exit_code == 71


def test_free_memory_is_real():
    assert 2**20 < NumpyBackend().free_memory() < 2**50
