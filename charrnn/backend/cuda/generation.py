"""Drawing symbol after symbol on the device, which is waited for once, when all are drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charrnn.backend.base import Array

if TYPE_CHECKING:
    from charrnn.backend.cuda.kernels import Kernels


class Block(NamedTuple):
    """Symbols that are drawn one after the other: n of B sequences."""

    draws: Array
    """[n, B]"""
    out: Array
    """[n, B]: what was drawn."""
    run: Callable[[], None]


class GenerationLoop:
    """A network whose window has one time step, and ``sampling.generate`` of it.

    It is made from the weights as they are: for others there must be another window. A symbol
    costs five launches, and four more for each layer but the first; as many symbols as are drawn at
    a time are captured.
    """

    #: Kinds of blocks that are kept: of so many symbols, drawn in this way.
    KINDS = 8

    #: Symbols up to which each one's input product is made beforehand.
    TABLE = 2048

    def __init__(self, kernels: Kernels, backend: Any, network: Any) -> None:
        self.backend, self.scans, self.head = backend, network.stack.scans, network.head
        self.embedding = network.embedding.weight
        self.additive = self.scans[0].cell.additive
        B = self.scans[0].memory.states.shape[2]
        V, E = self.embedding.shape
        self.ids = backend.empty((B,), np.int64)
        self.x = backend.empty((B, E))
        self.gates = [scan.memory.gates.reshape(B, -1) for scan in self.scans]
        self.biases = [self._bias(scan.weights) for scan in self.scans]
        self.steps: list[Callable[[int, int], None]] = [
            kernels.forward_step(scan.cell, scan.memory, scan.weights["bias_hh"])
            for scan in self.scans
        ]
        self.table: Array | None = None
        if V <= self.TABLE:
            self.table = backend.empty((V, self.gates[0].shape[1]))
            weight = self.scans[0].weights["weight_ih"]
            backend.linear(self.embedding, weight, self.table, self.biases[0])
        self.logits, self.masses = backend.empty((B, V)), backend.empty((B, V), np.float64)
        self.draw = kernels.draw
        self.blocks: dict[Any, Block] = {}

    def _bias(self, weights: Any) -> Array:
        """What is added to an input product; see ``Scan.project``."""
        bias: Array = weights["bias_ih"]
        return bias + weights["bias_hh"] if self.additive else bias

    def run(
        self, ids: np.ndarray[Any, Any], draws: np.ndarray[Any, Any], config: Any
    ) -> np.ndarray[Any, Any]:
        """As ``sampling.generate``. States go to and fro, and end where they began."""
        block = self._block(draws.shape, config)
        self.backend.to_device(draws, out=block.draws)
        self.backend.to_device(ids, out=self.ids)
        block.run()
        return np.asarray(self.backend.to_host(block.out), np.int32)

    def _block(self, shape: tuple[int, ...], config: Any) -> Block:
        """That of so many draws [n, B]."""
        key = (shape[0], config)
        if key not in self.blocks:
            if len(self.blocks) == self.KINDS:
                self.blocks.clear()
            draws = self.backend.empty(shape, np.float64)
            out = self.backend.empty(shape, np.int64)
            run = self.backend.capture(lambda: self._draw_all(draws, out, config))
            self.blocks[key] = Block(draws, out, run)
        return self.blocks[key]

    def _draw_all(self, draws: Array, out: Array, config: Any) -> None:
        n = len(draws)
        if n % 2:  # the last step's become the first
            for scan in self.scans:
                scan.memory.states[:, 0] = scan.memory.states[:, 1]
        for step in range(n):
            self._read(back=(n - 1 - step) % 2)
            self.draw(
                self.logits, self.head.bias, self.masses, draws[step], self.ids, out[step], config
            )

    def _read(self, back: int) -> None:
        """From ``ids`` to logits but for their bias; the states before stand at ``back``."""
        backend, h = self.backend, self.x
        for layer, (scan, gates) in enumerate(zip(self.scans, self.gates, strict=True)):
            if layer == 0 and self.table is not None:
                backend.gather(self.table, self.ids, out=gates)
            else:
                if layer == 0:
                    backend.gather(self.embedding, self.ids, out=h)
                backend.linear(h, scan.weights["weight_ih"], gates, self.biases[layer])
            states = scan.memory.states[0]
            backend.linear(states[back], scan.weights["weight_hh"], scan.memory.recurrent)
            self.steps[layer](0, back)
            h = states[1 - back]
        backend.linear(h, self.head.weight, self.logits)
