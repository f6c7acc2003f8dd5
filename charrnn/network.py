"""The layers of the model put together, for one part of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from charrnn.backend import Array, Backend
from charrnn.cells import CELLS
from charrnn.config import ModelConfig
from charrnn.layers import Dropout, Embedding, Head, Stack, States
from charrnn.params import LEFT, RIGHT, Buffer

HostIds = np.ndarray[Any, Any]


class Network:
    """Embedding, recurrent layers, decoder over T steps of B sequences, in buffers made once.

    ``weights`` maps the names of the parameters to what is read: the embedding's table and biases
    as arrays, matrices as weights, a tied decoder's too. ``grads`` maps them to the gradients that
    are written, but for the embedding's: those are in ``drows``. ``side`` is the stack that is
    run: ``RIGHT`` takes a text from its end on.

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
        side: str = LEFT,
    ) -> None:
        tokens, dropout = seq_len * batch, config.dropout if grads else 0.0
        dweight = "encoder.weight" if config.tie else "decoder.weight"
        self.embedding = Embedding(backend, weights["encoder.weight"], seq_len, batch)
        self.stack = Stack(
            backend,
            CELLS[config.cell_name],
            {n.removeprefix(f"{side}."): w for n, w in weights.items()},
            grads and grads.part(f"{side}."),
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

    def reset(self) -> None:
        """Start the next call from a zero state."""
        for scan in self.states:
            for state in scan:
                state.fill(0)

    @property
    def networks(self) -> list[Network]:
        """Those that have an embedding, and after a backward pass its gradient."""
        return [self]

    def feed(
        self,
        ids: HostIds,
        targets: HostIds | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Copy in what the next passes read: host ids and, where there are losses, targets [T, B].

        ``rng`` draws the dropout masks; None: no dropout. All else is work of the device alone.
        """
        rows = self.embedding.feed(ids)
        self.embed_dropout.draw(rng, rows * self.embedding.weight.shape[1])
        self.stack.draw(rng)
        self.head_dropout.draw(rng)
        if targets is not None:
            self.head.feed(targets.reshape(-1))

    def run(self) -> Array:
        """Of what was fed, the last layer's h [T*B, H]; carries the state on."""
        self.stack.carry_states()
        rows = self.embed_dropout.forward(self.embedding.look_up())
        return self.head_dropout.forward(self.stack.forward(rows, self.embedding.index))

    def hidden(self, ids: HostIds) -> Array:
        """Host ids [T, B] -> the last layer's h [T*B, H]; carries the state on."""
        self.feed(ids)
        return self.run()

    def logits(self, ids: HostIds) -> Array:
        """Host ids [T, B] -> logits [T*B, V] of the symbols that follow."""
        return self.head.logits(self.hidden(ids))

    def losses(self, ids: HostIds, targets: HostIds) -> Array:
        """Host ids and targets [T, B] -> cross-entropy of each in nats [T*B]."""
        self.feed(ids, targets)
        return self.head.loss(self.run())

    def losses_and_grads(self, scale: float) -> Array:
        """Losses [T*B] of what was fed, and the gradients of ``scale`` times their sum."""
        losses = self.head.loss(self.run(), scale)
        self.backward(self.head.dh)
        return losses

    def backward(self, dh: Array) -> None:
        """From the gradient of what ``run`` gave to those of the stack and of ``drows``."""
        drows, _ = self.stack.backward(self.head_dropout.backward(dh))
        self.drows = self.embed_dropout.backward(drows)


class BothWays(Network):
    """A network and its mirror image, which reads from the right; they share all but the stacks.

    They are kept apart through all layers, so that neither has seen the symbol between what it has
    read and what the other has. That symbol is predicted from the sum of both h, by the decoder
    with a bias of its own. Trained are, to equal parts, the predictions from the left, from the
    right, and from both sides. Of a window's right-hand side nothing is known beyond its end.
    """

    def __init__(
        self,
        config: ModelConfig,
        backend: Backend,
        weights: Mapping[str, Any],
        grads: Buffer,
        seq_len: int,
        batch: int,
    ) -> None:
        """Raises ``ValueError`` for a window of a single step, which has nothing in between."""
        if seq_len < 2:
            raise ValueError("both ways of a window of one step")
        super().__init__(config, backend, weights, grads, seq_len, batch)
        self.mirror = Network(config, backend, weights, grads, seq_len, batch, RIGHT)
        self.dbias = grads["blank.bias"]
        assert self.head.grads is not None
        self.between = Head(
            backend,
            weights["decoder.weight"],
            weights["blank.bias"],
            (self.head.grads[0], self.dbias),
            (seq_len - 1) * batch,
        )
        self.both = backend.empty((seq_len - 1, batch, config.hidden_size))
        self.backend = backend

    @property
    def networks(self) -> list[Network]:
        return [self, self.mirror]

    def feed(
        self,
        ids: HostIds,
        targets: HostIds | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        """As of ``Network``.

        With symbols s_0 .. s_T, the mirror reads s_T .. s_1 and is to say what stands before each.
        """
        super().feed(ids, targets, rng)
        if targets is not None:
            self.mirror.feed(np.ascontiguousarray(targets[::-1]), ids[::-1], rng)
            self.between.feed(targets[:-1].reshape(-1))

    def losses_and_grads(self, scale: float) -> Array:
        """As of ``Network``: the losses are those from the left alone, the gradients those of all.

        At time t the left has read s_0 .. s_t, and the right s_T .. s_(T-t): what stands between
        are s_1 .. s_(T-1).
        """
        scale /= 3
        left, right = self, self.mirror
        h = left.run()
        losses = left.head.loss(h, scale)

        right.reset()
        mirrored = right.run()
        right.head.loss(mirrored, scale, add=True)

        steps = (*self.stack.shape, -1)
        before, after = h.reshape(steps)[:-1], mirrored.reshape(steps)[-2::-1]
        self.backend.xp.add(before, after, out=self.both)
        between = self.both.reshape(-1, before.shape[-1])
        self.dbias.fill(0)  # below, gradients are added
        self.between.loss(between, scale, add=True)

        dboth = self.between.dh.reshape(before.shape)
        left.head.dh.reshape(steps)[:-1] += dboth
        right.head.dh.reshape(steps)[-2::-1] += dboth
        left.backward(left.head.dh)
        right.backward(right.head.dh)
        return losses
