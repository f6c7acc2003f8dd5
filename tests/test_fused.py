"""The compiled kernels: each against the function that it stands for, and how they are kept.

The mathematics of the layers is checked on them elsewhere; here it is shapes, values and memory.
"""

from __future__ import annotations

import ast
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.backend import NumpyBackend
from charrnn.backend.fused import FusedBackend
from charrnn.backend.fused.backend import available_threads
from charrnn.backend.fused.loop import GenerationLoop
from charrnn.backend.fused.shape import Shape
from charrnn.cells import CELLS
from charrnn.config import SampleConfig, TrainConfig
from charrnn.layers import Scan
from charrnn.model import Model
from charrnn.optim import Optimizer, sum_of_squares
from charrnn.params import initial_values
from charrnn.sampling import generate, pick
from charrnn.verdicts import rank
from tests.support.kernels import (
    METHODS,
    ODD,
    ScanCase,
    assert_close,
    check_a_cell_nobody_has_seen_before,
    check_cross_entropy,
    check_cross_entropy_of_a_special_value,
    check_dropout,
    check_scan,
    check_update,
    check_update_of_a_special_value_anywhere,
    dropped,
    dtypes,
    entropies,
    methods,
    random,
    special_places,
    specials,
)
from tests.support.stacks import backend_of, cells, model_config


def fused(dtype: Any, threads: int = 1) -> FusedBackend:
    return backend_of(f"fused-{threads}", dtype)


def test_every_kernel_that_the_core_asks_for_is_here():
    """And has a test below: a new one fails this."""
    package = Path(sys.modules["charrnn"].__file__).parent
    asked = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "kernel":
                asked.add(node.args[0].value)
    tested = {"scan_forward", "scan_backward", "cross_entropy", "sum_of_squares", "dropout"}
    tested |= {"update", "generate", "rank", "scan_read"}
    assert asked == tested
    for name in asked:
        reference = METHODS["adam"]
        assert fused(np.float32).kernel(name, reference) is not reference, name


# Recurrence


#: T, B, H: below, at and above what a vector and a panel hold, with rows of one tile and of more.
SCANS = [(1, 1, 1), (2, 1, 3), (5, 2, 8), (2, 3, 16), (5, 4, 17), (1, 5, 32), (2, 15, 33)]
SCANS += [(1, 31, 3), (2, 31, 65), (3, 1, 32), (2, 1, 96)]


@dtypes
@cells
@pytest.mark.parametrize("T, B, H", SCANS)
@pytest.mark.parametrize("reverse, strided", [(False, False), (False, True), (True, True)])
def test_scan(dtype, cell, T, B, H, reverse, strided):
    check_scan(fused(dtype), cell, T, B, H, reverse, strided)


@dtypes
@cells
@pytest.mark.parametrize("T, B, H", [(1, 1, 3), (7, 1, 32), (7, 3, 5), (5, 17, 33)])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("block", [1, 1000, 100_000])
def test_scan_without_a_way_back(monkeypatch, dtype, cell, T, B, H, reverse, block):
    """Of inputs, and of rows of a table, in blocks of time of any length."""
    monkeypatch.setattr("charrnn.backend.fused.backend.BLOCK", block)
    case = ScanCase.make(cell, T, B, H)
    for index in (None, np.random.default_rng(0).integers(0, T * B, size=T * B)):
        expected = case.read(NumpyBackend(np.float64), cell, reverse, index)
        found = case.read(fused(dtype), cell, reverse, index)
        assert found.dtype == dtype
        assert_close(found, expected, np.abs(expected).max(), ulps=12)


@dtypes
@cells
@specials
def test_scan_of_a_special_value_anywhere(dtype, cell, special):
    """In the sequence that it belongs to it goes on as in the reference, no other one sees it."""
    for place, index in (
        *(("x", (1, 0)), ("states", (0, 1, 2)), ("dy", (2, 1, 9)), ("dfinal", (0, 1, 3))),
        *(("weight_hh", (3, 1)), ("weight_ih", (2, 2)), ("bias_hh", 4)),
    ):
        case = ScanCase.make(cell, 3, 2, 7)
        array = case.weights[place] if place in case.weights else getattr(case, place)
        array[index] = special
        with np.errstate(all="ignore"):
            expected = case.run(NumpyBackend(dtype), cell, reverse=False, strided=True)
        found = case.run(fused(dtype), cell, reverse=False, strided=True)
        for name, value in expected.items():
            largest = np.abs(value[np.isfinite(value)]).max(initial=0)
            if name.startswith("d") and np.isfinite(special):
                largest += abs(special)  # it multiplies gradients that are themselves rounded
            assert_close(found[name], value, largest, ulps=12, name=f"{name} of {place}")


