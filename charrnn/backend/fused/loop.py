"""The Python end of ``generation.py``: where everything that it reads of a network lies."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn.backend.base import Array
from charrnn.backend.fused.jit import address

if TYPE_CHECKING:
    from charrnn.backend.fused.backend import FusedBackend


class GenerationLoop:
    """What ``generation.py`` reads of a network, whose window has one time step.

    It is made from the weights as they are: for others there must be another window.
    """

    #: Symbols up to which each one's input product is made beforehand.
    TABLE = 2048
    #: Bytes of weights from which on several threads draw one text together, and how many do:
    #: smaller weights stay in the cache next to a processor.
    SHARED, WORKERS = 2**21, 4

    def __init__(self, backend: FusedBackend, network: Any, *, alone: bool) -> None:
        """``alone``: no other network is run at the same time, so that there are threads."""
        scans = network.stack.scans
        cell = scans[0].cell
        self.generate = backend.generation(cell)
        self.states = [scan.memory.states for scan in scans]
        B, H = self.states[0].shape[2:]
        embedding, head = network.embedding.weight, network.head
        V, E = embedding.shape
        self.kept: list[Array] = []  # what only addresses point to
        layers = []
        for scan in scans:
            w, memory = scan.weights, scan.memory
            bias = w["bias_ih"] + w["bias_hh"] if cell.additive else w["bias_ih"]
            self.kept.append(bias)
            layers.append(
                [
                    *(address(w["weight_ih"].forward), address(bias), address(memory.gates)),
                    *(address(memory.recurrent), address(w["weight_hh"].forward)),
                    *(0 if cell.additive else address(w["bias_hh"]), address(memory.states)),
                    *(address(memory.saved), w["weight_ih"].array.shape[1], H, len(bias)),
                ]
            )
        table = backend.empty((V if V <= self.TABLE else 0, len(self.kept[0])))
        if len(table):
            backend.linear(embedding, scans[0].weights["weight_ih"], table, self.kept[0])
        self.ids = np.empty(B, np.int64)
        self.inverse = backend.empty((1,))
        arrays = [
            *(np.array(layers), table, embedding, backend.empty((B, E)), self.ids),
            *(head.weight.forward, head.bias, backend.empty((B, V)), self.inverse),
            np.empty(1, np.int64),
        ]
        self.arrived = arrays[-1]
        self.kept += arrays
        self.addresses = [address(a) if a.size else 0 for a in arrays]
        self.sizes = (B, len(scans), V, E)
        self.backend = backend
        size = sum(scan.weights["weight_hh"].forward.nbytes for scan in scans)
        shared = alone and B == 1 and H % backend.shape.panel == 0 and size >= self.SHARED
        self.workers = min(backend.threads, self.WORKERS) if shared else 1

    def run(
        self, ids: np.ndarray[Any, Any], draws: np.ndarray[Any, Any], temperature: float
    ) -> np.ndarray[Any, Any]:
        """Draw after ids [B], which the network has not read yet: draws [n, B] -> ids [n, B]."""
        draws = np.ascontiguousarray(draws, np.float64)
        out = np.empty(draws.shape, np.int64)
        self.ids[...] = ids
        largest = float(np.finfo(self.inverse.dtype).max)
        self.inverse[...] = min(1 / temperature, largest) if temperature else 0
        for states in self.states:  # the last step's become the first
            states[:, 0] = states[:, 1]
        self.arrived.fill(0)
        arguments = (*self.addresses, address(draws), address(out), len(draws), *self.sizes)
        with self.backend.together if self.workers > 1 else nullcontext():
            self.backend.map(
                lambda worker: self.generate(*arguments, worker, self.workers), range(self.workers)
            )
        if len(draws) % 2 == 0:
            for states in self.states:
                states[:, 1] = states[:, 0]
        return out
