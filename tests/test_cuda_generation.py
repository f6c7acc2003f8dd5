"""Drawing symbols on a CUDA device: the kernel compiled as C++, and the loop, by ``sampling``."""

from __future__ import annotations

from collections import Counter
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.backend import NumpyBackend
from charrnn.backend.cuda import Kernels
from charrnn.backend.cuda.generation import GenerationLoop
from charrnn.config import SampleConfig
from charrnn.model import Model
from charrnn.params import initial_values
from charrnn.sampling import generate, pick, sample_ids
from tests.support.cuda_host import HostKernel, needs_compiler
from tests.support.devices import host
from tests.support.fake_cupy import fake_backend
from tests.support.kernels import assert_close, dtypes, random
from tests.support.stacks import cells, model_config
from tests.support.strict_device import LAUNCHES

pytestmark = needs_compiler

#: What is drawn with, one filter at a time and all of them.
SETTINGS = [
    {"temperature": 0.0},
    {"temperature": 1e-320},
    {"temperature": 0.7},
    {"temperature": 1000.0},
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 10**6},
    {"top_p": 0.01},
    {"top_p": 0.55},
    {"min_p": 0.3},
    {"min_p": 1.0},
    {"top_k": 9, "top_p": 0.8, "min_p": 0.02, "temperature": 1.3},
]
settings = pytest.mark.parametrize("settings", SETTINGS, ids=str)


def chosen(logits: np.ndarray, config: SampleConfig, draws: np.ndarray) -> np.ndarray:
    """What the kernel draws from logits [B, V]."""
    B, V = logits.shape
    ids, out = np.full(B, -9), np.full(B, -8)
    masses, bias = np.full((B, V), np.nan), np.zeros(V, logits.dtype)
    Kernels(logits.dtype, HostKernel).draw(logits, bias, masses, draws, ids, out, config)
    np.testing.assert_array_equal(ids, out)
    return out


@settings
@pytest.mark.parametrize(
    "dtype, V, unknown",
    [
        (np.float32, 2, False),
        (np.float32, 33, False),
        (np.float64, 33, True),
        (np.float32, 300, False),
    ],
)
def test_draw(dtype, settings, V, unknown):
    """None of these draws comes near enough to a bound for rounding."""
    config = SampleConfig(**{"temperature": 1.0} | settings, unknown=unknown)
    logits, draws = random(dtype, 6, V) * dtype(2), np.random.default_rng(V).random(6)
    draws[:2] = 0, 1 - 2**-53
    np.testing.assert_array_equal(chosen(logits, config, draws), pick(logits, config, draws))


@hypothesis.settings(max_examples=30)
@given(
    st.lists(st.integers(-3, 3), min_size=2, max_size=40),
    st.floats(0.1, 5), st.integers(0, 8), st.floats(0.01, 1), st.floats(0, 1),
    st.integers(0, 99),
)  # fmt: skip
def test_symbols_that_are_as_likely_are_kept_by_their_number(
    values, temperature, top_k, top_p, min_p, seed
):
    config = SampleConfig(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    logits, draws = np.array([values] * 6, float), np.random.default_rng(seed).random(6)
    np.testing.assert_array_equal(chosen(logits, config, draws), pick(logits, config, draws))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_of_the_likeliest_by_far_comes_the_first(temperature):
    logits = np.full((1, 70), -1e30)
    logits[0, [40, 60]] = 5
    config = SampleConfig(temperature=temperature, top_k=1)
    assert chosen(logits, config, np.array([0.9])) == [40]


def test_a_draw_on_a_bound_takes_the_symbol_behind_it():
    """Of four that are as likely, whose masses add up without rounding."""
    draws, config = np.array([0.0, 0.25, 0.5, 0.75]), SampleConfig(temperature=1.0)
    assert chosen(np.zeros((4, 5)), config, draws).tolist() == [1, 2, 3, 4]


@dtypes
@pytest.mark.parametrize("draw", [0.0, 0.5, 1 - 2**-53])
@pytest.mark.parametrize("impossible", [[1, 2], [48, 49], [1, 2, 25, 49]])
def test_no_draw_gives_a_symbol_of_probability_0(dtype, draw, impossible):
    """Not even the last one, by rounding; nor the unknown symbol, here the likeliest."""
    logits, config = random(dtype, 20, 50) * dtype(2), SampleConfig(temperature=1.0)
    logits[:, 0], logits[:, impossible] = 50, -1e4
    draws = np.full(20, draw)
    found = chosen(logits, config, draws)
    assert not np.isin(found, [0, *impossible]).any()
    np.testing.assert_array_equal(found, pick(logits, config, draws))


@settings
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [1, 17, slice(None)])
def test_of_numbers_that_are_none_a_symbol_that_there_is_is_drawn(settings, special, place):
    """It is read from a table next: whatever it is, it must lie within."""
    logits = random(np.float32, 3, 33)
    logits[:, place] = special
    config = SampleConfig(**{"temperature": 1.0} | settings)
    found = chosen(logits, config, np.linspace(0, 0.99, 3))
    assert np.all((found >= 1) & (found < 33))


# The loop

HIDDEN = 20


