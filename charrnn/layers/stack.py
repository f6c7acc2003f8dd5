"""Recurrent layers on top of each other, in one direction or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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

    ``weights`` and ``grads`` (None: forward only) map PyTorch's names, ``weight_ih_l0`` and so
    on, to weights and arrays. ``directions`` lists for each layer's scans whether they run in
    reverse: ``(False,)`` forward, ``(True,)`` backward, ``(False, True)`` bidirectional with
    both outputs side by side (Schuster & Paliwal 1997). A scan in reverse beside another has
    names that end in ``_reverse``. ``rows``: see ``Scan``.
    """

    def __init__(
        self,
        backend: Backend,
        cell: Cell,
        weights: Mapping[str, Any],
        grads: Mapping[str, Array] | None,
        layers: int,
        seq_len: int,
        batch: int,
        *,
        directions: Sequence[bool] = (False,),
        dropout: float = 0.0,
        rows: int = 0,
    ) -> None:
        self.backend, self.shape = backend, (seq_len, batch)
        self.layers: list[list[Scan]] = []
        for layer in range(layers):
            scans = []
            for reverse in directions:
                suffix = f"_l{layer}" + ("_reverse" if reverse and len(directions) > 1 else "")
                scans.append(
                    Scan(
                        backend,
                        cell,
                        {name: weights[name + suffix] for name in _NAMES},
                        grads and {name: grads[name + suffix] for name in _NAMES},
                        seq_len,
                        batch,
                        reverse=reverse,
                        rows=rows if layer == 0 else 0,
                    )
                )
            self.layers.append(scans)
        shape = (seq_len * batch, self.layers[0][0].output.shape[-1] * len(directions))
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

    def draw(self, rng: np.random.Generator | None) -> None:
        """The dropout masks of the next passes; None: no dropout."""
        for dropout in self.dropouts:
            dropout.draw(rng)

    def forward(self, x: Array, index: Array | None = None) -> Array:
        """x as for ``Scan`` -> [T*B, D*H] for D directions, from ``initial`` on."""
        for layer, scans in enumerate(self.layers):
            if layer:
                x, index = self.dropouts[layer - 1].forward(x), None
            outputs = [scan.forward(x, index) for scan in scans]
            x = self._join(layer, outputs)
        return x

    def _join(self, layer: int, outputs: list[Array]) -> Array:
        H = outputs[0].shape[-1]
        if len(outputs) == 1:
            return outputs[0].reshape(-1, H)
        joined = self.joined[layer]
        for d, output in enumerate(outputs):
            joined[:, d * H : (d + 1) * H] = output.reshape(-1, H)
        return joined

    def backward(self, dy: Array, dfinal: States | None = None) -> tuple[Array, States]:
        """Backward pass through all layers.

        dy [T*B, D*H] and, if given, the gradients of the final states -> those of x and of the
        initial states.
        """
        dinitial: States = []
        for layer in reversed(range(len(self.layers))):
            scans = self.layers[layer]
            dy = dy.reshape(*self.shape, -1)
            H, dx = dy.shape[-1] // len(scans), None
            for d in reversed(range(len(scans))):
                dstates = dfinal[layer * len(scans) + d] if dfinal else ()
                dpart, dstates = scans[d].backward(dy[:, :, d * H : (d + 1) * H], dstates)
                dinitial.insert(0, dstates)
                if dx is None:
                    dx = dpart
                else:
                    dx += dpart
            dy = self.dropouts[layer - 1].backward(dx) if layer else dx
        return dy, dinitial
