"""Optimisers on the flat parameter buffer, gradient clipping and learning-rate schedules.

Nothing here waits for the device: norms are device scalars, and what changes from step to
step is copied to a small device array first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.backend import Array, Backend
from charrnn.config import TrainConfig
from charrnn.params import Buffer, cuts

_FLOOR = 0.01  # of the learning rate, at the end of the cosine


def learning_rate(config: TrainConfig, progress: float) -> float:
    """The rate at ``progress`` through the budget, from 0 to 1.

    Linear warm-up over the first ``warmup`` of it; then constant, or half a cosine
    (Loshchilov & Hutter 2017) down to a hundredth at 1.
    """
    if progress < config.warmup:
        return config.lr * progress / config.warmup
    if config.schedule == "constant":
        return config.lr
    annealed = (progress - config.warmup) / (1 - config.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * annealed))
    return config.lr * (_FLOOR + (1 - _FLOOR) * cosine)


def sum_of_squares(xp: Any, x: Array) -> Array:
    """The sum of the squares of x [N], a device scalar."""
    return xp.vdot(x, x)


#: What an update reads beside its arrays: clipping, weight decay, and two of the optimiser's own.
_CLIP, _DECAY, _RATE, _EXTRA = range(4)

# An update changes the parameters p [N] and the optimiser's slots [N] each, by gradients g [N];
# scratch [N] is room for intermediate results. It is pointwise: kernels are made from it.


def adam(xp: Any, p: Array, g: Array, slots: list[Array], scalars: Array, scratch: Array) -> None:
    """Adam (Kingma & Ba 2015), betas 0.9 and 0.99, with decoupled weight decay.

    beta2 is 0.99 rather than 0.999, so that the second moment adapts within a run of a few
    thousand steps.
    """
    m, v = slots
    g *= scalars[_CLIP]
    p *= scalars[_DECAY]  # decoupled from the gradient (Loshchilov & Hutter 2019)
    m *= _BETA1
    xp.multiply(g, 1 - _BETA1, out=scratch)
    m += scratch
    v *= _BETA2
    xp.multiply(g, g, out=scratch)
    scratch *= 1 - _BETA2
    v += scratch
    xp.sqrt(v, out=scratch)
    scratch *= scalars[_EXTRA]
    scratch += _EPS
    xp.divide(m, scratch, out=scratch)
    scratch *= scalars[_RATE]
    p -= scratch


_BETA1, _BETA2, _EPS = 0.9, 0.99, 1e-8


def _adam_scalars(config: TrainConfig, lr: float, step: int) -> tuple[float, float]:
    return lr / (1 - _BETA1**step), 1 / math.sqrt(1 - _BETA2**step)


def rmsprop(
    xp: Any, p: Array, g: Array, slots: list[Array], scalars: Array, scratch: Array
) -> None:
    """RMSprop (Tieleman & Hinton 2012), as ``torch.optim.RMSprop`` but for the weight decay."""
    (v,) = slots
    g *= scalars[_CLIP]
    p *= scalars[_DECAY]
    v *= _ALPHA
    xp.multiply(g, g, out=scratch)
    scratch *= 1 - _ALPHA
    v += scratch
    xp.sqrt(v, out=scratch)
    scratch += _EPS
    xp.divide(g, scratch, out=scratch)
    scratch *= scalars[_RATE]
    p -= scratch


_ALPHA = 0.99


def sgd(xp: Any, p: Array, g: Array, slots: list[Array], scalars: Array, scratch: Array) -> None:
    """Gradient descent with momentum (Sutskever et al. 2013), as ``torch.optim.SGD`` likewise."""
    (velocity,) = slots
    g *= scalars[_CLIP]
    p *= scalars[_DECAY]
    velocity *= scalars[_EXTRA]
    velocity += g
    xp.multiply(velocity, scalars[_RATE], out=scratch)
    p -= scratch


def descent(
    xp: Any, p: Array, g: Array, slots: list[Array], scalars: Array, scratch: Array
) -> None:
    """``sgd`` without momentum, which has nothing to keep."""
    g *= scalars[_CLIP]
    p *= scalars[_DECAY]
    xp.multiply(g, scalars[_RATE], out=scratch)
    p -= scratch


@dataclass(frozen=True)
class Method:
    """An optimiser: calling it is its update."""

    update: Callable[..., None]
    slots: tuple[str, ...]
    scalars: Callable[[TrainConfig, float, int], tuple[float, float]]
    """From the learning rate and the number of the step to the update's own two scalars."""

    def __call__(self, *arguments: Any) -> None:
        self.update(*arguments)