def generated(backend: Any, cell: str, vocab: int, settings: dict[str, Any], layers: int = 2):
    """Symbols and states after calls of one, two and more symbols from a random state."""
    sizes = {"vocab_size": vocab, "hidden_size": HIDDEN, "embed_size": 7, "layers": layers}
    config = model_config(cell, **sizes)
    values = initial_values(config, "orthogonal", np.random.default_rng(0))
    values["decoder.weight"] *= 3
    values["decoder.bias"] += np.random.default_rng(3).normal(size=vocab)
    model, rng = Model(config, backend), np.random.default_rng(1)
    model.load(values)
    window = model.window(1, 3)
    states = [[rng.normal(size=s.shape) for s in layer] for layer in window.states]
    window.states = [[backend.to_device(s.astype(backend.dtype)) for s in x] for x in states]
    draws, ids, found = np.random.default_rng(2).random((20, 3)), np.array([3, 1, 2]), []
    kernel = backend.kernel("generate", generate)
    for a, b in ((0, 1), (1, 3), (3, 10), (10, 20)):
        found.append(kernel(window, ids, draws[a:b], SampleConfig(**settings)))
        ids = found[-1][-1]
    return np.concatenate(found), [host(s) for layer in window.states for s in layer]


@dtypes
@cells
@pytest.mark.parametrize("vocab", [5, 50])
@pytest.mark.parametrize("settings", [SETTINGS[0], SETTINGS[2]], ids=str)
@pytest.mark.parametrize("table", [0, 2048], ids=["products", "table"])
def test_generate(monkeypatch, dtype, cell, vocab, settings, table):
    """The same symbols, of draws that hardly come near enough to a bound for rounding."""
    monkeypatch.setattr(GenerationLoop, "TABLE", table)
    expected, states = generated(NumpyBackend(dtype), cell, vocab, settings)
    found, found_states = generated(fake_backend(dtype), cell, vocab, settings)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype
    for ours, theirs in zip(found_states, states, strict=True):
        assert_close(ours, theirs, np.abs(theirs).max(), ulps=100)


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("settings", [SETTINGS[2], SETTINGS[-1]], ids=str)
def test_samples_of_a_seed_are_those_of_the_cpu(settings, unknown):
    config = SampleConfig(**{"length": 75, "count": 2, "seed": 5, "unknown": unknown} | settings)
    shape = model_config("lstm", vocab_size=20, hidden_size=HIDDEN)
    texts = []
    for backend in (NumpyBackend(), fake_backend()):
        model = Model(shape, backend)
        model.load(initial_values(shape, "orthogonal", np.random.default_rng(0)))
        texts.append(np.concatenate(list(sample_ids(model, np.array([1, 2]), config))))
    np.testing.assert_array_equal(*texts)


def launches(backend: Any, cell: str, layers: int, draws: np.ndarray) -> Counter[str]:
    """Of drawing so many symbols, after the first that were drawn."""
    config = model_config(cell, layers=layers)
    window, kernel = Model(config, backend).window(1, 2), backend.kernel("generate", generate)
    window.model.load(initial_values(config, "orthogonal", np.random.default_rng(0)))
    kernel(window, np.array([1, 2]), draws[:1], SampleConfig())
    LAUNCHES.clear()
    backend.xp.copies = 0
    kernel(window, np.array([1, 2]), draws, SampleConfig())
    return LAUNCHES.copy()


@cells
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_symbol_costs_few_launches_and_a_block_of_them_is_waited_for_once(cell, layers):
    """Three for a single layer, and the decoder's two; four for each layer above it."""
    backend, draws = fake_backend(), np.random.default_rng(0).random((64, 2))
    few, many = (launches(backend, cell, layers, draws[:n]) for n in (32, 64))
    assert backend.xp.copies == 1
    assert many - few == {
        name: 32 * count
        for name, count in {
            "take": 1,
            f"{cell}_forward": layers,
            "gemm": 2 * layers,
            "add": layers - 1,
            "draw": 1,
        }.items()
        if count
    }
    assert sum(few.values()) == 32 * (4 * layers + 1) + 2, "draws, and the symbols to begin with"


@cells
def test_blocks_of_the_same_kind_are_captured(cell):
    """Copies of symbols and draws, one launch, and the copy back; the symbols are the same."""
    draws, settings = np.random.default_rng(0).random((5, 7, 2)), SampleConfig(top_k=5)
    config = model_config(cell)
    found = []
    for captured in (True, False):
        backend = fake_backend()
        if not captured:
            backend.capture = lambda step: step
        model = Model(config, backend)
        model.load(initial_values(config, "orthogonal", np.random.default_rng(0)))
        window, ids = model.window(1, 2), np.array([1, 2])
        for n, block in enumerate(draws):
            LAUNCHES.clear()
            backend.xp.copies = 0
            ids = backend.kernel("generate", generate)(window, ids, block, settings)[-1]
            found.append(ids)
            if captured and n:
                assert LAUNCHES == {"assignment": 2, "graph": 1}
                assert backend.xp.copies == 1
    np.testing.assert_array_equal(found[:5], found[5:])
    assert len(np.unique(found)) > 2


def test_few_kinds_of_blocks_are_kept():
    """Or a long session with other settings each time would fill the memory."""
    backend, config = fake_backend(), model_config("gru")
    model = Model(config, backend)
    model.load(initial_values(config, "orthogonal", np.random.default_rng(0)))
    window, kernel = model.window(1, 1), backend.kernel("generate", generate)
    for n in range(1, 20):
        kernel(window, np.array([1]), np.full((n, 1), 0.5), SampleConfig())
    [loop] = backend._kernels._loops.values()
    assert len(loop.blocks) == 19 - 2 * GenerationLoop.KINDS
