"""What changes while a model learns: weights, moments, state, place in the text.

All of it goes into a checkpoint and comes back from one, to the bit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from charrnn.backend import Array, Backend
from charrnn.cells import CELLS
from charrnn.checkpoint import Arrays, Checkpoint, cannot_resume
from charrnn.config import ModelConfig, TrainConfig
from charrnn.model import Model
from charrnn.optim import Optimizer
from charrnn.text.streams import Batch, TrainingStream

#: Counters of a checkpoint, with their types.
_COUNTERS = {"step": int, "updates": int, "bad_steps": int, "rollbacks": int, "rate_scale": float}
_MOST = 2**60


class Learner:
    """A model, its optimiser and the stream of windows that it learns from.

    ``step`` counts windows, ``bad_steps`` those in a row whose loss or gradient was not finite,
    ``rollbacks`` how often a run went back to a checkpoint because of them, and ``rate_scale`` is
    what the learning rate is multiplied with since.
    """

    def __init__(
        self, backend: Backend, config: ModelConfig, train: TrainConfig, stream: TrainingStream
    ) -> None:
        """Everything that takes memory is made here; ``start`` or ``restore`` comes next."""
        self.backend, self.config, self.train, self.stream = backend, config, train, stream
        self.model = Model(config, backend, learns=True)
        self.window = self.model.training_window(train.seq_len, train.batch_size)
        self.optimizer = Optimizer(backend, self.model.params, self.window.grads, train)
        captured = backend.deferred and self.window.static
        self._captured = backend.capture(self._take_fed) if captured else None

    def start(self, weights: Arrays) -> None:
        """Begin with these, at the beginning of the text."""
        self.model.load(weights)
        for buffer in self.optimizer.buffers.values():
            buffer.flat.fill(0)
        self.step = self.optimizer.steps = self.bad_steps = self.rollbacks = 0
        self.rate_scale = 1.0
        self._losses: list[Any] = []
        self._norms: list[Any] = []
        self._batches = self._windows()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where ``checkpoint`` was made; raises ``DataError`` where that cannot be."""
        counters = checkpoint.counters
        lanes = {len(state) for state in checkpoint.states.values()}
        if checkpoint.config != self.config or not lanes <= {self.train.batch_size}:
            raise cannot_resume("it is of another configuration")
        self.start(checkpoint.weights)
        for name, kind in _COUNTERS.items():
            if not isinstance(counters.get(name), kind) or not 0 <= counters[name] <= _MOST:
                raise cannot_resume(f"its {name} is {counters.get(name)!r}")
        self.step, self.bad_steps = counters["step"], counters["bad_steps"]
        self.rollbacks, self.rate_scale = counters["rollbacks"], counters["rate_scale"]
        self.optimizer.steps = counters["updates"]
        self._losses, self._norms = (_numbers(counters, name) for name in ("losses", "norms"))
        try:
            for slot, buffer in self.optimizer.buffers.items():
                for name, view in buffer.items():
                    self.backend.to_device(checkpoint.slots[f"{slot}.{name}"], out=view)
            self._batches = self._windows()
            if self._place[1]:
                self.window.states = [
                    [self.backend.to_device(checkpoint.states[f"{layer}.{name}"]) for name in names]
                    for layer, names in self._state_names()
                ]
        except KeyError as error:
            raise cannot_resume(f"it lacks {error.args[0]!r}") from None

    def snapshot(self) -> dict[str, Any]:
        """Fields of a checkpoint: ``weights``, ``slots``, ``states`` and ``counters``."""
        to_host = self.backend.to_host
        losses, norms = self.figures()
        epoch, window = self._place
        tokens = self.stream.batch_size * self.stream.seq_len
        states = zip(self._state_names(), self.window.states, strict=True)
        return {
            "weights": {name: to_host(view) for name, view in self.model.params.items()},
            "slots": {
                f"{slot}.{name}": to_host(view)
                for slot, buffer in self.optimizer.buffers.items()
                for name, view in buffer.items()
            },
            "states": {
                f"{layer}.{name}": to_host(state)
                for (layer, names), values in states
                for name, state in zip(names, values, strict=True)
            },
            "counters": {
                **{name: getattr(self, name) for name in _COUNTERS if name != "updates"},
                "updates": self.optimizer.steps,
                "losses": losses,
                "norms": norms,
                "epoch": epoch,
                "window": window,
                "tokens": self.step * tokens,
            },
        }

    @property
    def epoch(self) -> float:
        """Passes over the text so far."""
        return self.step / self.stream.steps_per_epoch

    @property
    def _place(self) -> tuple[int, int]:
        """The epoch, and the window in it, that come next."""
        return divmod(self.step, self.stream.steps_per_epoch)

    def _state_names(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Layers, each with the names of its states."""
        return ((n, CELLS[self.config.cell_name].states) for n in range(self.config.layers))

    def _windows(self) -> Iterator[Batch]:
        """Window after window, epoch after epoch; the state starts from zero in each epoch."""
        begin, first = self._place
        for epoch in itertools.count(begin):
            if not first:
                self.window.reset()
            yield from self.stream.windows(epoch, first)
            first = 0

    @np.errstate(all="ignore")  # an overflow shows itself as a number that is not finite
    def learn(self, lr: float) -> bool:
        """One step: forward, backward, clip, update. False if it was skipped.

        That is where loss or gradient is not finite; weights stay as they are, the state starts
        from zero. On a device that runs beside the host nothing is waited for, and it shows only
        in ``figures``.
        """
        loss, norm = self._take(*next(self._batches), lr * self.rate_scale)
        self.step += 1
        if not self.backend.deferred and not math.isfinite(norm):
            self.bad_steps += 1
            self.window.reset()
            return False
        self.bad_steps = 0
        self._losses.append(loss)
        self._norms.append(norm)
        return True

    def _take(self, ids: Array, targets: Array, lr: float) -> tuple[Any, Any]:
        """A step on host ids and targets [T, B]: its loss, and the norm of the gradient."""
        window, optimizer, seed = self.window, self.optimizer, (self.train.seed, self.step)
        if self._captured is not None:
            window.feed(ids, targets, seed)
            optimizer.advance(lr)
            figures = self._captured().copy()  # the next step overwrites them
            return figures[0], figures[1]
        loss = norm = window.loss_and_grads(ids, targets, seed)
        if self.backend.deferred or math.isfinite(loss):
            norm = optimizer.step(lr, window.touched)
        if self.backend.deferred or math.isfinite(norm):
            self.model.refresh()
        return loss, norm

    def _take_fed(self) -> Array:
        """A step with what was fed: work of the device alone. Loss and norm, [2]."""
        figures = [self.window.compute(), self.optimizer.update()]
        self.model.refresh()
        return self.backend.xp.stack(figures)

    def figures(self) -> tuple[list[float], list[float]]:
        """Losses, and norms of the gradients, of the steps since ``clear``."""
        self._losses, self._norms = (
            [x if isinstance(x, float) else float(self.backend.to_host(x)) for x in values]
            for values in (self._losses, self._norms)
        )
        return self._losses, self._norms

    def clear(self) -> None:
        """Begin new lists of figures."""
        self._losses, self._norms = [], []

    @property
    def reports(self) -> int:
        """How many steps ``figures`` would tell of."""
        return len(self._losses)


def _numbers(counters: dict[str, Any], name: str) -> list[Array]:
    values = counters.get(name)
    if not isinstance(values, list) or not all(type(v) is float for v in values):
        raise cannot_resume(f"its {name} are {values!r}")
    return list(values)