@dtypes
@pytest.mark.parametrize("largest", [1e-38, 1e-3, 1.0, 12.0, 100.0, 1e30])
def test_tanh_of_a_dense_grid(dtype, largest):
    """As the cell takes it, with the recurrent product 0."""
    cell, (B, H) = CELLS["rnn_tanh"], (200, 100)
    grid = np.linspace(-largest, largest, B * H).astype(dtype)
    backend = fused(dtype)
    weights = {
        "weight_ih": backend.weight(np.eye(H, dtype=dtype), backward=False),
        "weight_hh": backend.weight(np.zeros((H, H), dtype), backward=False),
        "bias_ih": np.zeros(H, dtype),
        "bias_hh": np.zeros(H, dtype),
    }
    scan = Scan(backend, cell, weights, None, 1, B)
    found = scan.forward(grid.reshape(B, H)).reshape(-1)
    assert_close(found, np.tanh(grid.astype(np.float64)), ulps=3)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(grid))
    assert np.all(np.abs(found) <= 1)


# Products


#: M, K, N: rows of one tile and of several, depths around a block of 256, columns around panels
#: and a block of 1024.
PRODUCTS = [(1, 1, 1), (1, 257, 33), (2, 3, 16), (3, 16, 17), (5, 17, 8), (8, 31, 32), (9, 64, 65)]
PRODUCTS += [(14, 255, 15), (15, 256, 1), (31, 600, 100), (64, 5, 31), (449, 3, 3)]
PRODUCTS += [(57, 258, 1025)]


@dtypes
@pytest.mark.parametrize("M, K, N", PRODUCTS)
@pytest.mark.parametrize("biased", [False, True])
def test_linear(dtype, M, K, N, biased):
    backend = fused(dtype)
    x, w = random(dtype, M, K), random(dtype, N, K, seed=1)
    bias = random(dtype, N) if biased else None
    out = np.full((M, N), np.nan, dtype)
    backend.linear(x, backend.weight(w, backward=False), out, bias)
    x, w = x.astype(np.float64), w.astype(np.float64)
    expected, magnitude = x @ w.T, np.abs(x) @ np.abs(w).T
    if bias is not None:
        expected, magnitude = expected + bias, magnitude + np.abs(bias)
    assert_close(out, expected, magnitude)


@dtypes
@pytest.mark.parametrize("M, K, N", PRODUCTS)
def test_linear_backward(dtype, M, K, N):
    backend = fused(dtype)
    dy, w = random(dtype, M, K), random(dtype, K, N, seed=1)
    out = np.full((M, N), np.nan, dtype)
    backend.linear_backward(dy, backend.weight(w, backward=True), out)
    dy, w = dy.astype(np.float64), w.astype(np.float64)
    assert_close(out, dy @ w, np.abs(dy) @ np.abs(w))


#: Likewise of the gradient: M is its depth, K its columns; N rows around a block of 448.
GRADIENTS = [(1, 1, 1), (3, 17, 15), (5, 32, 14), (64, 65, 29), (255, 16, 8), (256, 3, 31)]
GRADIENTS += [(257, 33, 449), (600, 5, 3), (7, 31, 448), (2, 40, 900)]


@dtypes
@pytest.mark.parametrize("M, K, N", GRADIENTS)
@pytest.mark.parametrize("add", [False, True])
def test_linear_gradient(dtype, M, K, N, add):
    dy, x = random(dtype, M, N), random(dtype, M, K, seed=1)
    start, bias_start = random(dtype, N, K) * add, random(dtype, N) * add
    dweight, dbias = start.copy(), bias_start.copy()
    if not add:
        dweight[...] = dbias[...] = np.nan
    fused(dtype).linear_gradient(dy, x, dweight, dbias, add=add)
    dy, x = dy.astype(np.float64), x.astype(np.float64)
    assert_close(dweight, start + dy.T @ x, np.abs(start) + np.abs(dy.T) @ np.abs(x))
    magnitude = np.abs(bias_start) + np.abs(dy).sum(axis=0)
    assert_close(dbias, bias_start + dy.sum(axis=0), magnitude)


