"""Reading contexts: the same whatever was read before, and only what is new is read."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn import reading
from charrnn.params import LEFT, RIGHT
from charrnn.reading import Reader
from charrnn.text import CharVocabulary
from tests.support.devices import host
from tests.support.stacks import cells, clone, model_backends
from tests.support.tiny import counter_of_steps, expected, tiny_model

ALPHABET = CharVocabulary("\nabcdefg")
LENGTHS = [1, 15, 16, 17, 128, 145, 300]
LONG = np.random.default_rng(0).integers(1, len(ALPHABET), size=max(LENGTHS)).tolist()

sides = pytest.mark.parametrize("side", [LEFT, RIGHT])


@functools.cache
def model_of(backend="numpy", cell="lstm"):
    return tiny_model(ALPHABET, backend=backend, cell=cell, bidirectional=True)


@pytest.fixture
def steps(monkeypatch):
    return counter_of_steps(monkeypatch)


@model_backends
@cells
@sides
@pytest.mark.parametrize("length", LENGTHS)
def test_a_context_is_read_as_in_one_go(backend, cell, side, length):
    model, ids = model_of(backend, cell), LONG[:length]
    window = model.window(length, 1, side)
    logits = host(window.logits(np.array(ids)[:, None]))[-1:]
    found = Reader(model, side).read(ids)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-10)
    states = clone(found.states)
    np.testing.assert_allclose(states, clone(window.states), rtol=1e-10, atol=1e-12)


@model_backends
@sides
def test_outputs_are_those_at_every_symbol_of_a_context(backend, side):
    """Whatever was read before; texts that grow apart do not disturb each other."""
    model, reader = model_of(backend), Reader(model_of(backend), side, keep_outputs=True)
    for ids in (LONG[:20], LONG[:21], LONG[:300], LONG[:20] + LONG[50:90], LONG[:21], LONG[:9]):
        h = host(model.window(len(ids), 1, side).hidden(np.array(ids)[:, None]))
        np.testing.assert_allclose(reader.outputs(reader.read(ids)), h, rtol=1e-10, atol=1e-12)


def test_outputs_are_kept_only_where_they_are_wanted():
    """A prompt may be long."""
    assert Reader(model_of()).read(LONG).outputs == ()


def test_the_sides_are_two_models():
    left, right = (Reader(model_of(), side).read(LONG[:9]).logits for side in (LEFT, RIGHT))
    assert not np.allclose(left, right)


@functools.cache
def texts_with_a_common_beginning():
    """Three of them, and what each is expected to go on with after any length."""
    model, texts = model_of(), [LONG, LONG[:20] + LONG[50:], LONG[:130] + LONG[10:90]]
    return texts, [expected(model, text) for text in texts]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 200)), min_size=1, max_size=12))
def test_what_was_read_before_makes_no_difference(history):
    texts, p = texts_with_a_common_beginning()
    reader = Reader(model_of())
    for which, length in history:
        logits = reader.read(texts[which][:length]).logits[0]
        found = np.exp(logits - np.logaddexp.reduce(logits))
        np.testing.assert_allclose(found, p[which][length - 1], rtol=1e-9)


def test_readings_stay_as_they_were():
    reader = Reader(model_of())
    first = reader.read(LONG[:20])
    logits, states = first.logits.copy(), [[s.copy() for s in layer] for layer in first.states]
    reader.read(LONG[:40])
    ids = np.array(LONG[:6])[:, None]
    reader.losses(first.states, ids, ids)
    again = reader.read(LONG[:20])
    for found in (first, again):
        np.testing.assert_array_equal(found.logits, logits)
        np.testing.assert_array_equal(found.states, states)


def test_a_text_that_grows_costs_what_is_new(steps):
    reader = Reader(model_of())
    for length, cost in ((40, 40), (41, 1), (41, 0), (43, 2), (40, 0), (60, 17), (39, 39)):
        reader.read(LONG[:length])
        assert steps() == cost


def test_the_oldest_is_forgotten_and_what_was_of_use_is_kept(steps, monkeypatch):
    monkeypatch.setattr(reading, "_REMEMBERED", 3)
    reader = Reader(model_of())
    others = [[symbol] * 10 for symbol in range(1, 5)]
    for ids in others[:3]:
        reader.read(ids)
    reader.read(others[0])  # is wanted again
    reader.read(others[3])  # and so the second is forgotten
    steps()
    for n, cost in ((0, 0), (2, 0), (3, 0), (1, 10)):
        reader.read(others[n])
        assert steps() == cost


@model_backends
@sides
@pytest.mark.parametrize("steps, lanes", [(1, 1), (1, 17), (15, 2), (16, 16), (17, 33)])
def test_losses_are_those_of_a_window_that_fits(backend, side, steps, lanes):
    """Twice, so that what the first left behind would show."""
    model = model_of(backend)
    reader, window = Reader(model, side), model.window(steps, lanes, side)
    states = reader.read(LONG[:12]).states
    for seed in (1, 2):
        ids, targets = np.random.default_rng(seed).integers(1, 8, size=(2, steps, lanes))
        window.states = states
        wanted = host(window.losses(ids, targets)).reshape(steps, lanes)
        np.testing.assert_allclose(reader.losses(states, ids, targets), wanted, rtol=1e-10)


@pytest.mark.parametrize("less, parts", [(0, 2), (1, 1)])
@pytest.mark.parametrize("tie", [False, True])
@sides
def test_threads_are_woken_for_large_windows_alone(monkeypatch, side, tie, less, parts):
    model = tiny_model(ALPHABET, backend="fused-2", embed_size=6, bidirectional=True, tie=tie)
    decoder = model.params["encoder.weight" if tie else "decoder.weight"].size
    recurrent = sum(v.size for n, v in model.params.items() if n.startswith(f"{side}.weight"))
    monkeypatch.setattr(reading, "_SHARED", 2 * 16 * (decoder + recurrent) + less)
    assert len(Reader(model, side).window(2, 16).parts) == parts
