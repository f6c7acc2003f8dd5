"""Layer table and memory estimate."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from charrnn.backend import NumpyBackend
from charrnn.backend.numpy_backend import _free_in_group
from charrnn.checkpoint import Checkpoint, save
from charrnn.config import PRECISIONS, ModelConfig, TrainConfig
from charrnn.errors import MemoryLimitError
from charrnn.model import Model
from charrnn.optim import OPTIMIZERS, Optimizer
from charrnn.params import count, initial_values, parameter_shapes
from charrnn.preflight import check_memory, layer_table, memory_estimate
from charrnn.text import CharVocabulary
from charrnn.validation import Scorer
from tests.support.cuda_host import needs_compiler
from tests.support.fake_cupy import fake_backend
from tests.support.readme import README
from tests.support.stacks import backend_of, cells, model_config


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


@pytest.mark.parametrize("backend", ["numpy", "fused", "fused-2"])
@cells
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_estimate_is_near_what_training_takes(tmp_path, backend, cell, optimizer):
    made = backend_of(backend, np.float32)
    train = TrainConfig(batch_size=16, seq_len=40, optimizer=optimizer)
    tiny = model_config(cell, vocab_size=50)
    config = model_config(cell, vocab_size=50, hidden_size=96, embed_size=64, dropout=0.2)
    start = initial_values(config, "uniform", np.random.default_rng(0))
    rng = np.random.default_rng(0)
    ids, targets = rng.integers(0, 50, size=(2, 40, 16))
    valid = rng.integers(0, 50, size=5000)

    def learn(config: ModelConfig, start: dict[str, np.ndarray]) -> None:
        model = Model(config, made, learns=True)
        model.load(start)
        window = model.training_window(40, 16)
        steps = Optimizer(made, model.params, window.grads, train)
        scorer = Scorer(model, valid, lanes=10)
        window.loss_and_grads(ids, targets, (0, 0))
        steps.step(1e-4, window.touched)
        scorer.losses()
        vocabulary = CharVocabulary([chr(n) for n in range(65, 114)])
        weights = {name: made.to_host(view) for name, view in model.params.items()}
        slots = {
            f"{slot}.{name}": made.to_host(view)
            for slot, buffer in steps.buffers.items()
            for name, view in buffer.items()
        }
        save(Checkpoint(config, vocabulary, weights, slots), tmp_path / "x.safetensors")

    learn(tiny, initial_values(tiny, "uniform", rng))  # what is compiled once does not count
    with traced_peak() as peak:
        learn(config, start)
    estimate = memory_estimate(config, train, 10, made).total
    assert 0.8 * peak[0] < estimate < 1.5 * peak[0]


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_what_dropout_takes_is_in_the_estimate(layers):
    """Small beside all else."""
    train, ids, found = TrainConfig(batch_size=64, seq_len=64), np.zeros((64, 64), np.int32), []
    for dropout in (0.0, 0.2):
        config = model_config("lstm", layers=layers, hidden_size=32, dropout=dropout)
        with traced_peak() as peak:
            window = Model(config, NumpyBackend(), learns=True).training_window(64, 64)
            window.loss_and_grads(ids, ids, (0, 0))
        found.append((peak[0], memory_estimate(config, train, 10, NumpyBackend()).total))
    taken, estimated = np.diff(found, axis=0)[0]
    assert estimated == pytest.approx(taken, rel=0.05)


@needs_compiler
@pytest.mark.parametrize("precision", PRECISIONS)
@cells
@pytest.mark.parametrize("bidirectional", [False, True])
def test_estimate_is_near_what_a_device_is_asked_for(precision, cell, bidirectional):
    """All that is made once, and what a product makes for its factors."""
    backend, held = fake_backend(precision=precision), []
    empty = backend.xp.empty

    def spy(shape: tuple[int, ...], dtype: object) -> object:
        made = empty(shape, dtype)
        held.append(made.nbytes)
        return made

    backend.xp.empty = spy
    train = TrainConfig(batch_size=16, seq_len=40)
    sizes = {"vocab_size": 50, "hidden_size": 96, "embed_size": 64, "dropout": 0.2}
    config = model_config(cell, bidirectional=bidirectional, **sizes)
    model = Model(config, backend, learns=True)
    model.load(initial_values(config, "uniform", np.random.default_rng(0)))
    window = model.training_window(40, 16)
    Optimizer(backend, model.params, window.grads, train)
    Scorer(model, np.zeros(5000, np.int32), lanes=10)
    made_once = sum(held)
    held.clear()
    ids = np.zeros((40, 16), np.int32)
    window.loss_and_grads(ids, ids, (0, 0))
    factors = sum(sorted(held)[-2:]) if precision == "bf16" else 0
    estimate = memory_estimate(config, train, 10, backend)
    assert 0.8 * (made_once + factors) < estimate.total < 1.3 * (made_once + 2 * factors)
    assert estimate.checkpoint == 0, "copies are the host's"


ROW = re.compile(r"^\| (fp32|bf16)[^|]* \| (64|128) \| (.+) \|$", re.MULTILINE)


@needs_compiler
@pytest.mark.parametrize("precision, batch, figures", ROW.findall(README))
def test_the_table_of_the_readme_is_what_comes_out(precision, batch, figures):
    config = ModelConfig(66, layers=3, hidden_size=1024, embed_size=1024, dropout=0.1)
    train = TrainConfig(batch_size=int(batch), seq_len=128)
    memory = memory_estimate(config, train, 10, fake_backend(precision=precision))
    shown = [*memory[:-1], memory.total]
    assert [f"{size / 1e6:,.0f}" for size in shown] == figures.split(" | ")


def test_the_readme_has_that_table():
    assert len(ROW.findall(README)) == 4


def test_what_does_not_fit_is_refused_with_its_size():
    class Small(NumpyBackend):
        def free_memory(self) -> int:
            return 2**30

    check_memory(2**30, Small())
    with pytest.raises(MemoryLimitError, match=r"needs about 3.0 GiB, 1.0 GiB are free") as error:
        check_memory(3 * 2**30, Small())
    assert error.value.exit_code == 71


@pytest.mark.parametrize(
    "limit, used, free", [("3000", "1000", 2300), ("1000", "3000", 0), ("max", "5", float("inf"))]
)
def test_a_containers_limit_counts(tmp_path, limit, used, free):
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text(used)
    (tmp_path / "memory.stat").write_text("anon 7\nactive_file 100\ninactive_file 200\n")
    assert _free_in_group(tmp_path) == free


def test_without_a_container_there_is_no_limit(tmp_path):
    assert _free_in_group(tmp_path) == float("inf")


def test_free_memory_is_real():
    assert 2**20 < NumpyBackend().free_memory() < 2**50
