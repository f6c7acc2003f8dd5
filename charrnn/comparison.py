"""Two models on the same text: which foresees it better, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from charrnn.errors import DataError
from charrnn.evaluation import Line
from charrnn.rng import BOOTSTRAP, generator

RESAMPLES, CONFIDENCE = 1000, 0.95


@dataclass(frozen=True)
class Difference:
    """Bits per byte of the first model less those of the second, unknown symbols spelled out.

    ``low`` and ``high`` bound it with the given confidence: other lines of the same kind of text
    would have given another difference.
    """

    bits_per_byte: float
    low: float
    high: float
    lines: int
    seed: int
    resamples: int = RESAMPLES
    confidence: float = CONFIDENCE

    @property
    def better(self) -> str:
        """``first``, ``second``, or ``neither`` where the interval has 0 in it."""
        return "first" if self.high < 0 else "second" if self.low > 0 else "neither"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "better": self.better}


class Pair(NamedTuple):
    """What two models make of one line: bits, and the bytes that it has."""

    first: float
    second: float
    bytes: int

    @classmethod
    def of(cls, first: Line, second: Line) -> Pair:
        """Unknown symbols are charged for."""
        a, b = ((line.score.nats + line.score.spelling) / math.log(2) for line in (first, second))
        return cls(a, b, max(first.score.text_bytes, second.score.text_bytes))


def compare(lines: Sequence[Pair], seed: int) -> Difference:
    """A paired bootstrap over lines (Efron & Tibshirani 1993; Koehn 2004).

    Lines are drawn with replacement, as many as there are, each with what both models make of it:
    so what is hard for either does not count as a difference. Raises ``DataError`` for less than
    two lines.
    """
    n = len(lines)
    if n < 2:
        raise DataError("text of a single line", remedy="a comparison needs several")
    first, second, sizes = np.array(lines, float).T
    rng, found = generator(seed, BOOTSTRAP), np.empty(RESAMPLES)
    for draw in range(RESAMPLES):
        drawn = rng.integers(0, n, n)
        found[draw] = (first - second)[drawn].sum() / sizes[drawn].sum()
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found, [tail, 1 - tail]).tolist()
    return Difference(float((first - second).sum() / sizes.sum()), low, high, n, seed)
