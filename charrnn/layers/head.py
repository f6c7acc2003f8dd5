"""The way from hidden states to a loss: linear decoder, softmax and cross-entropy."""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.backend import Array, Backend


def cross_entropy(xp: Any, logits: Array, targets: Array, rows: Array) -> Array:
    """-log softmax(logits)[target] in nats: logits [N, V], targets and rows (0..N-1) [N] -> [N].

    The row's maximum is taken off first, so that no exponential overflows. ``logits`` becomes
    the softmax probabilities, which ``cross_entropy_backward`` starts from.
    """
    logits -= xp.max(logits, axis=1, keepdims=True)
    target_logits = logits[rows, targets]
    xp.exp(logits, out=logits)
    total = xp.sum(logits, axis=1, keepdims=True)
    logits /= total
    return xp.log(total[:, 0]) - target_logits


def cross_entropy_backward(probabilities: Array, targets: Array, rows: Array) -> Array:
    """Gradient of the mean loss, in place: d logits = (p - onehot(target)) / N, [N, V]."""
    probabilities[rows, targets] -= 1
    probabilities *= 1 / len(rows)
    return probabilities


class Head:
    """Linear decoder ``h weight^T + bias`` (weight [V, H], bias [V]) and its loss."""

    def __init__(
        self,
        backend: Backend,
        weight: Array,
        bias: Array,
        grads: tuple[Array, Array] | None,
        seq_len: int,
        batch: int,
    ) -> None:
        self.backend, self.weight, self.bias, self.grads = backend, weight, bias, grads
        N, (V, H) = seq_len * batch, weight.shape
        self.logits = backend.empty((N, V))
        self.rows = backend.to_device(np.arange(N))
        if grads is not None:
            self.dh = backend.empty((seq_len, batch, H))

    def forward(self, h: Array) -> Array:
        """h [T, B, H] -> logits [T*B, V]"""
        self.h = h.reshape(-1, h.shape[-1])
        self.backend.gemm(self.h, self.weight.T, out=self.logits)
        self.logits += self.bias
        return self.logits

    def loss(self, targets: Array) -> Array:
        """Cross-entropy of each position in nats; targets [T, B] -> [T*B]."""
        self.targets = targets.reshape(-1)
        return cross_entropy(self.backend.xp, self.logits, self.targets, self.rows)

    def backward(self) -> Array:
        """Gradient of the mean loss: fills ``grads`` and gives dh [T, B, H]."""
        assert self.grads is not None
        dweight, dbias = self.grads
        dlogits = cross_entropy_backward(self.logits, self.targets, self.rows)
        self.backend.gemm(dlogits.T, self.h, out=dweight)
        self.backend.xp.sum(dlogits, axis=0, out=dbias)
        self.backend.gemm(dlogits, self.weight, out=self.dh.reshape(self.h.shape))
        return self.dh
