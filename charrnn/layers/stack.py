"""Recurrent layers on top of each other, in one direction or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from charrnn.backend import Array, Backend
from charrnn.cells import Cell
from charrnn.layers.dropout import Dropout
from charrnn.layers.scan import Scan

#: For each scan, by layer and then direction, the cell's states: [B, H] each.
States = list[list[Array]]


def copy_states(to: States, source: States) -> None:
    """Copy states, from one sequence to each of many if need be ([1, H] -> [B, H])."""
    for to_scan, source_scan in zip(to, source, strict=True):
        for to_state, source_state in zip(to_scan, source_scan, strict=True):
            to_state[...] = source_state


_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Stack:
    """``layers`` scans on top of each other with dropout between them, as ``torch.nn.LSTM``.

    ``params`` and ``grads`` (None: forward only) map PyTorch's names, ``weight_ih_l0`` and so
    on, to arrays. ``directions`` lists for each layer's scans whether they run in reverse:
    ``(False,)`` forward, ``(True,)`` backward, ``(False, True)`` bidirectional with both outputs
    side by side (Schuster & Paliwal 1997). A scan in reverse beside another has names that
    end in ``_reverse``.
    """

    def __init__(
        self,
        backend: Backend,
        cell: Cell,
        params: Mapping[str, Array],
        grads: Mapping[str, Array] | None,
        layers: int,
        seq_len: int,
        batch: int,
        *,
        directions: Sequence[bool] = (False,),
        dropout: float = 0.0,
    ) -> None:
        self.backend = backend
        self.layers: list[list[Scan]] = []
        for layer in range(layers):
            scans = []
            for reverse in directions:
                suffix = f"_l{layer}" + ("_reverse" if reverse and len(directions) > 1 else "")
                weights = {name: params[name + suffix] for name in _NAMES}
                dweights = grads and {name: grads[name + suffix] for name in _NAMES}
                scans.append(
                    Scan(backend, cell, weights, dweights, seq_len, batch, reverse=reverse)
                )
            self.layers.append(scans)
        hidden_size = self.layers[0][0].states[0].shape[-1]
        shape = (seq_len, batch, hidden_size * len(directions))
        self.joined = [backend.empty(shape) for _ in range(layers)] if len(directions) > 1 else []
        self.dropouts = [Dropout(backend, shape, dropout) for _ in range(layers - 1)]

    @property
    def scans(self) -> list[Scan]:
        """Every scan: by layer, then by direction."""
        return [scan for scans in self.layers for scan in scans]

    @property
    def initial(self) -> States:
        """The states before the first step of each scan; write to them to set them."""
        return [scan.initial for scan in self.scans]

    @property
    def final(self) -> States:
        """The states after the last step of each scan."""
        return [scan.final for scan in self.scans]

    def carry_states(self) -> None:
        """Start the next forward pass where the last one ended."""
        copy_states(self.initial, self.final)

    def forward(self, x: Array, rng: np.random.Generator | None = None) -> Array:
        """x [T, B, I] -> [T, B, D*H] for D directions, from ``initial`` on.

        ``rng`` draws the dropout masks; None: no dropout.
        """
        for index, scans in enumerate(self.layers):
            if index:
                x = self.dropouts[index - 1].forward(x, rng)
            outputs = [scan.forward(x) for scan in scans]
            x = self._join(index, outputs) if self.joined else outputs[0]
        return x

    def _join(self, index: int, outputs: list[Array]) -> Array:
        joined, H = self.joined[index], outputs[0].shape[-1]
        for d, output in enumerate(outputs):
            joined[:, :, d * H : (d + 1) * H] = output
        return joined

    def backward(self, dy: Array, dfinal: States | None = None) -> tuple[Array, States]:
        """Backward pass through all layers.

        dy [T, B, D*H] and, if given, the gradients of the final states -> dx [T, B, I] and the
        gradients of the initial states.
        """
        dinitial: States = []
        for index in reversed(range(len(self.layers))):
            scans = self.layers[index]
            H, dx = dy.shape[-1] // len(scans), None
            for d in reversed(range(len(scans))):
                dstates = dfinal[index * len(scans) + d] if dfinal else ()
                dpart, dstates = scans[d].backward(dy[:, :, d * H : (d + 1) * H], dstates)
                dinitial.insert(0, dstates)
                if dx is None:
                    dx = dpart
                else:
                    dx += dpart
            dy = self.dropouts[index - 1].backward(dx) if index else dx
        return dy, dinitial
