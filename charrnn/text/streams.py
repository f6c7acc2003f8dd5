"""Batch streams: ids cut into contiguous lanes, read in windows that follow each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from charrnn.errors import DataError
from charrnn.rng import STREAM, generator
from charrnn.text.store import EncodedText
from charrnn.text.vocabulary import Ids

_AHEAD = 1 << 20  # symbols read at once, however many windows they are

Batch = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


class TrainingStream:
    """Windows for truncated backpropagation through time over ``batch_size`` lanes.

    Within an epoch the state carries over from each window to the next. Every epoch starts at
    an offset drawn for it, so that lanes and windows are cut elsewhere. Raises ``DataError`` where
    ``ids`` do not fill one window.
    """

    def __init__(self, ids: EncodedText | Ids, batch_size: int, seq_len: int, seed: int) -> None:
        self.ids, self.batch_size, self.seq_len, self.seed = ids, batch_size, seq_len, seed
        self.steps_per_epoch = (len(ids) - 1) // (batch_size * seq_len)
        if self.steps_per_epoch < 1:
            name = f"{ids.name}: " if isinstance(ids, EncodedText) else ""
            raise DataError(
                "text shorter than one window",
                f"{name}{len(ids)} symbols to train on",
                f"a window of {batch_size} x {seq_len} needs {batch_size * seq_len + 1}; "
                "use a longer text or a smaller --batch-size or --seq-len",
            )

    def windows(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Inputs and targets [T, B] of each window of an epoch, from the ``first`` on."""
        B, T = self.batch_size, self.seq_len
        lane = self.steps_per_epoch * T
        slack = len(self.ids) - 1 - B * lane
        start = int(generator(self.seed, STREAM, epoch).integers(0, slack + 1))
        ahead = T * max(1, _AHEAD // (B * T))
        for t in range(first * T, lane, ahead):
            length = min(ahead, lane - t)
            lanes = range(start + t, start + t + B * lane, lane)
            block = np.stack([self.ids[at : at + length + 1] for at in lanes], axis=1)
            for u in range(0, length, T):
                yield block[u : u + T], block[u + 1 : u + 1 + T]


def scoring_lanes(ids: Ids, lanes: int) -> Batch:
    """Inputs and targets [N, lanes] of contiguous lanes that cover all of ``ids``.

    Each symbol but the first is a target once. Lanes differ in length by at most one; shorter
    ones end with a target of -1, which counts for nothing.
    """
    bounds = np.linspace(0, len(ids) - 1, lanes + 1).astype(int)
    positions = np.arange(np.diff(bounds).max())[:, None] + bounds[:-1]
    inside = positions < bounds[1:]
    positions = np.where(inside, positions, 0)
    return ids[positions], np.where(inside, ids[positions + 1], -1)
