"""The language model: a configuration, its parameters and a backend, run over windows."""

from __future__ import annotations

import numpy as np

from charrnn.backend import Array, Backend
from charrnn.cells import CELLS
from charrnn.config import ModelConfig
from charrnn.layers import Dropout, Embedding, Head, Stack, States
from charrnn.params import Buffer, parameter_shapes

#: Time steps read at once where a text of any length is only read.
CHUNK = 128


class Model:
    """Embedding, recurrent layers, decoder. Parameters stand in one flat buffer, ``params``."""

    def __init__(self, config: ModelConfig, backend: Backend) -> None:
        self.config, self.backend = config, backend
        self.params = Buffer(backend, parameter_shapes(config))

    def load(self, values: dict[str, np.ndarray]) -> None:
        """Copy parameters in, by name; every name must be there, in its shape."""
        for name, view in self.params.items():
            self.backend.to_device(values[name], out=view)

    def window(self, seq_len: int, batch: int) -> Window:
        """A window to predict with."""
        return Window(self, seq_len, batch)

    def training_window(self, seq_len: int, batch: int) -> TrainingWindow:
        """A window to learn from."""
        return TrainingWindow(self, seq_len, batch)


class Window:
    """The model over ``seq_len`` time steps T of ``batch`` sequences B, in buffers made once.

    The recurrent state starts at zero and is carried from call to call. Between calls it lives
    in ``states``: reading it there saves it, writing to it there restores it.
    """

    def __init__(
        self,
        model: Model,
        seq_len: int,
        batch: int,
        grads: Buffer | None = None,
        dropout: float = 0.0,
    ) -> None:
        backend, config, params = model.backend, model.config, model.params
        self.backend, self.seq_len, self.batch = backend, seq_len, batch
        self.ids = backend.empty((seq_len, batch), np.int64)
        self.targets = backend.empty((seq_len, batch), np.int64)
        decoder = "encoder.weight" if config.tie else "decoder.weight"
        self.embedding = Embedding(
            backend, params["encoder.weight"], grads and grads["encoder.weight"], seq_len, batch
        )
        self.stack = Stack(
            backend,
            CELLS[config.cell_name],
            params.part("rnn."),
            grads and grads.part("rnn."),
            config.layers,
            seq_len,
            batch,
            dropout=dropout,
        )
        self.head = Head(
            backend,
            params[decoder],
            params["decoder.bias"],
            (grads[decoder], grads["decoder.bias"]) if grads else None,
            seq_len,
            batch,
        )
        self.embed_dropout = Dropout(backend, (seq_len, batch, config.embed_size), dropout)
        self.head_dropout = Dropout(backend, (seq_len, batch, config.hidden_size), dropout)

    def reset(self) -> None:
        """Start the next call from a zero state."""
        for scan in self.states:
            for state in scan:
                state.fill(0)

    @property
    def states(self) -> States:
        """The state after the last call, for each layer and cell state [B, H]."""
        return self.stack.final

    def logits(self, ids: np.ndarray, rng: np.random.Generator | None = None) -> Array:
        """Host ids [T, B] -> logits [T*B, V] of the symbols that follow; carries the state on."""
        self.stack.carry_states()
        self.backend.to_device(ids, out=self.ids)
        x = self.embed_dropout.forward(self.embedding.forward(self.ids), rng)
        h = self.stack.forward(x, rng)
        return self.head.forward(self.head_dropout.forward(h, rng))

    def losses(self, ids: np.ndarray, targets: np.ndarray) -> Array:
        """Host ids and targets [T, B] -> cross-entropy of each in nats [T*B]; carries the state."""
        self.logits(ids)
        self.backend.to_device(targets, out=self.targets)
        return self.head.loss(self.targets)


class TrainingWindow(Window):
    """A window with gradients, in one flat buffer ``grads`` that matches ``model.params``."""

    def __init__(self, model: Model, seq_len: int, batch: int) -> None:
        self.grads = Buffer(model.backend, parameter_shapes(model.config))
        super().__init__(model, seq_len, batch, self.grads, model.config.dropout)
        self.tied = model.config.tie

    def loss_and_grads(
        self, ids: np.ndarray, targets: np.ndarray, rng: np.random.Generator | None
    ) -> Array:
        """Mean cross-entropy in nats, a device scalar; fills ``grads`` and carries the state.

        Host ids and targets [T, B]. ``rng`` draws the dropout masks; None: no dropout.
        """
        self.logits(ids, rng)
        self.backend.to_device(targets, out=self.targets)
        loss = self.backend.xp.mean(self.head.loss(self.targets))
        dh = self.head_dropout.backward(self.head.backward())
        dx, _ = self.stack.backward(dh)
        if not self.tied:  # a tied table already holds the decoder's part
            self.grads["encoder.weight"].fill(0)
        self.embedding.backward(self.embed_dropout.backward(dx))
        return loss