@dtypes
@specials
def test_products_of_a_special_value_anywhere(dtype, special):
    """Rows and columns of the result that it belongs to, and no others."""
    reference, backend = NumpyBackend(dtype), fused(dtype)
    for place in ("x", "w", "bias", "dy"):
        arrays = {"x": random(dtype, 20, 9), "w": random(dtype, 35, 9), "bias": random(dtype, 35)}
        arrays["dy"] = random(dtype, 20, 35)
        arrays[place].reshape(-1)[7] = special
        results = []
        for b in (reference, backend):
            y, dx, dw, db = (np.empty(s, dtype) for s in ((20, 35), (20, 9), (35, 9), 35))
            weight = b.weight(arrays["w"], backward=True)
            with np.errstate(all="ignore"):
                b.linear(arrays["x"], weight, y, arrays["bias"])
                b.linear_backward(arrays["dy"], weight, dx)
                b.linear_gradient(arrays["dy"], arrays["x"], dw, db)
            results.append({"y": y, "dx": dx, "dw": dw, "db": db})
        expected, found = results
        magnitude = 100 * max(1, abs(special)) if np.isfinite(special) else 100
        for name, value in expected.items():
            assert_close(found[name], value, magnitude, name=f"{name} of {place}")


# Rows


@dtypes
@pytest.mark.parametrize("V, E, N", [(1, 1, 1), (3, 7, 10), (5, 16, 4), (9, 17, 40), (4, 65, 3)])
def test_gather_and_scatter_add(dtype, V, E, N):
    """Exactly: the rows are added up in the same order."""
    table, rows = random(dtype, V, E), random(dtype, N, E, seed=1)
    table.reshape(-1)[0] = 1e-40
    ids = np.random.default_rng(0).integers(0, V, size=N)
    out = np.full((N, E), np.nan, dtype)
    assert fused(dtype).gather(table, ids, out) is out
    np.testing.assert_array_equal(out, table[ids])
    expected = table.copy()
    np.add.at(expected, ids, rows)
    fused(dtype).scatter_add(table, ids, rows)
    np.testing.assert_array_equal(table, expected)


@pytest.mark.parametrize("kind", [np.int32, np.uint8])
def test_numbers_of_rows_are_64_bits_wide(kind):
    """Anything else would be read as addresses outside of the table."""
    table, ids = np.zeros((2, 3)), np.zeros(4, kind)
    with pytest.raises(AssertionError):
        fused(np.float64).gather(table, ids, np.zeros((4, 3)))
    with pytest.raises(AssertionError):
        fused(np.float64).scatter_add(table, ids, np.zeros((4, 3)))


@dtypes
@specials
def test_rows_with_a_special_value(dtype, special):
    table, ids = np.full((2, 5), special, dtype), np.array([1, 1])
    out, added = np.empty((2, 5), dtype), np.ones((2, 5), dtype)
    fused(dtype).gather(table, ids, out)
    np.testing.assert_array_equal(out, table)
    fused(dtype).scatter_add(added, ids, table)
    np.testing.assert_array_equal(added[0], 1)
    np.testing.assert_array_equal(added[1], 1 + table[0] + table[0])


# Loss


@dtypes
@pytest.mark.parametrize("scale", [0.0, 1.0, 1 / 300])
@pytest.mark.parametrize("N, V", [(1, 1), (1, 2), (5, 16), (3, 17), (4, 31), (2, 64), (7, 1000)])
@pytest.mark.parametrize("spread", [1e-3, 3.0, 1e4])
def test_cross_entropy(dtype, scale, N, V, spread):
    check_cross_entropy(fused(dtype), scale, N, V, spread)


@dtypes
def test_softmax_of_a_dense_grid(dtype):
    """Of two logits, 0 and x <= 0: exp(x) to the last places."""
    x = np.linspace(-80, 0, 100_000).astype(dtype)
    logits, targets = np.stack([np.zeros_like(x), x], axis=1), np.zeros(len(x), np.int64)
    _, gradient = entropies(fused(dtype), logits, targets, scale=1.0)
    exact = np.exp(x.astype(np.float64))
    assert_close(gradient[:, 1], exact / (1 + exact), ulps=3)


@dtypes
@specials
@special_places
def test_cross_entropy_of_a_special_value(dtype, special, place):
    check_cross_entropy_of_a_special_value(fused(dtype), special, place, V=21)


@dtypes
@pytest.mark.parametrize(
    "N, V, spread", [(1, 1, 1), (3, 15, 3), (2, 16, 0), (4, 65, 9), (2, 3000, 90)]
)
def test_rank(dtype, N, V, spread):
    logits = random(dtype, N, V) * dtype(spread)
    targets = np.random.default_rng(0).integers(0, V, size=N)
    found, expected = (
        ranked(fused(dtype), logits, targets),
        ranked(NumpyBackend(dtype), logits, targets),
    )
    for of, ours, theirs in zip(("nats", "ranks", "top"), found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, 8 * np.finfo(dtype).eps, err_msg=of)


