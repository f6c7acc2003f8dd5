"""Two models on the same text: which foresees it better, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

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


def compare(first: Iterable[Line], second: Iterable[Line], seed: int) -> Difference:
    """A paired bootstrap over lines (Efron & Tibshirani 1993; Koehn 2004).

    Lines are drawn with replacement, as many as there are, each with what both models make of it:
    so what is hard for either does not count as a difference. Raises ``DataError`` for less than
    two lines.
    """
    bits, sizes = [], []
    for a, b in zip(first, second, strict=True):
        bits.append((_bits(a), _bits(b)))
        sizes.append(max(a.score.text_bytes, b.score.text_bytes))
    if len(sizes) < 2:
        raise DataError("text of a single line", remedy="a comparison needs several")
    differences, weights = np.diff(bits, axis=1)[:, 0] * -1, np.array(sizes, float)
    rng, n = generator(seed, BOOTSTRAP), len(sizes)
    found = np.empty(RESAMPLES)
    for draw in range(RESAMPLES):
        lines = rng.integers(0, n, n)
        found[draw] = differences[lines].sum() / weights[lines].sum()
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found, [tail, 1 - tail]).tolist()
    return Difference(float(differences.sum() / weights.sum()), low, high, n, seed)


def _bits(line: Line) -> float:
    return (line.score.nats + line.score.spelling) / math.log(2)
