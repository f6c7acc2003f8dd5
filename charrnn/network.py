"""The layers of the model put together, for one part of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from charrnn.backend import Array, Backend
from charrnn.cells import CELLS
from charrnn.config import ModelConfig
from charrnn.layers import Dropout, Embedding, Head, Stack, States
from charrnn.params import Buffer


class Network:
    """Embedding, recurrent layers, decoder over T steps of B sequences, in buffers made once.

    ``weights`` maps the names of the parameters to what is read: the embedding's table and biases
    as arrays, matrices as weights, a tied decoder's too. ``grads`` maps them to the gradients that
    are written, but for the embedding's: those are in ``drows``.

    Dropout is on what the decoder and every layer but the first read. The embedding loses half as
    much, since a symbol's row is cut once for a whole window rather than at each position.
    """

    def __init__(
        self,
        config: ModelConfig,
        backend: Backend,
        weights: Mapping[str, Any],
        grads: Buffer | None,
        seq_len: int,
        batch: int,
    ) -> None:
        tokens, dropout = seq_len * batch, config.dropout if grads else 0.0
        dweight = "encoder.weight" if config.tie else "decoder.weight"
        self.embedding = Embedding(backend, weights["encoder.weight"], seq_len, batch)
        self.stack = Stack(
            backend,
            CELLS[config.cell_name],
            {n.removeprefix("rnn."): w for n, w in weights.items()},
            grads and grads.part("rnn."),
            config.layers,
            seq_len,
            batch,
            dropout=dropout,
            rows=self.embedding.capacity,
        )
        self.head = Head(
            backend,
            weights["decoder.weight"],
            weights["decoder.bias"],
            (grads[dweight], grads["decoder.bias"]) if grads else None,
            tokens,
        )
        rows = (self.embedding.capacity, config.embed_size)
        self.embed_dropout = Dropout(backend, rows, dropout / 2)
        self.head_dropout = Dropout(backend, (tokens, config.hidden_size), dropout)

    @property
    def states(self) -> States:
        """The states after the last call, for each layer: [B, H] each."""
        return self.stack.final

    def hidden(self, ids: np.ndarray[Any, Any], rng: np.random.Generator | None = None) -> Array:
        """Host ids [T, B] -> the last layer's h [T*B, H]; carries the state on."""
        self.stack.carry_states()
        rows, index = self.embedding.forward(ids)
        h = self.stack.forward(self.embed_dropout.forward(rows, rng), index, rng)
        return self.head_dropout.forward(h, rng)

    def logits(self, ids: np.ndarray[Any, Any]) -> Array:
        """Host ids [T, B] -> logits [T*B, V] of the symbols that follow."""
        return self.head.logits(self.hidden(ids))

    def losses(self, ids: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> Array:
        """Host ids and targets [T, B] -> cross-entropy of each in nats [T*B]."""
        return self.head.loss(self.hidden(ids), targets.reshape(-1))

    def losses_and_grads(
        self,
        ids: np.ndarray[Any, Any],
        targets: np.ndarray[Any, Any],
        scale: float,
        rng: np.random.Generator | None,
    ) -> Array:
        """As ``losses``, and the gradients of ``scale`` times their sum.

        ``rng`` draws the dropout masks; None: no dropout.
        """
        losses = self.head.loss(self.hidden(ids, rng), targets.reshape(-1), scale)
        drows, _ = self.stack.backward(self.head_dropout.backward(self.head.dh))
        self.drows = self.embed_dropout.backward(drows)
        return losses
