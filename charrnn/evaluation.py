"""From losses to figures. Natural logarithms inside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.model import CHUNK, Model
from charrnn.text import UNKNOWN, Ids, scoring_lanes


@dataclass(frozen=True)
class Score:
    """The cross-entropy of a text: ``nats`` in total over ``tokens`` that were predicted.

    ``unknown`` of these are outside the vocabulary; they are scored as the unknown symbol, but no
    letter of theirs is among the ``characters`` and ``bytes``, since none was predicted.
    """

    nats: float
    tokens: int
    unknown: int
    characters: int
    bytes: int

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.tokens

    @property
    def bits_per_token(self) -> float:
        return self.nats_per_token / math.log(2)

    @property
    def bits_per_character(self) -> float:
        return self.nats / self.characters / math.log(2)

    @property
    def bits_per_byte(self) -> float:
        return self.nats / self.bytes / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp of the nats per token."""
        return math.exp(self.nats_per_token)


class Scorer:
    """Scores one text again and again while a model learns, in buffers made once.

    The text is cut into ``lanes`` that are read side by side, each from a zero state, which is
    carried through the lane; with one lane the context is never cut.
    """

    def __init__(self, model: Model, ids: Ids, lanes: int) -> None:
        self.backend = model.backend
        x, y = scoring_lanes(ids, lanes)
        steps = min(CHUNK, len(x))
        padding = ((0, -len(x) % steps), (0, 0))
        self.x = np.pad(x, padding)
        self.y = np.pad(y, padding, constant_values=-1)
        self.window = model.window(steps, lanes)

    def losses(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The cross-entropy in nats of each symbol but the first, in the text's order."""
        self.window.reset()
        steps = self.window.seq_len
        parts = []
        for t in range(0, len(self.x), steps):
            x, y = self.x[t : t + steps], self.y[t : t + steps]
            losses = self.window.losses(x, np.maximum(y, UNKNOWN))  # -1 is left out below
            parts.append(self.backend.to_host(losses).reshape(y.shape))
        losses = np.concatenate(parts).astype(np.float64)
        return losses.T[self.y.T >= 0]


def token_losses(model: Model, ids: Ids) -> np.ndarray[Any, np.dtype[np.float64]]:
    """As ``Scorer.losses``, once, the context never cut."""
    return Scorer(model, ids, lanes=1).losses()
