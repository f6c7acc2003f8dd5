"""What is made of symbols from logits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn import verdicts
from charrnn.verdicts import judge
from tests.support.tiny import softmax


def test_a_verdict_by_hand():
    found = judge(np.log([[0.5, 0.125, 0.25, 0.125]]), np.array([2]), 3)
    ln2 = np.log(2)
    assert [found.nats, found.ranks, found.top] == [pytest.approx([2 * ln2]), [2], [0.5]]
    assert found.entropies == pytest.approx([1.75 * ln2])
    assert found.others[:, :2].tolist() == [[0, 2]]
    np.testing.assert_allclose(found.p, [[0.5, 0.25, 0.125]])


@pytest.mark.parametrize(
    ("logits", "ranks"),
    [([1, 1, 1, 1], [1, 1, 1, 1]), ([0, 3, 3, 1], [4, 1, 1, 3]), ([2, 5, 2, 2], [2, 1, 2, 2])],
)
def test_what_is_as_likely_has_the_same_rank(logits, ranks):
    """The best: only those that are likelier count."""
    found = judge(np.array([logits] * 4, np.float32), np.arange(4))
    assert found.ranks.tolist() == ranks


@pytest.mark.parametrize("size", [2, 7, 2000])
@pytest.mark.parametrize("scale", [0.01, 1, 30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_probabilities_of_all_symbols_add_up_to_one(size, scale, dtype):
    logits = (np.random.default_rng(0).normal(size=size) * scale).astype(dtype)
    found = judge(np.broadcast_to(logits, (size, size)), np.arange(size), 1)
    assert np.exp(-found.nats).sum() == pytest.approx(1, rel=1e-6)
    np.testing.assert_allclose(found.top, np.exp(-found.nats).max(), rtol=1e-6)
    np.testing.assert_allclose(found.entropies, (found.nats * np.exp(-found.nats)).sum(), rtol=1e-5)


@given(st.integers(1, 6), st.integers(2, 9), st.integers(1, 12), st.integers(0, 99))
def test_alternatives_are_the_likeliest_in_order(n, size, k, seed):
    """No more than there are symbols."""
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(size=(n, size)) * 3, rng.integers(size, size=n)
    p = softmax(logits)
    found = judge(logits, targets, k)
    np.testing.assert_array_equal(found.others, np.argsort(-p, axis=1)[:, :k])
    np.testing.assert_allclose(found.p, -np.sort(-p, axis=1)[:, :k], rtol=1e-12)
    for row, (target, rank) in enumerate(zip(targets, found.ranks, strict=True)):
        assert rank > found.others.shape[1] or found.others[row, rank - 1] == target


@pytest.mark.parametrize("block", [1, 8, 9, 17, 1000])
@pytest.mark.parametrize("alternatives", [0, 3])
def test_logits_are_judged_alike_however_many_at_a_time(block, alternatives, monkeypatch):
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(11, 8)), rng.integers(8, size=11)
    whole = judge(logits, targets, alternatives)
    monkeypatch.setattr(verdicts, "_BLOCK", block)
    for found, wanted in zip(judge(logits, targets, alternatives), whole, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_details_are_there_only_where_they_are_asked_for():
    found = judge(np.zeros((3, 8)), np.zeros(3, int))
    assert [len(values) for values in found] == [3, 3, 3, 0, 0, 0]


def test_logits_are_left_as_they_were():
    logits = np.random.default_rng(0).normal(size=(3, 8))
    before = logits.copy()
    judge(logits, np.array([0, 1, 2]), 2)
    np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_was_never_expected_costs_a_lot_and_not_more(dtype):
    logits = np.array([[0, -1e30, 0], [1e30, 0, 0]], dtype)
    found = judge(logits, np.array([1, 1]), 3)
    np.testing.assert_allclose(found.nats, 1e30, rtol=1e-6)
    np.testing.assert_allclose(found.entropies, [np.log(2), 0])
