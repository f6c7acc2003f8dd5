"""The language model: a configuration, its parameters and a backend, run over windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from charrnn.backend import Array, Backend
from charrnn.config import ModelConfig
from charrnn.layers import States
from charrnn.network import BothWays, Network
from charrnn.params import LEFT, Buffer, cuts, parameter_shapes
from charrnn.rng import DROPOUT, generator

#: Time steps read at once where a text of any length is only read.
CHUNK = 128

#: Lanes that a thread gets at least: a product of fewer rows is no quicker.
MIN_LANES = 4

HostIds = np.ndarray[Any, Any]
Values = Mapping[str, np.ndarray[Any, Any]]


class Model:
    """Embedding, recurrent layers, decoder. Parameters stand in one flat buffer, ``params``."""

    def __init__(
        self,
        config: ModelConfig,
        backend: Backend,
        values: Values | None = None,
        *,
        learns: bool = False,
    ) -> None:
        """``values`` as for ``load``, or all is zero; ``learns``: training windows may be made."""
        self.config, self.backend, self.learns = config, backend, learns
        self.params = Buffer(backend, parameter_shapes(config))
        if values is not None:  # before the weights are packed, which is not done twice
            self._copy(values)
        matrices = {n: v for n, v in self.params.items() if "weight" in n}
        table = matrices.pop("encoder.weight")  # is looked up; tied, multiplied with as well
        if config.tie:
            matrices["decoder.weight"] = table
        self.weights = {n: backend.weight(m, backward=learns) for n, m in matrices.items()}

    def load(self, values: Values) -> None:
        """Copy parameters in, by name; every name must be there, in its shape."""
        self._copy(values)
        self.refresh()

    def _copy(self, values: Values) -> None:
        for name, view in self.params.items():
            self.backend.to_device(values[name], out=view)

    def refresh(self) -> None:
        """Take over a change of ``params``."""
        weights = self.weights.values()
        if self.learns:
            self.backend.map(lambda weight: weight.refresh(), weights)
            return
        for weight in weights:  # once: threads would take longer to begin
            weight.refresh()

    def window(
        self, seq_len: int, batch: int, side: str = LEFT, *, threads: int | None = None
    ) -> Window:
        """A window to predict with: from the left, or texts that are given from their end on.

        Run by no more ``threads`` than these, or by all of the backend's.
        """
        return Window(self, seq_len, batch, side, threads)

    def between(self, left: States, right: States) -> Array:
        """Logits [B, V] of the symbol between two contexts, from the states of either side.

        The last layer's h of both, [B, H], are added up: see ``network.BothWays``.
        """
        h = left[-1][0] + right[-1][0]
        out = self.backend.empty((len(h), self.config.vocab_size))
        self.backend.linear(h, self.weights["decoder.weight"], out, self.params["blank.bias"])
        return out

    def training_window(self, seq_len: int, batch: int) -> TrainingWindow:
        """A window to learn from; raises ``ValueError`` unless the model ``learns``."""
        if not self.learns:
            raise ValueError("a model without learns=True does not learn")
        return TrainingWindow(self, seq_len, batch)


class Window:
    """The model over ``seq_len`` time steps T of ``batch`` sequences B, in buffers made once.

    The sequences are cut into parts, one for each thread. The recurrent state starts at zero and
    is carried from call to call. ``side`` is the stack that is run.
    """

    def __init__(
        self,
        model: Model,
        seq_len: int,
        batch: int,
        side: str = LEFT,
        threads: int | None = None,
    ) -> None:
        self.model, self.backend, self.side = model, model.backend, side
        self.seq_len, self.batch = seq_len, batch
        count = max(1, min(batch // MIN_LANES, threads or model.backend.threads))
        self.columns = [slice(a, b) for a, b in cuts(0, batch, count)]
        weights = {**model.params, **model.weights}
        self.parts = [self._part(weights, c.stop - c.start) for c in self.columns]

    def _part(self, weights: dict[str, Any], batch: int) -> Network:
        """The network for so many of the sequences."""
        model = self.model
        return Network(model.config, model.backend, weights, None, self.seq_len, batch, self.side)

    def reset(self) -> None:
        """Start the next call from a zero state."""
        for part in self.parts:
            part.reset()

    @property
    def states(self) -> States:
        """Copies of the states after the last call, [B, H], for each layer and state of the cell.

        Assigning restores them; a single sequence's [1, H] become those of every sequence.
        """
        join = self.backend.xp.concatenate
        return [
            [join(parts) for parts in zip(*scans, strict=True)]
            for scans in zip(*(part.states for part in self.parts), strict=True)
        ]

    @states.setter
    def states(self, states: States) -> None:
        for part, columns in zip(self.parts, self.columns, strict=True):
            for to_scan, scan in zip(part.states, states, strict=True):
                for to_state, state in zip(to_scan, scan, strict=True):
                    to_state[...] = state[columns] if len(state) > 1 else state

    def _map(self, call: Any, *arrays: HostIds) -> list[Any]:
        """[call(part, its columns of each array) for each part], side by side."""

        def run(number: int) -> Any:
            columns = self.columns[number]
            return call(number, *(np.ascontiguousarray(a[:, columns]) for a in arrays))

        return self.backend.map(run, range(len(self.parts)))

    def _each(self, call: Any, *arrays: HostIds) -> Array:
        """As ``_map``, [T, B, ...] joined and flat."""
        results = self._map(call, *arrays)
        if len(results) == 1:
            return results[0]
        shaped = [r.reshape(self.seq_len, -1, *r.shape[1:]) for r in results]
        joined = self.backend.xp.concatenate(shaped, axis=1)
        return joined.reshape(-1, *joined.shape[2:])

    def logits(self, ids: HostIds) -> Array:
        """Host ids [T, B] -> logits [T*B, V] of the symbols that follow; carries the state on."""
        return self._each(lambda n, x: self.parts[n].logits(x), ids)

    def hidden(self, ids: HostIds) -> Array:
        """Host ids [T, B] -> the last layer's h [T*B, H]; carries the state on."""
        return self._each(lambda n, x: self.parts[n].hidden(x), ids)

    def decode(self, h: Array) -> Array:
        """Hidden states h [n, H] -> logits [n, V]."""
        return self.parts[0].head.logits(h)

    def losses(self, ids: HostIds, targets: HostIds) -> Array:
        """Host ids and targets [T, B] -> cross-entropy of each in nats [T*B]; carries the state."""
        return self._each(lambda n, x, y: self.parts[n].losses(x, y), ids, targets)


