"""Backends: their operations, their choice, and that the core stays on the device."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.backend import NumpyBackend
from charrnn.completion import Completer
from charrnn.config import ModelConfig, SampleConfig, TrainConfig
from charrnn.model import Model
from charrnn.optim import OPTIMIZERS, Optimizer
from charrnn.params import initial_values
from charrnn.sampling import sample_ids
from charrnn.text import CharVocabulary
from charrnn.text.tokens import WORDS
from charrnn.text.words import WordVocabulary
from tests.support import devices
from tests.support.cuda_host import COMPILER, NO_COMPILER
from tests.support.devices import GPU
from tests.support.fake_cupy import fake_backend
from tests.support.stacks import backend_of, cells, model_config
from tests.support.strict_device import DeviceArray, HostAccessError, StrictBackend


@pytest.fixture(params=["numpy", "fused", "strict", "stand-in", GPU])
def backend(request):
    """Each backend there is; ``stand-in`` is that of a GPU with its kernels compiled as C++."""
    if request.param == "stand-in":
        if COMPILER is None:
            pytest.skip(NO_COMPILER)
        return fake_backend()
    return StrictBackend() if request.param == "strict" else backend_of(request.param, np.float32)


both_ways = pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])


def config_of(cell: str, **extra) -> ModelConfig:
    return model_config(cell, **({"vocab_size": 9, "hidden_size": 8, "embed_size": 5} | extra))


def train_two_steps(backend, config, optimizer="adam"):
    """Losses, norms and parameters on the host after two steps from a fixed start."""
    model = Model(config, backend, learns=True)
    model.load(initial_values(config, "orthogonal", np.random.default_rng(0)))
    window = model.training_window(6, 3)
    steps = Optimizer(
        backend, model.params, window.grads, TrainConfig(optimizer=optimizer, clip=0.1)
    )
    found = []
    for n in range(2):
        rng = np.random.default_rng(n)
        ids, targets = rng.integers(0, config.vocab_size, size=(2, 6, 3), dtype=np.int32)
        found.append(window.loss_and_grads(ids, targets, (5, n)))
        found.append(steps.step(0.01, window.touched))
        model.refresh()
    return [backend.to_host(x) for x in (*found, model.params.flat)]


@cells
@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("vocab", [9, 40], ids=["whole-table", "rows-that-occur"])
@both_ways
def test_training_is_the_same_on_every_backend(backend, cell, tie, vocab, bidirectional):
    sizes = {"embed_size": 8 if tie else 5, "vocab_size": vocab}
    config = config_of(cell, dropout=0.3, tie=tie, bidirectional=bidirectional, **sizes)
    found = train_two_steps(backend, config)
    expected = train_two_steps(NumpyBackend(), config)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_optimizers_are_the_same_on_every_backend(backend, optimizer):
    found = train_two_steps(backend, config_of("lstm"), optimizer)
    expected = train_two_steps(NumpyBackend(), config_of("lstm"), optimizer)
    np.testing.assert_allclose(found[-1], expected[-1], rtol=1e-4, atol=1e-6)


@cells
def test_samples_are_the_same_on_every_backend(backend, cell):
    config = config_of(cell)
    texts = []
    for b in (backend, NumpyBackend()):
        model = Model(config, b)
        model.load(initial_values(config, "orthogonal", np.random.default_rng(0)))
        ids = sample_ids(model, np.array([1, 2, 3]), SampleConfig(length=90, count=3, seed=5))
        texts.append(np.concatenate(list(ids)))
    np.testing.assert_array_equal(*texts)


@both_ways
@pytest.mark.parametrize("text", ["a", "ab ", "a ____ b.", "____"])
@pytest.mark.parametrize("level", ["char", "word"])
def test_completions_are_the_same_on_every_backend(backend, level, text, bidirectional):
    words = WordVocabulary(["a", "b", "ab", "ba", ".", ". ", "\n", "bb"], WORDS)
    vocabulary = CharVocabulary("ab .\nABc") if level == "char" else words
    config = config_of("lstm", level=level, bidirectional=bidirectional)
    found = []
    for b in (backend, NumpyBackend()):
        model = Model(config, b)
        model.load(initial_values(config, "orthogonal", np.random.default_rng(0)))
        found.append(Completer(model, vocabulary).complete(text, 2))
    ours, theirs = found
    assert [s.text for s in ours.suggestions] == [s.text for s in theirs.suggestions] != []
    p = [[s.p for s in each.suggestions] for each in found]
    np.testing.assert_allclose(*p, rtol=1e-4)


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("vocab", [9, 40], ids=["whole-table", "rows-that-occur"])
@both_ways
def test_a_training_step_never_waits_for_the_device(tie, vocab, bidirectional):
    backend = StrictBackend()
    sizes = {"embed_size": 8 if tie else 5, "vocab_size": vocab}
    config = config_of("gru", dropout=0.3, tie=tie, bidirectional=bidirectional, **sizes)
    train_two_steps(backend, config)
    assert backend.copies == 5, "the five results that the test itself fetches"


def test_sampling_waits_once_for_each_symbol():
    backend = StrictBackend()
    model = Model(config_of("lstm"), backend)
    list(sample_ids(model, np.array([1]), SampleConfig(length=10)))
    assert backend.copies == 10


@pytest.mark.parametrize(
    "misuse",
    [
        lambda a: float(a),
        lambda a: bool(a),
        lambda a: a.item(),
        lambda a: np.asarray(a),
        lambda a: a + np.ones(3),
        lambda a: np.sum(a),
    ],
)
def test_the_stand_in_is_strict(misuse):
    with pytest.raises(HostAccessError):
        misuse(DeviceArray(np.ones(3)))


def test_products_of_a_weight(backend):
    """Small whole numbers, so that every order of summation gives the same."""
    rng = np.random.default_rng(0)
    weight, x, dy = (
        rng.integers(-4, 5, size=shape).astype(np.float32) for shape in ((5, 3), (7, 3), (7, 5))
    )
    bias, start, dstart = weight[:, 0].copy(), weight.copy(), weight[:, 1].copy()
    to, empty = backend.to_device, backend.empty
    made = backend.weight(to(weight), backward=True)
    y, plain, dx = empty((7, 5)), empty((7, 5)), empty((7, 3))
    backend.linear(to(x), made, y, to(bias))
    backend.linear(to(x), made, plain)
    backend.linear_backward(to(dy), made, dx)
    dweight, dbias, added, dbias_added = empty((5, 3)), empty((5,)), to(start), to(dstart)
    backend.linear_gradient(to(dy), to(x), dweight, dbias)
    backend.linear_gradient(to(dy), to(x), added, dbias_added, add=True)
    for found, expected in (
        (y, x @ weight.T + bias),
        (plain, x @ weight.T),
        (dx, dy @ weight),
        (dweight, dy.T @ x),
        (dbias, dy.sum(axis=0)),
        (added, start + dy.T @ x),
        (dbias_added, dstart + dy.sum(axis=0)),
    ):
        np.testing.assert_array_equal(backend.to_host(found), expected)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "precision, least, most", [("fp32", 0, 2e-6), ("tf32", 2e-5, 2e-3), ("bf16", 2e-4, 2e-2)]
)
def test_products_on_a_gpu_are_as_exact_as_they_were_asked_for(precision, least, most):
    """Of many numbers, relative to the largest: no less, and rounded where they should be."""
    backend = devices.gpu(np.float32, precision)
    x, w = np.random.default_rng(0).normal(size=(2, 64, 512)).astype(np.float32)
    weight, out = backend.weight(backend.to_device(w), backward=False), backend.empty((64, 64))
    backend.linear(backend.to_device(x), weight, out)
    exact = x.astype(np.float64) @ w.T
    error = np.abs(backend.to_host(out) - exact).max() / np.abs(exact).max()
    assert least <= error < most


def test_a_weight_follows_its_array_when_it_is_told_to(backend):
    array, y = backend.to_device(np.ones((2, 3), np.float32)), backend.empty((1, 2))
    made = backend.weight(array, backward=False)
    array *= 2
    made.refresh()
    backend.linear(backend.to_device(np.ones((1, 3), np.float32)), made, y)
    np.testing.assert_array_equal(backend.to_host(y), [[6, 6]])


def test_a_captured_step_does_what_the_step_does(backend):
    """Each time again, with what is in its arrays then."""
    x, total = backend.zeros((2,)), backend.zeros((2,))

    def step():
        nonlocal total
        total += x
        return total * 2

    captured = backend.capture(step)
    for n in range(1, 5):
        backend.to_device(np.array([n, -n]), out=x)
        found = backend.to_host(captured())
        np.testing.assert_array_equal(found, np.array([1, -1]) * n * (n + 1))


def test_map_keeps_the_order(backend):
    assert backend.map(lambda n: n * n, range(5)) == [0, 1, 4, 9, 16]


def test_gather_and_scatter_add(backend):
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    ids, rows = np.array([2, 0, 2, 2]), np.arange(12, dtype=np.float32).reshape(4, 3)
    on_device = backend.to_device(table)
    out = backend.gather(on_device, backend.to_device(ids), out=backend.empty((4, 3)))
    np.testing.assert_array_equal(backend.to_host(out), table[ids])
    backend.scatter_add(on_device, backend.to_device(ids), backend.to_device(rows))
    np.add.at(table, ids, rows)
    np.testing.assert_array_equal(backend.to_host(on_device), table)


def test_to_device_casts_into_a_given_array(backend):
    out = backend.empty((3,))
    backend.to_device(np.array([0.5, 1, 2], dtype=np.float64), out=out)
    np.testing.assert_array_equal(backend.to_host(out), np.array([0.5, 1, 2], np.float32))


def test_to_host_is_a_copy(backend):
    array = backend.zeros((2,))
    host = backend.to_host(array)
    host[...] = 7
    np.testing.assert_array_equal(backend.to_host(array), 0)
