"""The way from hidden states to a loss: linear decoder, softmax and cross-entropy."""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.backend import Array, Backend, Weight

#: Logits at a time: of a large vocabulary those of a whole window would fill the memory.
MAX_LOGITS = 2**23


def cross_entropy(xp: Any, logits: Array, targets: Array, losses: Array, scale: float) -> None:
    """losses = -log softmax(logits)[target] in nats; logits [N, V], targets and losses [N].

    The row's maximum is taken off first, so that no exponential overflows. ``logits`` becomes
    the gradient of ``scale`` times the sum of the losses: scale * (softmax - onehot(target)).
    With a scale of 0 there is no gradient; ``logits`` is used up all the same.
    """
    rows = xp.arange(len(targets))
    logits -= xp.max(logits, axis=1, keepdims=True)
    target_logits = logits[rows, targets]
    xp.exp(logits, out=logits)
    total = xp.sum(logits, axis=1, keepdims=True)
    xp.subtract(xp.log(total[:, 0]), target_logits, out=losses)
    if scale:
        total /= scale
        logits /= total
        logits[rows, targets] -= scale


class Head:
    """Linear decoder ``h weight^T + bias`` (weight [V, H], bias [V]) and its loss, for N rows."""

    def __init__(
        self,
        backend: Backend,
        weight: Weight,
        bias: Array,
        grads: tuple[Array, Array] | None,
        rows: int,
    ) -> None:
        self.backend, self.weight, self.bias, self.grads = backend, weight, bias, grads
        V, H = weight.array.shape
        self.chunk = min(rows, max(1, MAX_LOGITS // V))
        self.room = backend.empty((self.chunk, V))
        self.targets = backend.empty((rows,), np.int64)
        self.losses = backend.empty((rows,))
        if grads is not None:
            self.dh = backend.empty((rows, H))
        self._cross_entropy = backend.kernel("cross_entropy", cross_entropy)

    def logits(self, h: Array) -> Array:
        """h [n, H] -> logits [n, V]"""
        fits = len(h) <= self.chunk
        out = self.room[: len(h)] if fits else self.backend.empty((len(h), len(self.bias)))
        self.backend.linear(h, self.weight, out, self.bias)
        return out

    def feed(self, targets: np.ndarray[Any, Any]) -> None:
        """Copy in the host targets [N] of the next ``loss``."""
        self.backend.to_device(targets, out=self.targets)

    def loss(self, h: Array, scale: float = 0.0, *, add: bool = False) -> Array:
        """Cross-entropy of each position in nats, of the targets that were fed: h [N, H] -> [N].

        With a ``scale``, also the gradients of scale times their sum: ``dh``, and ``grads``, to
        which they are added if ``add``.
        """
        xp = self.backend.xp
        for start in range(0, len(h), self.chunk):
            part = slice(start, start + self.chunk)
            logits = self.logits(h[part])
            self._cross_entropy(xp, logits, self.targets[part], self.losses[part], scale)
            if scale:
                assert self.grads is not None
                self.backend.linear_gradient(logits, h[part], *self.grads, add=add or start > 0)
                self.backend.linear_backward(logits, self.weight, self.dh[part])
        return self.losses
