"""Two models compared on the same lines."""

from __future__ import annotations

import math

import numpy as np
import pytest

from charrnn.comparison import RESAMPLES, Difference, Pair
from charrnn.comparison import compare as compare_pairs
from charrnn.errors import DataError
from charrnn.evaluation import Line, Score


def lines(bits: list[float], sizes: list[int] | None = None, spelling: float = 0.0) -> list[Line]:
    """Lines of so many bits, of eight bytes each if nothing else is said."""
    sizes = sizes or [8] * len(bits)
    scores = [
        Score(nats=b * math.log(2), spelling=spelling * math.log(2), tokens=1, text_bytes=size)
        for b, size in zip(bits, sizes, strict=True)
    ]
    return [Line(n, 0, "", score) for n, score in enumerate(scores, 1)]


def compare(first: list[Line], second: list[Line], seed: int) -> Difference:
    return compare_pairs([Pair.of(a, b) for a, b in zip(first, second, strict=True)], seed)


def test_the_difference_is_that_of_all_bits_over_all_bytes():
    found = compare(lines([8, 24], [8, 16]), lines([16, 40], [8, 16]), seed=0)
    assert found.bits_per_byte == pytest.approx((8 + 24 - 16 - 40) / 24)
    assert (found.lines, found.seed, found.resamples) == (2, 0, RESAMPLES)


def test_unknown_words_are_charged_for():
    found = compare(lines([8, 8]), lines([8, 8], spelling=16), seed=0)
    assert found.bits_per_byte == pytest.approx(-2)


def test_a_constant_difference_is_certain():
    rng = np.random.default_rng(0)
    bits = rng.uniform(0, 1000, 50)
    found = compare(lines(list(bits)), lines(list(bits + 4)), seed=0)
    assert (found.low, found.high) == pytest.approx((-0.5, -0.5))
    assert found.better == "first"


@pytest.mark.parametrize("shift, better", [(-60, "first"), (0, "neither"), (60, "second")])
def test_what_is_better_shows_where_the_interval_has_no_zero_in_it(shift, better):
    rng = np.random.default_rng(0)
    first, second = rng.normal(500 + shift, 50, 100), rng.normal(500, 50, 100)
    found = compare(lines(list(first)), lines(list(second)), seed=0)
    assert found.low < found.bits_per_byte < found.high
    assert found.better == better == found.to_dict()["better"]


def test_the_interval_is_as_wide_as_the_normal_one():
    """Of many lines the mean is normal: 1.96 standard errors either way."""
    apart = np.random.default_rng(0).normal(0, 80, 2000)
    found = compare(lines(list(apart + 1000)), lines([1000.0] * 2000), seed=0)
    error = apart.std() / math.sqrt(2000) / 8
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.1)


def test_the_seed_decides():
    first, second = lines([5.0, 9, 2, 7]), lines([6.0, 1, 8, 3])
    assert compare(first, second, seed=1) == compare(first, second, seed=1)
    assert compare(first, second, seed=1).low != compare(first, second, seed=2).low


def test_a_single_line_cannot_be_compared():
    with pytest.raises(DataError, match="single line"):
        compare(lines([1]), lines([1]), seed=0)
