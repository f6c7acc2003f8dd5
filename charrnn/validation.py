"""The losses of a held-out text while a model learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from charrnn.model import CHUNK, Model
from charrnn.text import UNKNOWN, Ids
from charrnn.text.streams import scoring_lanes


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

    def losses(
        self, stop: Callable[[], bool] = lambda: False
    ) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """The cross-entropy in nats of each symbol but the first, in the text's order.

        None where ``stop``, asked now and then, said so.
        """
        self.window.reset()
        steps = self.window.seq_len
        parts = []
        for t in range(0, len(self.x), steps):
            if stop():
                return None
            x, y = self.x[t : t + steps], self.y[t : t + steps]
            losses = self.window.losses(x, np.maximum(y, UNKNOWN))  # -1 is left out below
            parts.append(self.backend.to_host(losses).reshape(y.shape))
        losses = np.concatenate(parts).astype(np.float64)
        return losses.T[self.y.T >= 0]