@dtypes
@specials
@pytest.mark.parametrize("place", ["target", "other", "all"])
def test_rank_of_a_special_value(dtype, special, place):
    """What has no loss has no rank either."""
    logits, targets = random(dtype, 3, 21), np.array([2, 20, 5])
    logits[1, {"target": 20, "other": 17, "all": slice(None)}[place]] = special
    found, expected = (
        ranked(fused(dtype), logits, targets),
        ranked(NumpyBackend(dtype), logits, targets),
    )
    lossless = np.isnan(expected[0])
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours[~lossless], theirs[~lossless], 8 * np.finfo(dtype).eps)
    assert np.isnan(found[0][lossless]).all()


def ranked(backend, logits, targets):
    """Losses, ranks and probabilities of the likeliest."""
    found = np.full(len(logits), np.nan), np.zeros(len(logits), np.int64), np.zeros(len(logits))
    with np.errstate(all="ignore"):
        backend.kernel("rank", rank)(logits, targets, *found)
    return found


# Pointwise passes

SIZES = [1, 3, 7, 8, 15, 16, 17, 33, 64, 1000, 4095, 4096, 4097, 20_000]


@dtypes
@pytest.mark.parametrize("size", SIZES)
def test_sum_of_squares(dtype, size):
    x = random(dtype, size)
    found = fused(dtype).kernel("sum_of_squares", sum_of_squares)(np, x)
    assert_close(np.asarray(found, dtype), np.sum(x.astype(np.float64) ** 2), ulps=16)


@dtypes
@specials
def test_sum_of_squares_of_a_special_value(dtype, special):
    x = random(dtype, 40)
    for place in (0, 39):
        x[place] = special
        found = np.float64(fused(dtype).kernel("sum_of_squares", sum_of_squares)(np, x))
        np.testing.assert_allclose(found, np.sum(x.astype(np.float64) ** 2), rtol=1e-6)


@dtypes
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("threshold", [1, 30_000, 65_535])
def test_dropout(dtype, size, threshold):
    check_dropout(fused(dtype), size, threshold)


@dtypes
@specials
def test_dropout_of_a_special_value(dtype, special):
    """Dropped or not: what is not a number stays none."""
    x, draws = np.full(20, special, dtype), np.arange(20).astype(np.uint16)
    expected, _ = dropped(NumpyBackend(dtype), x, draws, 10, 1.5)
    for found in dropped(fused(dtype), x, draws, 10, 1.5):
        np.testing.assert_array_equal(found, expected)


@dtypes
@methods
@pytest.mark.parametrize("size", SIZES)
def test_update(dtype, name, size):
    check_update(fused(dtype), name, size)


@dtypes
@methods
@specials
def test_update_of_a_special_value_anywhere(dtype, name, special):
    check_update_of_a_special_value_anywhere(fused(dtype), name, special)


# Drawing symbols


def generated(backend: Any, cell: str, vocab: int, temperature: float, draws: np.ndarray) -> Any:
    """Symbols and states after some calls of one, two and more symbols from a random state."""
    config = model_config(cell, vocab_size=vocab, hidden_size=20, embed_size=7)
    model = Model(config, backend)
    model.load(initial_values(config, "orthogonal", np.random.default_rng(0)))
    model.params["decoder.weight"][...] *= 3
    model.refresh()
    window = model.window(1, draws.shape[1])
    rng = np.random.default_rng(1)
    window.states = [[rng.normal(size=s.shape) for s in layer] for layer in window.states]
    kernel, ids, drawn = backend.kernel("generate", generate), np.full(draws.shape[1], 3), []
    for a, b in ((0, 1), (1, 3), (3, 10), (10, len(draws))):
        drawn.append(kernel(window, ids, draws[a:b], SampleConfig(temperature=temperature)))
        ids = drawn[-1][-1]
    return np.concatenate(drawn), window.states


