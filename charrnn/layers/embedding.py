"""The embedding: a row of a table for each symbol."""

from __future__ import annotations

import numpy as np

from charrnn.backend import Array, Backend


class Embedding:
    """Rows of ``weight`` [V, E] for ids [T, B], each row that occurs taken once.

    Of a small vocabulary all rows are taken as they stand, ``whole``. ``rows`` [U, E] are those of
    the last call, ``symbols`` [U] their ids on the host, ``index`` [T*B] the row of each position.
    """

    def __init__(self, backend: Backend, weight: Array, seq_len: int, batch: int) -> None:
        self.backend, self.weight = backend, weight
        V, E = weight.shape
        self.capacity = min(V, seq_len * batch)
        self.whole = seq_len * batch >= V
        self.symbols = np.arange(V)
        self.index = backend.empty((seq_len * batch,), np.int64)
        self.ids = backend.empty((self.capacity,), np.int64)
        self.picked = backend.empty((0 if self.whole else self.capacity, E))

    def forward(self, ids: np.ndarray) -> tuple[Array, Array]:
        """Host ids [T, B] -> rows [U, E] and index [T*B]."""
        self.feed(ids)
        return self.look_up(), self.index

    def feed(self, ids: np.ndarray) -> int:
        """Copy in what ``look_up`` needs of host ids [T, B]; gives U."""
        if self.whole:
            self.backend.to_device(ids.reshape(-1), out=self.index)
        else:
            self.symbols, index = np.unique(ids.reshape(-1), return_inverse=True)
            self.backend.to_device(index, out=self.index)
            self.backend.to_device(self.symbols, out=self.ids[: len(self.symbols)])
        return len(self.symbols)

    def look_up(self) -> Array:
        """The rows of the ids that were fed."""
        U = len(self.symbols)
        self.rows = self.weight
        if not self.whole:
            self.rows = self.backend.gather(self.weight, self.ids[:U], out=self.picked[:U])
        return self.rows
