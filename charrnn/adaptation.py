"""Fitting a trained model to a text: while it is read, or by one number beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from charrnn.backend import Array
from charrnn.config import TrainConfig
from charrnn.model import Model
from charrnn.optim import Optimizer
from charrnn.scoring import Decoder, regrouped
from charrnn.text import Ids
from charrnn.text.segments import Segment
from charrnn.verdicts import Verdicts

#: Learning rates by level, and what is undone of each change at every step. Chosen on held-out text
#: of Tiny Shakespeare, of WikiText-2 and of the bundled messages.
RATES = {"char": 0.05, "word": 0.5}
DECAY = 0.001

_STEPS = 20  # symbols that are scored before they are learned from
_TEMPERATURES = (0.25, 4.0)
_ROUNDS = 12  # narrow that down to less than a hundredth


class DynamicText:
    """Reads one text, and learns from it: dynamic evaluation (Krause et al. 2018).

    Each window is scored first, then one step of gradient descent is taken on it, so that no symbol
    is ever scored by a model that has seen it. The weights are drawn back a little each time to
    what they were, and are what they were when the next text begins.
    """

    def __init__(self, model: Model, rate: float, decay: float, alternatives: int = 0) -> None:
        """A copy of ``model`` learns. ``decay`` is the share of a change that each step undoes."""
        config = replace(model.config, bidirectional=False)
        self.model = Model(config, model.backend, learns=True)
        self.original: dict[str, Array] = {name: model.params[name] for name in self.model.params}
        self.rate, self.decay = rate, decay
        self.window = self.model.training_window(_STEPS, 1)
        self.decoder = Decoder(self.model, _STEPS, alternatives)
        descent = TrainConfig(optimizer="sgd", momentum=0, weight_decay=0, clip=1.0, lr=rate)
        self.optimizer = Optimizer(model.backend, self.model.params, self.window.grads, descent)

    def verdicts(
        self, segments: Iterable[Segment], start: int
    ) -> Iterator[tuple[Segment, Verdicts]]:
        """As of ``scoring.LongText``."""
        for name, value in self.original.items():
            self.model.params[name][...] = value
        self.model.refresh()
        self.window.reset()
        yield from regrouped(segments, start, (_STEPS,), self._read)

    def _read(self, windows: Iterable[tuple[Ids, Ids]]) -> Iterator[Verdicts]:
        for x, targets in windows:
            before = self.window.states
            ids = np.pad(x, (0, _STEPS - len(x)))[:, None]
            yield self.decoder.verdicts(self.window.hidden(ids)[: len(targets)], targets)
            if len(targets) == _STEPS:  # else the text ends here
                self.window.states = before
                self._learn(ids, targets[:, None])

    def _learn(self, ids: Ids, targets: Ids) -> None:
        self.window.loss_and_grads(ids, targets, None)
        self.optimizer.step(self.rate, self.window.touched)
        if self.decay:
            for name, value in self.original.items():
                view = self.model.params[name]
                view += self.decay * (value - view)
        self.model.refresh()


def fit_temperature(loss: Callable[[float], float]) -> float:
    """The temperature of least ``loss`` (Guo et al. 2017), by golden sections of its logarithm.

    The loss of a text falls to one side and rises to the other: it is convex in the inverse.
    """
    low, high = map(math.log, _TEMPERATURES)
    golden = (math.sqrt(5) - 1) / 2
    places = [high - golden * (high - low), low + golden * (high - low)]
    losses = [loss(math.exp(place)) for place in places]
    for _ in range(_ROUNDS):
        if losses[0] < losses[1]:
            high = places[1]
            places = [high - golden * (high - low), places[0]]
            losses = [loss(math.exp(places[0])), losses[0]]
        else:
            low = places[0]
            places = [places[1], low + golden * (high - low)]
            losses = [losses[1], loss(math.exp(places[1]))]
    return math.exp((low + high) / 2)
