"""The whole model: gradients through embedding, dropout and tying; state from call to call."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.backend import NumpyBackend
from charrnn.model import Model
from charrnn.params import RIGHT, initial_values
from tests.support.devices import host, put
from tests.support.gradients import numeric_gradient
from tests.support.stacks import cells, clone, exact, model_backends, model_config


def model_of(backend: str = "numpy", cell: str = "lstm", **extra) -> Model:
    sizes = {"vocab_size": 6, "hidden_size": 4, "embed_size": 3} | extra
    config = model_config(cell, **sizes)
    model = Model(config, exact(backend), learns=True)
    model.load(initial_values(config, "uniform", np.random.default_rng(0)))
    return model


def batch(steps: int = 4, lanes: int = 3, vocab: int = 6):
    return np.random.default_rng(1).integers(0, vocab, size=(2, steps, lanes))


def random_states(window, seed: int = 2):
    rng = np.random.default_rng(seed)
    to_device = window.backend.to_device
    return [[to_device(rng.normal(size=s.shape)) for s in layer] for layer in window.states]


@model_backends
@cells
@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("vocab", [4, 7], ids=["whole-table", "rows-that-occur"])
def test_gradients_match_central_differences(backend, cell, tie, dropout, vocab):
    """With the same dropout masks every time, from a state that is not zero.

    Three lanes are parts of 2 and of 4 positions for two threads. Of 7 symbols neither takes the
    whole table, of 4 the second alone.
    """
    sizes = {"layers": 1, "hidden_size": 3, "embed_size": 3 if tie else 2}
    model = model_of(backend, cell, tie=tie, dropout=dropout, vocab_size=vocab, **sizes)
    put(model.params.flat, np.random.default_rng(4).normal(size=model.params.flat.shape) / 2)
    window = model.training_window(2, 3)
    states = random_states(window)
    ids, targets = batch(2, 3, vocab)

    def loss() -> float:
        model.refresh()
        window.states = states
        return float(host(window.loss_and_grads(ids, targets, (3, 5))))

    loss()
    if window.touched is not None:
        untouched = np.setdiff1d(np.arange(vocab), window.touched)
        for row in untouched:  # whatever is there, nobody reads it
            put(window.grads["encoder.weight"][row], 0)
    analytic = host(window.grads.flat)
    expected = numeric_gradient(loss, model.params.flat)
    np.testing.assert_allclose(analytic, expected, rtol=1e-6, atol=1e-9)


@model_backends
def test_gradients_of_rows_that_occur_equal_those_of_the_whole_table(backend):
    """The second model has the symbols of the first, and more that are as good as impossible."""
    small, large = model_of(backend, vocab_size=4), model_of(backend, vocab_size=40)
    for name, values in small.params.items():
        put(large.params[name][: len(values)], host(values))
    put(large.params["decoder.bias"][4:], -1e4)
    large.refresh()
    whole, picked = (model.training_window(4, 3) for model in (small, large))
    assert [part.embedding.whole for w in (whole, picked) for part in w.parts] == (
        [True] * len(whole.parts) + [False] * len(picked.parts)
    )
    ids, targets = batch(vocab=4)
    ids[ids == 2] = 0  # so that a row of the small one's table does not occur either
    losses = [float(host(w.loss_and_grads(ids, targets, None))) for w in (whole, picked)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-13)
    for name, expected in whole.grads.items():
        found = host(picked.grads[name])[: len(expected)]
        np.testing.assert_allclose(found, host(expected), rtol=1e-11, atol=1e-15, err_msg=name)


@model_backends
def test_touched_rows_are_the_symbols_that_occur(backend):
    model = model_of(backend, vocab_size=50)
    window = model.training_window(4, 3)
    for low in (0, 20):
        ids = np.random.default_rng(0).integers(low, low + 9, size=(4, 3)).astype(np.int32)
        window.loss_and_grads(ids, ids, None)
        np.testing.assert_array_equal(window.touched, np.unique(ids))


@pytest.mark.parametrize("vocab, tie", [(12, False), (50, True)])
def test_any_row_may_be_touched_of_a_small_vocabulary_or_a_tied_one(vocab, tie):
    model = model_of(vocab_size=vocab, tie=tie, embed_size=4)
    window = model.training_window(4, 3)
    window.loss_and_grads(*batch(), None)
    assert window.touched is None


@model_backends
@cells
def test_two_windows_with_carried_state_equal_one(backend, cell):
    model = model_of(backend, cell)
    ids, targets = batch(steps=6)
    whole, part = model.window(6, 3), model.window(3, 3)
    expected = host(whole.losses(ids, targets))
    found = [host(part.losses(ids[t : t + 3], targets[t : t + 3])) for t in (0, 3)]
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-12)


@model_backends
def test_lanes_do_not_see_each_other(backend):
    """And come back in their order, however they are cut into parts."""
    model = model_of(backend)
    ids, targets = batch(lanes=5)
    whole = host(model.window(4, 5).losses(ids, targets)).reshape(4, 5)
    logits = host(model.window(4, 5).logits(ids)).reshape(4, 5, 6)
    for lane in range(5):
        own = ids[:, lane, None], targets[:, lane, None]
        alone = model.window(4, 1)
        np.testing.assert_allclose(host(alone.losses(*own)), whole[:, lane], rtol=1e-12)
        alone.reset()
        np.testing.assert_allclose(host(alone.logits(own[0])), logits[:, lane], rtol=1e-12)


@model_backends
def test_states_can_be_saved_and_restored(backend):
    window = model_of(backend).window(4, 3)
    ids, _ = batch()
    window.logits(ids)
    saved = window.states
    expected = host(window.logits(ids))
    window.states = saved
    np.testing.assert_array_equal(host(window.logits(ids)), expected)


@model_backends
def test_states_are_given_and_taken_in_order(backend):
    """By layer, then by state of the cell, [B, H] each, whatever the parts."""
    window = model_of(backend).window(4, 3)
    states = random_states(window)
    window.states = states
    np.testing.assert_array_equal(clone(window.states), clone(states))
    assert [s.shape for layer in window.states for s in layer] == [(3, 4)] * 4


@model_backends
def test_the_states_of_one_sequence_become_those_of_all(backend):
    model = model_of(backend)
    one, many = model.window(4, 1), model.window(4, 3)
    one.states = random_states(one)
    many.states = one.states
    ids, _ = batch(lanes=1)
    expected = host(one.logits(ids))
    found = host(many.logits(np.repeat(ids, 3, axis=1))).reshape(4, 3, 6)
    for lane in range(3):
        np.testing.assert_allclose(found[:, lane], expected, rtol=1e-12)


@model_backends
def test_reset_forgets(backend):
    window = model_of(backend).window(4, 3)
    ids, _ = batch()
    first = host(window.logits(ids))
    assert not np.array_equal(host(window.logits(ids)), first)
    window.reset()
    np.testing.assert_array_equal(host(window.logits(ids)), first)


@model_backends
def test_training_window_carries_the_state_too(backend):
    model = model_of(backend)
    training, plain = model.training_window(4, 3), model.window(4, 3)
    ids, targets = batch()
    for _ in range(2):
        loss = host(training.loss_and_grads(ids, targets, None))
        np.testing.assert_allclose(loss, host(plain.losses(ids, targets)).mean(), rtol=1e-12)


@model_backends
def test_a_small_step_against_the_gradient_lowers_the_loss(backend):
    model = model_of(backend)
    window = model.training_window(4, 3)
    ids, targets = batch()
    before = float(host(window.loss_and_grads(ids, targets, None)))
    model.params.flat[...] -= 0.01 * window.grads.flat
    model.refresh()
    window.reset()
    assert float(host(window.loss_and_grads(ids, targets, None))) < before


@model_backends
def test_gradients_replace_those_of_the_step_before(backend):
    model = model_of(backend)
    window = model.training_window(4, 3)
    found = []
    for _ in range(2):
        window.reset()
        window.loss_and_grads(*batch(), None)
        found.append(host(window.grads.flat))
        put(window.grads.flat, np.nan)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("seed, same", [((0, 7), True), ((1, 7), False), ((0, 8), False)])
def test_dropout_is_drawn_from_seed_and_step(seed, same):
    model = model_of(dropout=0.5)
    losses = [
        float(model.training_window(4, 3).loss_and_grads(*batch(), s)) for s in ((0, 7), seed)
    ]
    assert (losses[0] == losses[1]) == same


def test_every_part_of_a_batch_has_masks_of_its_own():
    window = model_of("fused-2", dropout=0.5).training_window(4, 2)
    window.loss_and_grads(*batch(lanes=2), (0, 7))
    first, second = (part.head_dropout.drawn for part in window.parts)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("lanes, parts", [(1, 1), (7, 1), (8, 2), (50, 2)])
def test_a_thread_gets_a_few_lanes_at_least(monkeypatch, lanes, parts):
    monkeypatch.setattr("charrnn.model.MIN_LANES", 4)
    assert len(model_of("fused-2").window(1, lanes).parts) == parts


def test_a_model_that_does_not_learn_says_so():
    config = model_config("lstm")
    with pytest.raises(ValueError, match="learns=True"):
        Model(config, NumpyBackend()).training_window(4, 2)


def test_dropout_is_for_training_alone():
    model, (ids, targets) = model_of(dropout=0.5), batch()
    expected = model.window(4, 3).losses(ids, targets)
    for window in (model.window(4, 3), model.training_window(4, 3)):
        np.testing.assert_array_equal(window.losses(ids, targets), expected)
    without_seed = model.training_window(4, 3).loss_and_grads(ids, targets, None)
    assert float(without_seed) == pytest.approx(expected.mean())


@model_backends
def test_probabilities_of_all_symbols_sum_to_one(backend):
    model = model_of(backend)
    ids, _ = batch()
    total = 0.0
    for symbol in range(6):
        window = model.window(4, 3)
        total = total + np.exp(-host(window.losses(ids, np.full((4, 3), symbol))))
    np.testing.assert_allclose(total, 1, rtol=1e-12)


def test_load_wants_every_parameter():
    with pytest.raises(KeyError):
        model_of().load({"encoder.weight": np.zeros((6, 3))})


def test_a_model_that_only_predicts_equals_one_that_learns():
    config = model_config("gru")
    losses = []
    for learns in (False, True):
        model = Model(config, exact("fused"), learns=learns)
        model.load(initial_values(config, "uniform", np.random.default_rng(0)))
        losses.append(np.array(model.window(4, 3).losses(*batch())))
    np.testing.assert_array_equal(*losses)


def loss_both_ways(model: Model, s: np.ndarray, states) -> float:
    """The mean of what a bidirectional model learns from symbols s [T+1, B], from its definition.

    ``states`` are those of the left before the first symbol; each part is predicted alone.
    """
    T, B = len(s) - 1, s.shape[1]
    left, right = model.window(T, B), model.window(T, B, RIGHT)
    left.states = states
    before = host(left.hidden(s[:-1])).reshape(T, B, -1)
    after = host(right.hidden(np.ascontiguousarray(s[:0:-1]))).reshape(T, B, -1)[::-1]
    table = host(model.params["encoder.weight" if model.config.tie else "decoder.weight"])

    def losses(h, bias: str, targets) -> float:
        logits = h @ table.T + host(model.params[bias])
        largest = logits.max(axis=-1, keepdims=True)
        logits = logits - largest - np.log(np.exp(logits - largest).sum(-1, keepdims=True))
        return -float(np.take_along_axis(logits, targets[..., None], -1).sum())

    between = before[:-1] + after[1:]
    return (
        losses(before, "decoder.bias", s[1:])
        + losses(after, "decoder.bias", s[:-1])
        + losses(between, "blank.bias", s[1:-1])
    ) / (3 * T * B)


@model_backends
@cells
@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("vocab", [4, 16], ids=["whole-table", "rows-that-occur"])
def test_gradients_of_both_ways_match_central_differences(backend, cell, tie, vocab):
    sizes = {"layers": 2, "hidden_size": 2, "embed_size": 2}
    model = model_of(backend, cell, tie=tie, vocab_size=vocab, bidirectional=True, **sizes)
    put(model.params.flat, np.random.default_rng(4).normal(size=model.params.flat.shape) / 2)
    model.refresh()
    window = model.training_window(3, 3)
    states = random_states(window)
    s = np.random.default_rng(1).integers(0, vocab, size=(4, 3))
    for _ in range(2):  # nothing of the first is left
        window.states = states
        window.loss_and_grads(s[:-1], s[1:], None)
    if window.touched is not None:
        untouched = np.setdiff1d(np.arange(vocab), window.touched)
        for row in untouched:
            put(window.grads["encoder.weight"][row], 0)
    analytic = host(window.grads.flat)

    def loss() -> float:
        model.refresh()
        return loss_both_ways(model, s, states)

    expected = numeric_gradient(loss, model.params.flat)
    np.testing.assert_allclose(analytic, expected, rtol=1e-6, atol=1e-9)


@model_backends
def test_a_model_of_both_ways_reads_from_the_left_as_one_of_one_way(backend):
    """The same loss, and from window to window the same state."""
    both, one = (model_of(backend, bidirectional=b) for b in (True, False))
    one.load({name: host(both.params[name]) for name in one.params})
    windows = [model.training_window(4, 3) for model in (both, one)]
    for _ in range(2):
        found, expected = (float(host(w.loss_and_grads(*batch(), None))) for w in windows)
        assert found == pytest.approx(expected, rel=1e-13)


def test_both_ways_of_a_window_of_one_step_are_refused():
    with pytest.raises(ValueError, match="one step"):
        model_of(bidirectional=True).training_window(1, 3)