OPTIMIZERS = {
    "adam": Method(adam, ("exp_avg", "exp_avg_sq"), _adam_scalars),
    "rmsprop": Method(rmsprop, ("square_avg",), lambda config, lr, step: (lr, 0.0)),
    "sgd": Method(sgd, ("momentum_buffer",), lambda config, lr, step: (lr, config.momentum)),
}
_DESCENT = Method(descent, (), lambda config, lr, step: (lr, 0.0))


def method_of(config: TrainConfig) -> Method:
    """The optimiser that is configured."""
    plain = config.optimizer == "sgd" and config.momentum == 0
    return _DESCENT if plain else OPTIMIZERS[config.optimizer]


class Optimizer:
    """Clips the gradients and updates the parameters by them.

    ``buffers`` are the slots by name, one flat buffer each that matches the parameters; ``steps``
    counts the updates.
    """

    def __init__(
        self, backend: Backend, params: Buffer, grads: Buffer, config: TrainConfig
    ) -> None:
        self.backend, self.config = backend, config
        self.params, self.grads = params, grads
        self.method = method_of(config)
        shapes = {name: view.shape for name, view in params.items()}
        self.buffers = {slot: Buffer(backend, shapes) for slot in self.method.slots}
        self.steps = 0
        self.scalars = backend.zeros((4,))
        self.scratch = backend.empty(params.flat.shape)
        self._update = backend.kernel("update", self.method)
        self._sum_of_squares = backend.kernel("sum_of_squares", sum_of_squares)

    def step(self, lr: float, touched: np.ndarray[Any, Any] | None = None) -> Array:
        """Clip and update; gives the norm of the gradients before clipping, a device scalar.

        Where that is not finite nothing is updated, unless finding out would mean waiting.

        They are scaled to a Euclidean norm of at most ``config.clip`` (Pascanu et al. 2013), 0
        meaning any: a large norm is how exploding gradients show themselves. ``touched``: of
        the first parameter only these rows, on the host, have gradients; the others are left as
        they are, and so are their slots (as ``torch.optim.SparseAdam``).
        """
        backend = self.backend
        if touched is None:
            pieces = self._pieces()
        else:
            tables = [next(iter(buffer.values())) for buffer in self._all]
            ids = backend.to_device(touched, out=backend.empty((len(touched),), np.int64))
            shape = (len(touched), tables[0].shape[1])
            rows = [backend.gather(t, ids, out=backend.empty(shape)) for t in tables]
            some = [r.reshape(-1) for r in (*rows, backend.empty(shape))]
            pieces = [*self._pieces(tables[0].size), some]
        norm = self._norm(pieces)
        if not backend.deferred and not math.isfinite(norm):
            return norm
        self.advance(lr)
        self._apply(pieces, norm)
        if touched is not None:
            for table, part in zip(tables, rows, strict=True):
                table[ids] = part
        return norm

    def advance(self, lr: float) -> None:
        """Count an update, and copy in what it takes of this learning rate."""
        self.steps += 1
        own = self.method.scalars(self.config, lr, self.steps)
        scalars = np.array([1, 1 - lr * self.config.weight_decay, *own])
        self.backend.to_device(scalars, out=self.scalars)

    def update(self) -> Array:
        """``step`` as the last ``advance`` has it: work of the device alone, each time the same."""
        pieces = self._pieces()
        norm = self._norm(pieces)
        self._apply(pieces, norm)
        return norm

    @property
    def _all(self) -> list[Buffer]:
        return [self.params, self.grads, *self.buffers.values()]

    def _pieces(self, first: int = 0) -> list[list[Array]]:
        """Parameters from ``first`` on, gradients, slots and scratch: a piece for each thread."""
        flat = [*(buffer.flat for buffer in self._all), self.scratch]
        bounds = cuts(first, len(self.scratch), self.backend.threads)
        return [[array[a:b] for array in flat] for a, b in bounds]

    def _norm(self, pieces: list[list[Array]]) -> Array:
        xp = self.backend.xp
        squares = self.backend.map(lambda piece: self._sum_of_squares(xp, piece[1]), pieces)
        return xp.sqrt(sum(squares[1:], squares[0]))

    def _apply(self, pieces: list[list[Array]], norm: Array) -> None:
        xp, clip = self.backend.xp, self.config.clip
        if clip:
            self.scalars[_CLIP : _CLIP + 1] = xp.minimum(1, clip / (norm + 1e-6))

        def update(piece: list[Array]) -> None:
            p, g, *slots, scratch = piece
            self._update(xp, p, g, slots, self.scalars, scratch)

        self.backend.map(update, pieces)