class TrainingWindow(Window):
    """A window with gradients, in one flat buffer ``grads`` that matches ``model.params``.

    ``touched`` lists the rows of the embedding that have one, on the host; None: any may.
    """

    def __init__(self, model: Model, seq_len: int, batch: int) -> None:
        self.buffers: list[Buffer] = []
        super().__init__(model, seq_len, batch)
        self.grads = self.buffers[0]
        self.tied, self.scale = model.config.tie, 1 / (seq_len * batch)
        self.touched: np.ndarray[Any, Any] | None = None

    def _part(self, weights: dict[str, Any], batch: int) -> Network:
        config = self.model.config
        grads = Buffer(self.backend, parameter_shapes(config))
        self.buffers.append(grads)
        kind = BothWays if config.bidirectional else Network
        return kind(config, self.backend, weights, grads, self.seq_len, batch)

    def loss_and_grads(self, ids: HostIds, targets: HostIds, seed: tuple[int, int] | None) -> Array:
        """Mean cross-entropy in nats, a device scalar; fills ``grads`` and carries the state.

        Host ids and targets [T, B]. ``seed``: a seed and the number of the step, from which the
        dropout masks are drawn; None: no dropout.
        """

        def run(n: int, x: HostIds, y: HostIds) -> Array:
            self._feed_part(n, x, y, seed)
            return self.parts[n].losses_and_grads(self.scale)

        return self._add_up(self._each(run, ids, targets))

    def feed(self, ids: HostIds, targets: HostIds, seed: tuple[int, int] | None) -> None:
        """Copy in what the next ``compute`` reads; arguments as of ``loss_and_grads``."""
        self._map(lambda n, x, y: self._feed_part(n, x, y, seed), ids, targets)

    def compute(self) -> Array:
        """What ``loss_and_grads`` does with what was fed: work of the device alone.

        Where the window is ``static`` it is the same each time, and can be captured.
        """
        return self._add_up(self._each(lambda n: self.parts[n].losses_and_grads(self.scale)))

    @property
    def static(self) -> bool:
        """Whether no array has another shape from one step to the next.

        Where the vocabulary is larger than a window, the rows of the embedding that occur do.
        """
        return all(n.embedding.whole for part in self.parts for n in part.networks)

    def _feed_part(self, n: int, ids: HostIds, targets: HostIds, seed: Any) -> None:
        rng = None if seed is None else generator(seed[0], DROPOUT, *seed[1:], n)
        self.parts[n].feed(ids, targets, rng)

    def _add_up(self, losses: Array) -> Array:
        """The mean of the losses; gradients of all parts into ``grads``."""
        loss = self.backend.xp.mean(losses)
        encoder, flat = self.grads["encoder.weight"], self.grads.flat
        networks = [network for part in self.parts for network in part.networks]
        embeddings = [network.embedding for network in networks]
        first = 0 if self.tied else encoder.size

        def add(bounds: tuple[int, int]) -> None:
            part = slice(*bounds)
            for other in self.buffers[1:]:
                flat[part] += other.flat[part]

        if len(self.buffers) > 1:
            self.backend.map(add, cuts(first, flat.size, self.backend.threads))
        if not self.tied:  # a tied table already holds the decoder's part
            if any(e.whole for e in embeddings):  # not all, where V lies between their sizes
                encoder.fill(0)
            else:
                self.touched = np.unique(np.concatenate([e.symbols for e in embeddings]))
                encoder[self.backend.to_device(self.touched)] = 0
        for network, embedding in zip(networks, embeddings, strict=True):
            if embedding.whole:
                encoder += network.drows
            else:
                ids = embedding.ids[: len(embedding.symbols)]
                self.backend.scatter_add(encoder, ids, network.drows)
        return loss
