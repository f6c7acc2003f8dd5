"""The embedding: a row of a table for each symbol."""

from __future__ import annotations

from charrnn.backend import Array, Backend


class Embedding:
    """Rows of ``weight`` [V, E] for ids [T, B]."""

    def __init__(
        self, backend: Backend, weight: Array, grad: Array | None, seq_len: int, batch: int
    ) -> None:
        self.backend, self.weight, self.grad = backend, weight, grad
        self.output = backend.empty((seq_len, batch, weight.shape[1]))

    def forward(self, ids: Array) -> Array:
        """ids [T, B] -> [T, B, E]"""
        self.ids = ids.reshape(-1)
        self.backend.gather(self.weight, self.ids, out=self.output.reshape(self.ids.size, -1))
        return self.output

    def backward(self, dy: Array) -> None:
        """Adds to the gradient of the table; dy [T, B, E]."""
        self.backend.scatter_add(self.grad, self.ids, dy.reshape(self.ids.size, -1))
