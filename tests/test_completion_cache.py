"""The neural cache: against its definition, alone and within what completes words."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from charrnn.completion import Completer
from charrnn.completion.cache import mixed
from charrnn.config import CompleteConfig
from charrnn.errors import UsageError
from charrnn.text import CharVocabulary
from charrnn.text.tokens import WORDS
from charrnn.text.words import WordVocabulary
from tests.support.devices import host
from tests.support.stacks import cells, model_backends
from tests.support.tiny import expected, tiny_model

VOCABULARY = WordVocabulary(["\n", ".", "the", "cat", "sat", "on", "mat", "a", "dog"], WORDS)
TEXT = "the cat sat on the mat. the dog sat on a mat. "
WEIGHT = 0.4


def by_definition(p, h, context, weight):
    """One place after the other."""
    n = len(context) - 1
    if n == 0:
        return p
    sums = np.zeros(len(p))
    for i in range(n):
        sums[context[i + 1]] += math.exp(0.5 * float(h[i] @ h[n]))
    share = weight * n / (n + 100)
    return (1 - share) * p + share * sums / sums.sum()


@pytest.mark.parametrize("length", [2, 3, 50, 400])
def test_a_share_is_that_of_words_that_followed_where_the_model_was_alike(length):
    rng = np.random.default_rng(length)
    p, h = rng.dirichlet(np.ones(12)), rng.uniform(-1, 1, (length, 30))
    context = rng.integers(0, 12, length).tolist()
    found = mixed(p, h, context, WEIGHT)
    np.testing.assert_allclose(found, by_definition(p, h, context, WEIGHT), rtol=1e-12)
    assert found.sum() == pytest.approx(1, abs=1e-12)


def test_of_one_symbol_nothing_is_remembered():
    p = np.array([0.25, 0.75])
    np.testing.assert_array_equal(mixed(p, np.ones((1, 3)), [1], WEIGHT), p)


def test_states_of_any_size_do_not_overflow():
    h = np.full((3, 4), 1e3, np.float32)
    found = mixed(np.array([0.5, 0.5]), h, [0, 1, 1], 1.0)
    np.testing.assert_allclose(found, [0.5 - 1 / 102, 0.5 + 1 / 102])


@functools.cache
def model_of(backend="numpy", cell="lstm", **extra):
    return tiny_model(VOCABULARY, backend=backend, cell=cell, **extra)


def contexts():
    """The ids of TEXT, and of what stands before each of its symbols."""
    ids = [VOCABULARY.start, *VOCABULARY.encode(TEXT).tolist()]
    return [ids[:n] for n in range(1, len(ids) + 1)]


@model_backends
@cells
def test_words_are_ranked_with_the_cache(backend, cell):
    """After each word of a text that is being typed, and after all of it at once."""
    model = model_of(backend, cell)
    completer = Completer(model, VOCABULARY, WEIGHT)._words
    for context in [*contexts(), contexts()[-1]]:
        window = model.window(len(context), 1)
        h = host(window.hidden(np.array(context)[:, None])).copy()
        wanted = by_definition(expected(model, context)[-1], h, context, WEIGHT)
        np.testing.assert_allclose(completer.expected(context), wanted, rtol=1e-6)


def test_words_of_the_text_become_likelier_than_others():
    """Those that it has not, less likely by one factor."""
    plain, cached = (Completer(model_of(), VOCABULARY, weight) for weight in (0.0, WEIGHT))
    p, q = ({s.text: s.p for s in c.complete("cat cat cat ", 99).suggestions}
            for c in (plain, cached))  # fmt: skip
    ratios = {word: q[word] / p[word] for word in p}
    assert ratios.pop("cat") > 1
    assert min(ratios.values()) < 1
    np.testing.assert_allclose(list(ratios.values()), min(ratios.values()), rtol=1e-9)


def test_a_blank_between_two_sides_has_the_cache_of_the_left():
    model = model_of(bidirectional=True)
    plain, cached = (Completer(model, VOCABULARY, weight) for weight in (0.0, WEIGHT))
    p, q = ({s.text: s.p for s in c.complete("cat cat ____ on a mat.", 99).suggestions}
            for c in (plain, cached))  # fmt: skip
    assert max(p, key=lambda word: q[word] / p[word]) == "cat"


def test_it_is_of_words():
    letters = CharVocabulary("\nab")
    with pytest.raises(UsageError, match="a cache is for models of words"):
        Completer(tiny_model(letters), letters, WEIGHT)


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan])
def test_weights_are_shares(weight):
    with pytest.raises(UsageError, match="--cache"):
        CompleteConfig(cache=weight)
    with pytest.raises(UsageError, match="--cache"):
        Completer(model_of(), VOCABULARY, weight)
