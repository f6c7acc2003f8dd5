"""Layers: gradients against central differences, and properties that need no oracle."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.backend import NumpyBackend
from charrnn.layers import Dropout, Embedding, Head, Stack, cross_entropy
from charrnn.layers import head as head_module
from charrnn.params import Buffer
from tests.support.devices import host, put
from tests.support.gradients import numeric_gradient
from tests.support.stacks import (
    CELLS,
    HIDDEN,
    INPUT,
    Case,
    backends,
    cells,
    clone,
    directions,
    exact,
    layers,
    weights_of,
)


@backends
@cells
@layers
@directions
@pytest.mark.parametrize("steps", [1, 4])
def test_stack_gradients_match_central_differences(backend, cell, layers, direction, steps):
    """Of a loss on the outputs and the final states, for every weight, input and state."""
    case = Case.make(backend, cell, layers, direction, steps)
    dy, dfinal = case.upstream()

    def loss() -> float:
        total = float((case.forward() * dy).sum())
        for scan, weights in zip(case.stack.final, dfinal, strict=True):
            total += sum(float((host(s) * w).sum()) for s, w in zip(scan, weights, strict=True))
        return total

    found = case.run(dy, dfinal)
    arrays = {f"d {name}": value for name, value in case.params.items()} | {"d x": case.x}
    for scan, states in enumerate(case.states):
        arrays |= {f"d state.{scan}.{k}": state for k, state in enumerate(states)}
    for name, array in arrays.items():
        expected = numeric_gradient(loss, array)
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, atol=1e-8, err_msg=name)


@backends
@cells
@directions
def test_every_gradient_is_nonzero(backend, cell, direction):
    """A backward pass that forgets a gate passes tests of shapes, not this one."""
    case = Case.make(backend, cell, 2, direction, steps=3, batch=8)
    y = case.forward()
    dx, dstates = case.backward(np.random.default_rng(2).normal(size=y.shape))
    for name, gradient in [*case.grads.items(), ("x", dx)]:
        count = np.count_nonzero(host(gradient))
        assert count == gradient.size or (count and cell == "rnn_relu"), name
    assert all(np.any(d) for scan in dstates for d in scan)


@backends
@cells
@pytest.mark.parametrize("layers", [1, 2])
@directions
def test_a_table_with_an_index_equals_its_rows_spelled_out(backend, cell, layers, direction):
    """Rows that repeat, one that never occurs, and room for more rows than there are."""
    steps, table = 4, np.random.default_rng(3).normal(size=(5, INPUT))
    index = np.array([[1, 4], [1, 0], [4, 1], [3, 3]])
    dense = Case.make(backend, cell, layers, direction, steps)
    picked = Case.make(backend, cell, layers, direction, steps, rows=7)
    expected, found = dense.forward(table[index]), picked.forward(table, index=index)
    np.testing.assert_allclose(found, expected, rtol=1e-13)

    dy, dfinal = dense.upstream()
    dense.forward(table[index])
    picked.forward(table, index=index)
    (dx, dstates), (drows, found_dstates) = (c.backward(dy, dfinal) for c in (dense, picked))
    expected = np.zeros_like(table)
    np.add.at(expected, index.reshape(-1), dx)
    np.testing.assert_allclose(drows, expected, rtol=1e-11, atol=1e-14)
    np.testing.assert_array_equal(drows[2], 0)
    found, expected = (host(case.grads.flat) for case in (picked, dense))
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)
    np.testing.assert_array_equal(found_dstates, dstates)


@backends
@cells
@pytest.mark.parametrize("layers", [1, 2])
def test_reverse_is_forward_on_flipped_time(backend, cell, layers):
    forward, reverse = (
        Case.make(backend, cell, layers, d, steps=5) for d in ("forward", "reverse")
    )
    np.testing.assert_array_equal(
        reverse.forward(), forward.forward(reverse.x[::-1])[::-1], strict=True
    )


@backends
@cells
def test_bidirectional_layer_is_both_directions_side_by_side(backend, cell):
    both, forward, reverse = (
        Case.make(backend, cell, 1, d, steps=5) for d in ("both", "forward", "reverse")
    )
    for name in forward.params:
        put(forward.params[name], host(both.params[name]))
        put(reverse.params[name], host(both.params[name + "_reverse"]))
    y = both.forward()
    np.testing.assert_array_equal(y[:, :, :HIDDEN], forward.forward(both.x, both.states[:1]))
    np.testing.assert_array_equal(y[:, :, HIDDEN:], reverse.forward(both.x, both.states[1:]))


@backends
@cells
@layers
def test_windows_with_carried_state_equal_the_whole(backend, cell, layers):
    whole, part = (Case.make(backend, cell, layers, "forward", steps) for steps in (6, 2))
    put(part.params.flat, host(whole.params.flat))
    outputs, states = [], whole.states
    for t in (0, 2, 4):
        outputs.append(part.forward(whole.x[t : t + 2], states))
        states = clone(part.stack.final)
    np.testing.assert_allclose(np.concatenate(outputs), whole.forward(), rtol=1e-12)


@backends
@cells
def test_carry_states_continues_where_the_last_call_ended(backend, cell):
    case = Case.make(backend, cell, 2, "forward", steps=3)
    case.forward()
    final = clone(case.stack.final)
    case.stack.carry_states()
    np.testing.assert_array_equal(clone(case.stack.initial), final)


@backends
@cells
@directions
def test_sequences_of_a_batch_do_not_see_each_other(backend, cell, direction):
    case = Case.make(backend, cell, 2, direction, steps=4, batch=3)
    before = case.forward()
    case.x[:, 1] += 1
    after = case.forward()
    np.testing.assert_array_equal(after[:, [0, 2]], before[:, [0, 2]])
    assert np.abs(after[:, 1] - before[:, 1]).max() > 1e-3


@backends
@cells
def test_a_forward_stack_never_sees_the_future(backend, cell):
    case = Case.make(backend, cell, 2, "forward", steps=5)
    before = case.forward()
    case.x[3:] += 1
    np.testing.assert_array_equal(case.forward()[:3], before[:3])


@backends
@cells
def test_a_stack_repeats_itself(backend, cell):
    """Buffers are reused: nothing of one pass may leak into the next."""
    case = Case.make(backend, cell, 2, "both", steps=4)
    dy = np.ones_like(first := case.forward())
    case.backward(dy)
    grads = host(case.grads.flat)
    put(case.grads.flat, np.nan)
    np.testing.assert_array_equal(case.forward(), first)
    case.backward(dy)
    np.testing.assert_array_equal(host(case.grads.flat), grads)


@backends
def test_a_stack_without_gradients_computes_the_same(backend):
    case = Case.make(backend, "gru", 2, "both", steps=4)
    plain = Stack(case.backend, CELLS["gru"], case.weights, None, 2, 4, 2, directions=(False, True))
    for to, source in zip(plain.initial, case.states, strict=True):
        put(to[0], source[0])
    expected = case.forward().reshape(8, -1)
    found = plain.forward(case.backend.to_device(case.x.reshape(8, INPUT)))
    np.testing.assert_array_equal(host(found), expected)


@backends
def test_stack_dropout_lies_between_layers_alone(backend):
    """With everything dropped between them, the second layer sees zeros, the first its input."""
    case = Case.make(backend, "lstm", 2, "forward", steps=4, dropout=1 - 2**-16)
    x, zeros = (case.backend.to_device(a) for a in (case.x, np.zeros((8, HIDDEN))))
    case.stack.draw(np.random.default_rng(0))
    case.stack.forward(x.reshape(8, INPUT))
    second = {n.replace("l1", "l0"): v for n, v in case.weights.items() if n.endswith("l1")}
    lone = Stack(case.backend, CELLS["lstm"], second, None, 1, 4, 2)
    expected = host(lone.forward(zeros))
    first, second = (host(scan.output).reshape(8, HIDDEN) for scan in case.stack.scans)
    np.testing.assert_array_equal(second, expected)
    assert np.any(first)


def dropped(layer: Dropout, rows: int) -> np.ndarray:
    """What becomes of so many rows of ones."""
    ones = layer.backend.to_device(np.ones((rows, layer.output.shape[1])))
    layer.draw(np.random.default_rng(0), ones.size)
    return host(layer.forward(ones))


@backends
def test_dropout_zeroes_its_share_and_keeps_the_mean(backend):
    layer = Dropout(exact(backend), (200, 500), 0.3)
    y = dropped(layer, 200)
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert y.mean() == pytest.approx(1, abs=0.01)
    assert len(np.unique(y)) == 2


@backends
def test_dropout_of_nearly_everything_is_finite(backend):
    layer = Dropout(exact(backend), (50, 50), 1 - 1e-9)
    y = dropped(layer, 50)
    assert np.isfinite(y).all()


@backends
def test_dropout_sends_gradients_through_the_same_mask(backend):
    """Of an array of fewer rows than there is room for, too."""
    layer = Dropout(exact(backend), (20, 30), 0.5)
    for rows in (20, 7):
        y = dropped(layer, rows)
        ones = layer.backend.to_device(np.ones((rows, 30)))
        np.testing.assert_array_equal(host(layer.backward(ones)), y)


def test_dropout_leaves_its_input_alone():
    """It may be the table of the embedding itself."""
    x = np.ones((20, 30))
    layer = Dropout(NumpyBackend(np.float64), (20, 30), 0.5)
    layer.draw(np.random.default_rng(0))
    assert layer.forward(x) is not x
    np.testing.assert_array_equal(x, 1)


@pytest.mark.parametrize("p, rng", [(0.0, np.random.default_rng(0)), (0.5, None)])
def test_dropout_off_changes_nothing(p, rng):
    layer, x = Dropout(NumpyBackend(np.float64), (4, 5), p), np.ones((4, 5))
    layer.draw(rng)
    assert layer.forward(x) is x
    np.testing.assert_array_equal(layer.backward(np.full((4, 5), 2.0)), 2.0)


@backends
@pytest.mark.parametrize("vocab", [5, 6, 7, 50])
def test_embedding_rows_of_every_position(backend, vocab):
    """Of six positions: the table as it stands, or the rows that occur, each once."""
    weight = np.random.default_rng(0).normal(size=(vocab, 3))
    made = exact(backend)
    layer = Embedding(made, made.to_device(weight), 3, 2)
    for ids in (np.array([[1, 4], [1, 0], [4, 1]]), np.arange(6).reshape(3, 2) % vocab):
        rows, index = (host(a) for a in layer.forward(ids.astype(np.int32)))
        np.testing.assert_array_equal(rows[index], weight[ids.reshape(-1)])
        np.testing.assert_array_equal(weight[layer.symbols], rows)
        assert len(rows) == (vocab if vocab <= 6 else len(np.unique(ids)))


def head_of(backend: str, rows: int) -> tuple[Head, Buffer, Buffer]:
    """A decoder with random weights [6, 4], its parameters and gradients."""
    made = exact(backend)
    shapes = {"weight": (6, 4), "bias": (6,)}
    params, grads = Buffer(made, shapes), Buffer(made, shapes)
    put(params.flat, np.random.default_rng(0).normal(size=params.flat.shape))
    weight, bias = weights_of(made, params).values()
    return Head(made, weight, bias, (grads["weight"], grads["bias"]), rows), params, grads


@backends
def test_head_gradients_match_central_differences(backend):
    head, params, grads = head_of(backend, 7)
    rng = np.random.default_rng(1)
    h, targets = exact(backend).to_device(rng.normal(size=(7, 4))), rng.integers(0, 6, size=7)

    def loss() -> float:
        head.weight.refresh()
        return float(host(head.loss(h)).mean())

    head.feed(targets)
    head.loss(h, 1 / 7)
    found = [host(grads.flat), host(head.dh)]
    for array, gradient in zip((params.flat, h), found, strict=True):
        np.testing.assert_allclose(gradient, numeric_gradient(loss, array), rtol=1e-6, atol=1e-9)


@backends
@pytest.mark.parametrize("rows", [1, 2, 3, 6, 7])
def test_a_head_in_chunks_equals_one_in_one_go(backend, monkeypatch, rows):
    rng = np.random.default_rng(1)
    h, targets = exact(backend).to_device(rng.normal(size=(7, 4))), rng.integers(0, 6, size=7)
    expected, _, expected_grads = head_of(backend, 7)
    monkeypatch.setattr(head_module, "MAX_LOGITS", 6 * rows)
    chunked, _, grads = head_of(backend, 7)
    assert (expected.chunk, chunked.chunk) == (7, rows)
    found = []
    for part, gradients in ((chunked, grads), (expected, expected_grads)):
        part.feed(targets)
        part.loss(h, 0.25)
        arrays = (part.losses, gradients.flat, part.dh, part.logits(h))
        found.append([host(a) for a in arrays])
    for ours, whole in zip(*found, strict=True):
        np.testing.assert_allclose(ours, whole, rtol=1e-12, atol=1e-15)


def test_a_row_of_logits_is_a_chunk_however_large_the_vocabulary(monkeypatch):
    monkeypatch.setattr(head_module, "MAX_LOGITS", 1)
    assert head_of("numpy", 7)[0].chunk == 1


# On fused backends, cross_entropy is held against this form in test_fused.py.


def entropies(logits, targets, scale=0.0) -> np.ndarray:
    """The losses; ``logits`` change as in ``cross_entropy``."""
    losses = np.empty(len(targets))
    cross_entropy(np, logits, np.array(targets), losses, scale)
    return losses


def test_cross_entropy_of_a_uniform_model_is_log_v():
    np.testing.assert_allclose(entropies(np.zeros((3, 7)), [0, 3, 6]), np.log(7), rtol=1e-14)


def test_cross_entropy_bears_extreme_logits():
    logits = np.array([[1e4, 0.0, -1e4], [0.0, 1e4, -1e4]])
    np.testing.assert_allclose(entropies(logits, [0, 0], scale=1.0), [0, 1e4])
    np.testing.assert_array_equal(logits, [[0, 0, 0], [-1, 1, 0]])


def test_cross_entropy_gradient_is_scaled_and_sums_to_zero():
    start = np.random.default_rng(0).normal(size=(4, 5))
    whole, half = start.copy(), start.copy()
    for logits, scale in ((whole, 1.0), (half, 0.5)):
        entropies(logits, [0, 1, 2, 3], scale)
    np.testing.assert_allclose(whole.sum(axis=1), 0, atol=1e-15)
    np.testing.assert_allclose(half, whole / 2, rtol=1e-14)
