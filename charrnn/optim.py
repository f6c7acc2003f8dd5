"""Optimisers on the flat parameter buffer, gradient clipping and learning-rate schedules.

Nothing here waits for the device: norms are device scalars, and what changes from step to
step is copied to a small device array first.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from charrnn.backend import Array, Backend
from charrnn.config import TrainConfig
from charrnn.params import Buffer

_FLOOR = 0.01  # of the learning rate, at the end of the cosine


def clip_by_global_norm(xp: Any, grads: Array, limit: float) -> Array:
    """Scale ``grads`` [N] in place to a Euclidean norm of at most ``limit`` (Pascanu et al. 2013).

    A limit of 0 leaves them as they are. Gives the norm before clipping as a device scalar: a
    large one is how exploding gradients show themselves.
    """
    norm = xp.sqrt(xp.vdot(grads, grads))
    if limit:
        grads *= xp.minimum(1, limit / (norm + 1e-6))
    return norm


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


class Optimizer:
    """Base: owns the slots, one flat buffer each that matches the parameters."""

    slots: tuple[str, ...] = ()

    def __init__(self, backend: Backend, params: Buffer, grads: Buffer, config: TrainConfig):
        self.backend, self.config = backend, config
        self.params, self.grads = params.flat, grads.flat
        shapes = {name: view.shape for name, view in params.items()}
        self.buffers = {slot: Buffer(backend, shapes) for slot in self.slots}
        self.steps = 0
        self.scalars = backend.zeros((3,))
        self.scratch = backend.empty(self.params.shape)

    def step(self, lr: float) -> Array:
        """Clip the gradients and update the parameters; gives the norm before clipping."""
        norm = clip_by_global_norm(self.backend.xp, self.grads, self.config.clip)
        self.steps += 1
        decay = 1 - lr * self.config.weight_decay
        self.backend.to_device(np.array([*self._rates(lr), decay]), out=self.scalars)
        if self.config.weight_decay:  # decoupled from the gradient (Loshchilov & Hutter 2019)
            self.params *= self.scalars[2]
        self._update(*(buffer.flat for buffer in self.buffers.values()))
        return norm

    def _rates(self, lr: float) -> tuple[float, float]:
        """The two scalars that ``_update`` reads from ``scalars[0]`` and ``scalars[1]``."""
        return lr, 0.0

    def _update(self, *slots: Array) -> None:
        raise NotImplementedError


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), betas 0.9 and 0.99, with decoupled weight decay.

    beta2 is 0.99 rather than 0.999, so that the second moment adapts within a run of a few
    thousand steps.
    """

    slots = ("exp_avg", "exp_avg_sq")
    beta1, beta2, eps = 0.9, 0.99, 1e-8

    def _rates(self, lr: float) -> tuple[float, float]:
        unbias1 = 1 / (1 - self.beta1**self.steps)
        unbias2 = 1 / (1 - self.beta2**self.steps)
        return lr * unbias1, math.sqrt(unbias2)

    def _update(self, *slots: Array) -> None:
        (m, v), g, s, xp = slots, self.grads, self.scratch, self.backend.xp
        m *= self.beta1
        xp.multiply(g, 1 - self.beta1, out=s)
        m += s
        v *= self.beta2
        xp.multiply(g, g, out=s)
        s *= 1 - self.beta2
        v += s
        xp.sqrt(v, out=s)
        s *= self.scalars[1]
        s += self.eps
        xp.divide(m, s, out=s)
        s *= self.scalars[0]
        self.params -= s


class RMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton 2012), as ``torch.optim.RMSprop`` but for the weight decay."""

    slots = ("square_avg",)
    alpha, eps = 0.99, 1e-8

    def _update(self, *slots: Array) -> None:
        (v,), g, s, xp = slots, self.grads, self.scratch, self.backend.xp
        v *= self.alpha
        xp.multiply(g, g, out=s)
        s *= 1 - self.alpha
        v += s
        xp.sqrt(v, out=s)
        s += self.eps
        xp.divide(g, s, out=s)
        s *= self.scalars[0]
        self.params -= s


class SGD(Optimizer):
    """Gradient descent with momentum (Sutskever et al. 2013), as ``torch.optim.SGD`` likewise."""

    slots = ("momentum_buffer",)

    def _update(self, *slots: Array) -> None:
        (velocity,), s, xp = slots, self.scratch, self.backend.xp
        velocity *= self.config.momentum
        velocity += self.grads
        xp.multiply(velocity, self.scalars[0], out=s)
        self.params -= s


OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "rmsprop": RMSprop, "sgd": SGD}