@cells
@pytest.mark.parametrize(
    "dtype, vocab",
    [(np.float32, 5), (np.float32, 50), (np.float64, 50), (np.float64, 3000)],
    ids=["float32-5", "float32-50", "float64-50", "float64-3000"],
)
@pytest.mark.parametrize("temperature", [0.0, 1e-320, 1e-40, 0.7, 1000.0])
@pytest.mark.parametrize("batch, threads", [(1, 1), (5, 2)])
def test_generate(dtype, cell, vocab, temperature, batch, threads):
    """The same symbols: of a few, whose bounds hardly a draw comes near enough for rounding."""
    draws = np.random.default_rng(2).random((20, batch))
    expected, states = generated(NumpyBackend(dtype), cell, vocab, temperature, draws)
    found, found_states = generated(fused(dtype, threads), cell, vocab, temperature, draws)
    np.testing.assert_array_equal(found, expected)
    for layer, found_layer in zip(states, found_states, strict=True):
        for state, found_state in zip(layer, found_layer, strict=True):
            assert_close(found_state, state, np.abs(state).max(), ulps=100)


@dtypes
@pytest.mark.parametrize("draw", [0.0, 0.5, 1 - 2**-53])
@pytest.mark.parametrize("impossible", [[1, 2], [48, 49], [1, 2, 25, 49]])
def test_no_draw_gives_a_symbol_of_probability_0(dtype, draw, impossible):
    """Not even the last one, by rounding; nor the unknown symbol, here the likeliest."""
    model = Model(model_config("lstm", vocab_size=50), fused(dtype))
    bias = model.params["decoder.bias"]
    for seed in range(20):
        bias[...] = random(dtype, 50, seed=seed) * 2
        bias[0], bias[impossible] = 50, -1e4
        [[found]] = fused(dtype).kernel("generate", generate)(
            model.window(1, 1), np.array([1]), np.full((1, 1), draw), SampleConfig(temperature=1.0)
        )
        assert found == pick(bias[None], SampleConfig(temperature=1.0), np.array([draw]))


# Threads


def drawn(backend: Any, cell: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """What one sequence draws in two calls, and its states then; three panels of hidden units."""
    sizes = {"vocab_size": 70, "hidden_size": 3 * backend.shape.panel, "embed_size": 5}
    config = model_config(cell, **sizes)
    model = Model(config, backend)
    model.load(initial_values(config, "orthogonal", np.random.default_rng(0)))
    window = model.window(1, 1)
    draws = np.random.default_rng(1).random((9, 1))
    kernel = backend.kernel("generate", generate)
    config = SampleConfig(temperature=1.0)
    ids = [kernel(window, np.array([1]), draws[:4], config)]
    ids.append(kernel(window, ids[0][-1], draws[4:], config))
    return np.concatenate(ids), [state for layer in window.states for state in layer]


@cells
@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("table", [0, 2048], ids=["products", "table"])
def test_threads_that_draw_one_text_together_draw_the_same(monkeypatch, cell, threads, table):
    """Bit for bit; four share three panels, so that one has nothing to do."""
    monkeypatch.setattr(GenerationLoop, "TABLE", table)
    expected, states = drawn(fused(np.float32), cell)
    monkeypatch.setattr(GenerationLoop, "SHARED", 0)
    found, found_states = drawn(fused(np.float32, threads), cell)
    np.testing.assert_array_equal(found, expected)
    for state, expected_state in zip(found_states, states, strict=True):
        np.testing.assert_array_equal(state, expected_state)


def test_two_callers_never_wait_for_each_others_threads(monkeypatch):
    monkeypatch.setattr(GenerationLoop, "SHARED", 0)
    backend = fused(np.float32, 2)
    with ThreadPoolExecutor(3) as callers:
        texts = [callers.submit(drawn, backend, "lstm") for _ in range(6)]
        results = [text.result(timeout=60)[0] for text in texts]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def trained(threads: int, batch: int = 5) -> np.ndarray:
    """Parameters after three steps, float64."""
    backend = fused(np.float64, threads)
    config = model_config("gru", vocab_size=30)
    model = Model(config, backend, learns=True)
    model.load(initial_values(config, "orthogonal", np.random.default_rng(0)))
    window = model.training_window(4, batch)
    optimizer = Optimizer(backend, model.params, window.grads, TrainConfig())
    rng = np.random.default_rng(1)
    for _ in range(3):
        window.loss_and_grads(*rng.integers(0, 30, size=(2, 4, batch)), None)
        optimizer.step(0.01, window.touched)
        model.refresh()
    return model.params.flat


def test_threads_give_the_same_bytes_every_time():
    assert trained(2).tobytes() == trained(2).tobytes()


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_the_number_of_threads_makes_no_difference_but_rounding(threads):
    """Parts of the batch of unequal size, and more threads than lanes."""
    np.testing.assert_allclose(trained(threads), trained(1), rtol=1e-9, atol=1e-12)


def test_what_a_thread_raises_is_raised():
    def fail(n: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fused(np.float64, 2).map(fail, range(3))


# Cells that there are not: see ``test_trace.py``


@dtypes
@pytest.mark.parametrize("T, B, H", [(1, 1, 1), (3, 2, 16), (2, 3, 37)])
def test_a_cell_nobody_has_seen_before(dtype, T, B, H):
    check_a_cell_nobody_has_seen_before(fused(dtype), T, B, H)


@dtypes
@pytest.mark.parametrize("place", ["x", "states", "bias_hh"])
def test_nan_is_not_lost_in_it(monkeypatch, dtype, place):
    """Nor in the maximum of two, whichever it is."""
    monkeypatch.setitem(CELLS, "odd", ODD)
    case = ScanCase.make("odd", 1, 2, 5)
    array = case.weights[place] if place in case.weights else getattr(case, place)
    array.reshape(-1)[-1] = np.nan
    expected = case.run(NumpyBackend(dtype), "odd", reverse=False, strided=False)
    for name, value in case.run(fused(dtype), "odd", reverse=False, strided=False).items():
        np.testing.assert_array_equal(np.isnan(value), np.isnan(expected[name]), err_msg=name)


# The backend


@dtypes
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (3, 5), (100, 1000)])
def test_arrays_begin_where_a_line_of_the_cache_does(dtype, shape):
    backend = fused(dtype)
    for array in (backend.empty(shape), backend.zeros(shape), backend.empty(shape, np.int64)):
        assert array.ctypes.data % 64 == 0 or array.size == 0
        assert (array.shape, array.flags.c_contiguous) == (shape, True)
    assert backend.zeros(shape).dtype == dtype
    assert not backend.zeros(shape).any()


