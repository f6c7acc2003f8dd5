"""The n-gram rival: against the textbook's recursion, and what a distribution must be."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest

from tests.bench.kneser_ney import KneserNey, discounts

V = 9


def zipfian(length: int, seed: int) -> np.ndarray:
    """Ids below V - 1, the lower the more frequent, so that there are counts of all sizes."""
    p = 1 / np.arange(1, V)
    return np.random.default_rng(seed).choice(V - 1, size=length, p=p / p.sum())


class Textbook:
    """Chen and Goodman's recursion as it is written, with dictionaries of tuples."""

    def __init__(self, ids: np.ndarray, order: int) -> None:
        text = [int(i) for i in ids]
        self.order = order
        self.counts: dict[int, Counter[tuple[int, ...]]] = {}
        self.counts[order] = Counter(
            tuple(text[i : i + order]) for i in range(len(text) - order + 1)
        )
        started = [None, *text]  # the start of the text is a predecessor too
        for k in range(1, order):
            extended = {tuple(started[i : i + k + 1]) for i in range(len(text) - k + 1)}
            self.counts[k] = Counter(gram[1:] for gram in extended)
        self.discounts = {k: self.estimate(counts) for k, counts in self.counts.items()}

    @staticmethod
    def estimate(counts: Counter[tuple[int, ...]]) -> list[float]:
        n1, n2, n3, n4 = (sum(c == j for c in counts.values()) for j in (1, 2, 3, 4))
        if 0 in (n1, n2, n3):
            return [0, 0.5, 1, 1.5]
        y = n1 / (n1 + 2 * n2)
        found = [0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
        return found if min(found[1:]) > 0 else [0, 0.5, 1, 1.5]

    def p(self, word: int, context: tuple[int, ...]) -> float:
        k = len(context) + 1
        lower = self.p(word, context[1:]) if context else 1 / V
        counts, d = self.counts[k], self.discounts[k]
        following = [counts[(*context, v)] for v in range(V)]
        total = sum(following)
        if total == 0:
            return lower
        gamma = sum(d[j] * sum(c == j for c in following) for j in (1, 2))
        gamma += d[3] * sum(c >= 3 for c in following)
        c = counts[(*context, word)]
        return (c - d[min(c, 3)]) / total + gamma / total * lower


@pytest.mark.parametrize("order, length", [(1, 300), (2, 300), (3, 400), (4, 60), (3, 3), (5, 2)])
def test_is_the_textbooks(order, length):
    ids = zipfian(length, seed=order)
    model, textbook = KneserNey(ids, V, order), Textbook(ids, order)
    contexts = [c for k in range(order) for c in product(range(V), repeat=min(k, 2))]
    contexts += [tuple(map(int, ids[i : i + order - 1])) for i in range(min(length - order + 2, 9))]
    for context in dict.fromkeys(contexts):
        expected = [textbook.p(w, context) for w in range(V)]
        np.testing.assert_allclose(model.probabilities(context), expected, rtol=1e-12)


def test_those_tests_have_discounts_of_both_kinds():
    textbook = Textbook(zipfian(400, seed=3), 3)
    assert [textbook.discounts[k][1] == 0.5 for k in (1, 2, 3)] == [True, False, False]


def test_unigrams_by_hand():
    # Two counts of 1, none of 2, so the fallback: half of each count goes to the uniform.
    p = KneserNey(np.array([0, 1]), 4, order=1).probabilities([])
    np.testing.assert_allclose(p, [0.25 + 0.125, 0.25 + 0.125, 0.125, 0.125])


def test_discounts_by_hand():
    # n1 = 8, n2 = 4, n3 = 2, n4 = 1: Y = 1/2.
    counts = np.repeat([1, 2, 3, 4, 7], [8, 4, 2, 1, 3])
    np.testing.assert_allclose(discounts(counts), [0, 1 - 1 / 2, 2 - 3 / 4, 3 - 1])


@pytest.mark.parametrize("times", [[0, 4, 2, 1], [8, 0, 2, 1], [8, 4, 0, 1], [8, 1, 9, 1]])
def test_discounts_that_cannot_be_estimated(times):
    np.testing.assert_array_equal(discounts(np.repeat([1, 2, 3, 4], times)), [0, 0.5, 1, 1.5])


def test_distributions_sum_to_one():
    ids = zipfian(2000, seed=0)
    model = KneserNey(ids, V)
    seen = [ids[i : i + 4] for i in range(0, 1990, 40)]
    others = np.random.default_rng(1).integers(0, V, size=(50, 6))
    unseen = [[], [V - 1], [0, 0, 0, V - 1], [V - 1, 0, 0, 0], ids[-4:], ids[-1:]]
    for context in [*seen, *others, *unseen]:
        p = model.probabilities(context)
        assert p.dtype == np.float64 and p.shape == (V,)
        assert p.min() > 0  # V - 1 too, which the text does not have
        np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_logprob_is_that_of_the_distributions(order):
    model = KneserNey(zipfian(1000, seed=0), V, order)
    ids = np.append(zipfian(100, seed=1), [V - 1, 0, 0])
    expected = sum(np.log(model.probabilities(ids[:i])[ids[i]]) for i in range(1, len(ids)))
    np.testing.assert_allclose(model.logprob(ids), expected, rtol=1e-12)


def test_nothing_to_predict():
    model = KneserNey(zipfian(100, seed=0), V)
    assert model.logprob(np.array([3])) == model.logprob(np.zeros(0, np.int32)) == 0


def test_only_the_last_ids_matter():
    model = KneserNey(zipfian(500, seed=0), V, order=3)
    long, short = model.probabilities([5, 1, 0, 2]), model.probabilities(np.array([0, 2]))
    np.testing.assert_array_equal(long, short)


def test_what_repeats_is_expected():
    model = KneserNey(np.tile([0, 1, 2, 3, 2], 200), V)
    for context, following in ([3, 2, 0, 1], 2), ([2, 0, 1, 2], 3), ([1, 2, 3, 2], 0):
        assert model.probabilities(context)[following] > 0.95


def test_more_text_predicts_better():
    ids = np.array([0, 3, 1, 4, 2, 5, 6])[np.cumsum(zipfian(9000, seed=0)) % 7]  # a Markov chain
    fits = [KneserNey(ids[:n], V).logprob(ids[8000:]) for n in (0, 80, 800, 8000)]
    assert fits == sorted(fits)


@pytest.mark.parametrize("ids", [[], [4]])
def test_hardly_any_text(ids):
    p = KneserNey(np.array(ids, int), V).probabilities([4])
    np.testing.assert_allclose(p.sum(), 1)
    assert p.min() > 0


@pytest.mark.parametrize("ids", [[-1], [V], [[1, 2]]])
def test_what_is_no_sequence_of_ids_is_refused(ids):
    model = KneserNey(np.zeros(3, np.int32), V)
    with pytest.raises(ValueError, match="ids from 0 to 8"):
        model.probabilities(ids)
    with pytest.raises(ValueError, match="ids from 0 to 8"):
        KneserNey(np.array(ids), V)
