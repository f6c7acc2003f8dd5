"""Layers: gradients against central differences, and properties that need no oracle."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.backend import NumpyBackend
from charrnn.layers import (
    Dropout,
    Embedding,
    Head,
    Stack,
    cross_entropy,
    cross_entropy_backward,
)
from tests.support.gradients import numeric_gradient
from tests.support.stacks import CELLS, HIDDEN, Case, cells, clone, directions, layers

FLOAT64 = NumpyBackend(np.float64)


@cells
@layers
@directions
@pytest.mark.parametrize("steps", [1, 4])
def test_stack_gradients_match_central_differences(cell, layers, direction, steps):
    """Of a loss on the outputs and the final states, for every weight, input and state."""
    case = Case.make(cell, layers, direction, steps)
    dy, dfinal = case.upstream()

    def loss() -> float:
        total = float((case.forward() * dy).sum())
        for scan, weights in zip(case.stack.final, dfinal, strict=True):
            total += sum(float((s * w).sum()) for s, w in zip(scan, weights, strict=True))
        return total

    found = case.run(dy, dfinal)
    arrays = {f"d {name}": value for name, value in case.params.items()} | {"d x": case.x}
    for scan, states in enumerate(case.states):
        arrays |= {f"d state.{scan}.{k}": state for k, state in enumerate(states)}
    for name, array in arrays.items():
        expected = numeric_gradient(loss, array)
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, atol=1e-8, err_msg=name)


@cells
@directions
def test_every_gradient_is_nonzero(cell, direction):
    """A backward pass that forgets a gate passes tests of shapes, not this one."""
    case = Case.make(cell, 2, direction, steps=3, batch=8)
    y = case.forward()
    dx, dstates = case.stack.backward(np.random.default_rng(2).normal(size=y.shape))
    for name, gradient in [*case.grads.items(), ("x", dx)]:
        assert np.count_nonzero(gradient) == gradient.size or cell == "rnn_relu", name
        assert np.any(gradient), name
    assert all(np.any(d) for scan in dstates for d in scan)


@cells
@pytest.mark.parametrize("layers", [1, 2])
def test_reverse_is_forward_on_flipped_time(cell, layers):
    forward, reverse = (Case.make(cell, layers, d, steps=5) for d in ("forward", "reverse"))
    np.testing.assert_array_equal(
        reverse.forward(), forward.forward(reverse.x[::-1])[::-1], strict=True
    )


@cells
def test_bidirectional_layer_is_both_directions_side_by_side(cell):
    both, forward, reverse = (
        Case.make(cell, 1, d, steps=5) for d in ("both", "forward", "reverse")
    )
    for name in forward.params:
        forward.params[name][...] = both.params[name]
        reverse.params[name][...] = both.params[name + "_reverse"]
    y = both.forward()
    np.testing.assert_array_equal(y[:, :, :HIDDEN], forward.forward(both.x, both.states[:1]))
    np.testing.assert_array_equal(y[:, :, HIDDEN:], reverse.forward(both.x, both.states[1:]))


@cells
@layers
def test_windows_with_carried_state_equal_the_whole(cell, layers):
    whole, part = (Case.make(cell, layers, "forward", steps) for steps in (6, 2))
    part.params.flat[...] = whole.params.flat
    outputs, states = [], whole.states
    for t in (0, 2, 4):
        outputs.append(part.forward(whole.x[t : t + 2], states))
        states = clone(part.stack.final)
    np.testing.assert_allclose(np.concatenate(outputs), whole.forward(), rtol=1e-12)


@cells
def test_carry_states_continues_where_the_last_call_ended(cell):
    case = Case.make(cell, 2, "forward", steps=3)
    case.forward()
    final = clone(case.stack.final)
    case.stack.carry_states()
    for initial, expected in zip(case.stack.initial, final, strict=True):
        np.testing.assert_array_equal(initial, expected)


@cells
@directions
def test_sequences_of_a_batch_do_not_see_each_other(cell, direction):
    case = Case.make(cell, 2, direction, steps=4, batch=3)
    before = case.forward()
    case.x[:, 1] += 1
    after = case.forward()
    np.testing.assert_array_equal(after[:, [0, 2]], before[:, [0, 2]])
    assert np.abs(after[:, 1] - before[:, 1]).max() > 1e-3


@cells
def test_a_forward_stack_never_sees_the_future(cell):
    case = Case.make(cell, 2, "forward", steps=5)
    before = case.forward()
    case.x[3:] += 1
    np.testing.assert_array_equal(case.forward()[:3], before[:3])


@cells
def test_a_stack_repeats_itself(cell):
    """Buffers are reused: nothing of one pass may leak into the next."""
    case = Case.make(cell, 2, "both", steps=4)
    dy = np.ones_like(first := case.forward())
    case.stack.backward(dy)
    grads = case.grads.flat.copy()
    case.grads.flat[...] = np.nan
    np.testing.assert_array_equal(case.forward(), first)
    case.stack.backward(dy)
    np.testing.assert_array_equal(case.grads.flat, grads)


def test_stack_dropout_lies_between_layers_alone():
    """With everything dropped between them, the second layer sees zeros, the first its input."""
    case = Case.make("lstm", 2, "forward", steps=4)
    nearly_all = 1 - 2**-16
    dropping = Stack(FLOAT64, CELLS["lstm"], case.params, case.grads, 2, 4, 2, dropout=nearly_all)
    dropping.forward(case.x, np.random.default_rng(0))
    second = {n.replace("l1", "l0"): v for n, v in case.params.items() if n.endswith("l1")}
    lone = Stack(FLOAT64, CELLS["lstm"], second, None, 1, 4, 2)
    expected = lone.forward(np.zeros((4, 2, HIDDEN)))
    np.testing.assert_array_equal(dropping.layers[1][0].output, expected)
    assert np.any(dropping.layers[0][0].output)


def test_dropout_zeroes_its_share_and_keeps_the_mean():
    layer = Dropout(FLOAT64, (200, 500), 0.3)
    y = layer.forward(np.ones((200, 500)), np.random.default_rng(0))
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert y.mean() == pytest.approx(1, abs=0.01)
    assert len(np.unique(y)) == 2


def test_dropout_of_nearly_everything_is_finite():
    y = Dropout(FLOAT64, (50, 50), 1 - 1e-9).forward(np.ones((50, 50)), np.random.default_rng(0))
    assert np.isfinite(y).all()


def test_dropout_sends_gradients_through_the_same_mask():
    layer = Dropout(FLOAT64, (20, 30), 0.5)
    y = layer.forward(np.ones((20, 30)), np.random.default_rng(0))
    np.testing.assert_array_equal(layer.backward(np.ones((20, 30))), y)


@pytest.mark.parametrize("p, rng", [(0.0, np.random.default_rng(0)), (0.5, None)])
def test_dropout_off_changes_nothing(p, rng):
    layer, x = Dropout(FLOAT64, (4, 5), p), np.ones((4, 5))
    assert layer.forward(x, rng) is x
    np.testing.assert_array_equal(layer.backward(np.full((4, 5), 2.0)), 2.0)


def test_embedding_rows_and_their_gradient():
    rng = np.random.default_rng(0)
    weight, grad = rng.normal(size=(5, 3)), np.zeros((5, 3))
    layer = Embedding(FLOAT64, weight, grad, 3, 2)
    ids = np.array([[1, 4], [1, 0], [4, 1]])  # repeated ids add up; 2 and 3 never occur
    np.testing.assert_array_equal(layer.forward(ids), weight[ids])
    dy = rng.normal(size=(3, 2, 3))
    layer.backward(dy)
    expected = np.zeros((5, 3))
    np.add.at(expected, ids, dy)
    np.testing.assert_allclose(grad, expected, rtol=1e-12)


def test_head_gradients_match_central_differences():
    rng = np.random.default_rng(0)
    weight, bias, h = rng.normal(size=(6, 4)), rng.normal(size=6), rng.normal(size=(3, 2, 4))
    dweight, dbias = np.empty((6, 4)), np.empty(6)
    targets = rng.integers(0, 6, size=(3, 2))
    head = Head(FLOAT64, weight, bias, (dweight, dbias), 3, 2)

    def loss() -> float:
        head.forward(h)
        return float(head.loss(targets).mean())

    loss()
    dh = head.backward().copy()
    for array, gradient in ((weight, dweight), (bias, dbias), (h, dh)):
        gradient = gradient.copy()
        np.testing.assert_allclose(gradient, numeric_gradient(loss, array), rtol=1e-6, atol=1e-9)


def test_cross_entropy_of_a_uniform_model_is_log_v():
    losses = cross_entropy(np, np.zeros((3, 7)), np.array([0, 3, 6]), np.arange(3))
    np.testing.assert_allclose(losses, np.log(7), rtol=1e-14)


def test_cross_entropy_bears_extreme_logits():
    logits = np.array([[1e4, 0.0, -1e4], [0.0, 1e4, -1e4]])
    losses = cross_entropy(np, logits, np.array([0, 0]), np.arange(2))
    np.testing.assert_allclose(losses, [0, 1e4])
    np.testing.assert_array_equal(logits, [[1, 0, 0], [0, 1, 0]])


def test_cross_entropy_gradient_sums_to_zero():
    logits = np.random.default_rng(0).normal(size=(4, 5))
    targets, rows = np.array([0, 1, 2, 3]), np.arange(4)
    cross_entropy(np, logits, targets, rows)
    gradient = cross_entropy_backward(logits, targets, rows)
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-15)