def test_arrays_of_another_kind_are_refused():
    backend, x = fused(np.float64), np.ones(4, np.float32)
    with pytest.raises(TypeError, match="float32 for kernels of float64"):
        backend.kernel("sum_of_squares", sum_of_squares)(np, x)
    with pytest.raises(ValueError, match="contiguous"):
        backend.kernel("sum_of_squares", sum_of_squares)(np, np.ones(8)[::2])


@pytest.mark.parametrize(
    "quota, threads", [("150000 100000", 2), ("10000 100000", 1), ("max 100000", None)]
)
def test_a_containers_share_of_the_processors_counts(tmp_path, quota, threads):
    (tmp_path / "cpu.max").write_text(quota)
    whole = available_threads(tmp_path / "none")
    assert available_threads(tmp_path) == (whole if threads is None else min(threads, whole))


@pytest.mark.parametrize(
    "dtype, size, registers",
    [(np.float32, 32, 16), (np.float64, 32, 16), (np.float32, 16, 32), (np.float64, 16, 16)],
    ids=["float32-avx2", "float64-avx2", "float32-neon", "float64-sse"],
)
def test_processors_with_other_registers(monkeypatch, dtype, size, registers):
    """The kernels that they would get, on this one: some of the tests above, once more."""
    width = size // np.dtype(dtype).itemsize
    shape = Shape(np.dtype(dtype), width, min(width, registers // 2 - 2), 2)
    monkeypatch.setattr(Shape, "of_host", classmethod(lambda cls, host, dtype: shape))
    backend = FusedBackend(dtype, 1)
    assert backend.shape is shape
    monkeypatch.setitem(globals(), "fused", lambda *arguments: backend)
    for sizes in PRODUCTS:
        test_linear(dtype, *sizes, biased=True)
        test_linear_backward(dtype, *sizes)
    for sizes in GRADIENTS:
        test_linear_gradient(dtype, *sizes, add=True)
    for sizes in SCANS:
        test_scan(dtype, "gru", *sizes, reverse=True, strided=True)
        for block in (1, 1000):
            test_scan_without_a_way_back(
                monkeypatch, dtype, "gru", *sizes, reverse=True, block=block
            )
    for count in SIZES:
        test_sum_of_squares(dtype, count)
        test_dropout(dtype, count, 30_000)
        test_update(dtype, "adam", count)
    test_cross_entropy(dtype, 1.0, 7, 1000, 3.0)
    test_gather_and_scatter_add(dtype, 9, 17, 40)
    test_tanh_of_a_dense_grid(dtype, 12.0)
    test_softmax_of_a_dense_grid(dtype)
    test_rank(dtype, 4, 65, 9)
