"""Models that fit themselves to a text: dynamic evaluation, and a temperature."""

from __future__ import annotations

import math

import numpy as np
import pytest

from charrnn import adaptation
from charrnn.adaptation import DynamicText, fit_temperature
from charrnn.config import SampleConfig
from charrnn.sampling import sample_text
from charrnn.scoring import LongText
from charrnn.text import CharVocabulary
from charrnn.text.segments import segments
from tests.support.stacks import cells, model_backends
from tests.support.tiny import tiny_model

ALPHABET = CharVocabulary("\nabcdefg")
RNG = np.random.default_rng(0)
TEXT = "".join(RNG.choice(list(ALPHABET.symbols), 90))
STEPS = adaptation._STEPS


def nats(reader, text):
    found = [v.nats for _, v in reader.verdicts(segments([text], ALPHABET), ALPHABET.start)]
    return np.concatenate(found)


@model_backends
@cells
def test_every_window_is_scored_before_it_is_learned_from(backend, cell):
    """As if each had a model of its own, that was trained on all before it by hand."""
    model = tiny_model(ALPHABET, cell=cell, layers=2, backend=backend)
    found = nats(DynamicText(model, rate=0.5, decay=0.1), TEXT)
    by_hand = tiny_model(ALPHABET, cell=cell, layers=2, learns=True)
    window = by_hand.training_window(STEPS, 1)
    reader = by_hand.window(1, 1)
    ids = np.array([ALPHABET.start, *ALPHABET.encode(TEXT)], np.int32)[:, None]
    start = {name: value.copy() for name, value in by_hand.params.items()}
    for at in range(0, len(TEXT), STEPS):
        part = ids[at : at + STEPS + 1]
        reader.states = window.states
        losses = [float(reader.losses(part[n : n + 1], part[n + 1 : n + 2])[0])
                  for n in range(len(part) - 1)]  # fmt: skip
        np.testing.assert_allclose(found[at : at + STEPS], losses, rtol=1e-9)
        if len(part) < STEPS + 1:
            break
        window.loss_and_grads(part[:-1], part[1:], None)
        norm = np.sqrt(sum((g**2).sum() for g in window.grads.values()))
        for name, value in by_hand.params.items():
            value -= 0.5 * min(1, 1 / (norm + 1e-6)) * window.grads[name]
            value += 0.1 * (start[name] - value)
        by_hand.refresh()


@model_backends
def test_a_text_that_repeats_itself_gets_cheaper(backend):
    model, text = tiny_model(ALPHABET, backend=backend), "abcdefg\n" * 100
    static, dynamic = nats(LongText(model), text), nats(DynamicText(model, 2.0, 0), text)
    np.testing.assert_allclose(dynamic[:STEPS], static[:STEPS], rtol=1e-9)
    assert dynamic[-100:].mean() < 0.8 * static[-100:].mean()


def test_the_model_stays_as_it_was_and_so_does_the_next_text():
    model = tiny_model(ALPHABET)
    before = model.params.flat.copy()
    reader = DynamicText(model, 0.5, 0)
    first, other, again = nats(reader, TEXT), nats(reader, TEXT[::-1]), nats(reader, TEXT)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(model.params.flat, before)


def test_of_a_model_of_both_ways_the_one_from_the_left_adapts():
    both = tiny_model(ALPHABET, bidirectional=True)
    one = tiny_model(ALPHABET)
    one.load({name: both.params[name] for name in one.params})
    np.testing.assert_array_equal(
        nats(DynamicText(both, 0.5, 0.01), TEXT), nats(DynamicText(one, 0.5, 0.01), TEXT)
    )


def test_nothing_is_learned_from_what_comes_later():
    model = tiny_model(ALPHABET)
    whole, part = (nats(DynamicText(model, 0.5, 0), text) for text in (TEXT, TEXT[:45]))
    np.testing.assert_allclose(whole[:45], part, rtol=1e-12)


@pytest.mark.parametrize("best", [0.4, 0.9, 1.0, 3.5])
def test_the_temperature_is_that_of_the_least_loss(best):
    assert fit_temperature(lambda t: (1 / t - 1 / best) ** 2) == pytest.approx(best, rel=0.01)


def test_a_model_fits_what_it_has_drawn_itself_and_twice_its_logits_twice_the_temperature():
    drawn = sample_text(tiny_model(ALPHABET), ALPHABET, "", SampleConfig(2000, temperature=1))
    text = "".join(piece for [piece] in drawn)

    def fitted(factor):
        model = tiny_model(ALPHABET)
        model.params["decoder.weight"][...] *= factor
        model.params["decoder.bias"][...] *= factor
        model.refresh()
        return fit_temperature(lambda t: nats(LongText(model, temperature=t), text).sum())

    assert fitted(1.0) == pytest.approx(1, rel=0.1)
    assert fitted(2.0) / fitted(1.0) == pytest.approx(2, rel=0.02)


def test_a_temperature_divides_the_logits():
    model = tiny_model(ALPHABET)
    found = nats(LongText(model, temperature=2.0), TEXT)
    model.params["decoder.weight"][...] /= 2
    model.params["decoder.bias"][...] /= 2
    model.refresh()
    np.testing.assert_allclose(found, nats(LongText(model), TEXT), rtol=1e-9)
    assert not math.isclose(found.sum(), nats(LongText(tiny_model(ALPHABET)), TEXT).sum())
