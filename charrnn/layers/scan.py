"""One recurrent layer over a window: the loop over time, its memory, and every matrix product.

Forward there is one input product for all time steps before the loop and one recurrent
product a step; backward there is one recurrent product a step, and each weight gradient is a
single product over the whole window after the loop (backpropagation through time, Werbos 1990).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from charrnn.backend import Array, Backend
from charrnn.cells import Cell


class _Step(NamedTuple):
    """Views into the buffers of one time step, made once."""

    t: int
    gates: Array
    drecurrent: Array
    previous: list[Array]
    state: list[Array]
    saved: Array


class Scan:
    """A cell run over ``seq_len`` time steps of ``batch`` sequences, in one direction.

    ``weights`` and ``grads`` hold weight_ih [K*H, I], weight_hh [K*H, H], bias_ih and bias_hh
    [K*H] (K gates, hidden size H, input size I); gradients are written, not added. ``grads``
    None: forward only. Buffers are made here once; results are views into them, valid until
    the next call.
    """

    def __init__(
        self,
        backend: Backend,
        cell: Cell,
        weights: Mapping[str, Array],
        grads: Mapping[str, Array] | None,
        seq_len: int,
        batch: int,
        *,
        reverse: bool = False,
    ) -> None:
        self.backend, self.cell = backend, cell
        self.weights, self.grads = weights, grads
        self.reverse = reverse
        KH, input_size = weights["weight_ih"].shape
        H = weights["weight_hh"].shape[1]
        self.gates = backend.empty((seq_len, batch, KH))
        # The state before the first step of the scan stands at one end: [0], or [T] in reverse.
        self.states = [backend.zeros((seq_len + 1, batch, H)) for _ in cell.states]
        self.saved = backend.empty((seq_len, cell.saved, batch, H))
        self.recurrent = backend.empty((batch, KH))
        self.scratch = backend.empty((2, batch, H))
        # A contiguous right operand is what BLAS is quickest with; for one step it does not pay.
        self.weight_hh_t = backend.empty((H, KH)) if seq_len > 1 else None
        if grads is not None:
            self.dx = backend.empty((seq_len, batch, input_size))
            self.dstate = [backend.empty((batch, H)) for _ in cell.states]
            self.dproduct = backend.empty((batch, H))
        separate = grads is not None and not cell.additive
        self.drecurrent = backend.empty(self.gates.shape) if separate else self.gates
        self.steps = [self._step(t) for t in range(seq_len)]
        if reverse:
            self.steps.reverse()

    def _step(self, t: int) -> _Step:
        before, after = (t + 1, t) if self.reverse else (t, t + 1)
        return _Step(
            t=t,
            gates=self.gates[t],
            drecurrent=self.drecurrent[t],
            previous=[s[before] for s in self.states],
            state=[s[after] for s in self.states],
            saved=self.saved[t],
        )

    @property
    def initial(self) -> list[Array]:
        """The states [B, H] before the first step; write to them to set them."""
        return self.steps[0].previous

    @property
    def final(self) -> list[Array]:
        """The states [B, H] after the last step."""
        return self.steps[-1].state

    @property
    def output(self) -> Array:
        """h of every time step, in the order of time [T, B, H]."""
        return self.states[0][:-1] if self.reverse else self.states[0][1:]

    def forward(self, x: Array) -> Array:
        """x [T, B, I] -> h [T, B, H], from ``initial`` on."""
        xp, cell, w, gemm = self.backend.xp, self.cell, self.weights, self.backend.gemm
        gates = self.gates.reshape(-1, self.gates.shape[-1])
        self.x = x.reshape(-1, x.shape[-1])
        gemm(self.x, w["weight_ih"].T, out=gates)
        gates += w["bias_ih"]
        if cell.additive:  # one pass over the window instead of one a step
            gates += w["bias_hh"]
        if self.weight_hh_t is None:
            weight_hh_t = w["weight_hh"].T
        else:
            weight_hh_t = self.weight_hh_t
            weight_hh_t[...] = w["weight_hh"].T
        recurrent, scratch, bias_hh = self.recurrent, self.scratch, w["bias_hh"]
        for step in self.steps:
            gemm(step.previous[0], weight_hh_t, out=recurrent)
            if not cell.additive:
                recurrent += bias_hh
            cell.forward(xp, step.gates, recurrent, step.previous, step.state, step.saved, scratch)
        return self.output

    def backward(self, dy: Array, dfinal: Sequence[Array] = ()) -> tuple[Array, list[Array]]:
        """Gradients from those of the output and, if given, of the final states.

        dy [T, B, H], dfinal [B, H] each -> dx [T, B, I] and those of the initial states
        [B, H] each; fills ``grads``. Uses up what ``forward`` left: once for each forward pass.
        """
        assert self.grads is not None
        xp, cell, w, g, gemm = (
            self.backend.xp,
            self.cell,
            self.weights,
            self.grads,
            self.backend.gemm,
        )
        for index, d in enumerate(self.dstate):
            d[...] = dfinal[index] if dfinal else 0
        dh, dproduct = self.dstate[0], self.dproduct
        for step in reversed(self.steps):
            dh += dy[step.t]
            cell.backward(
                xp,
                step.gates,
                step.saved,
                step.previous,
                step.state,
                self.dstate,
                step.drecurrent,
                self.scratch,
            )
            gemm(step.drecurrent, w["weight_hh"], out=dproduct)
            dh += dproduct

        H = dh.shape[-1]
        before = self.states[0][1:] if self.reverse else self.states[0][:-1]
        dgates = self.gates.reshape(-1, self.gates.shape[-1])
        drecurrent = self.drecurrent.reshape(dgates.shape)
        gemm(dgates.T, self.x, out=g["weight_ih"])
        gemm(drecurrent.T, before.reshape(-1, H), out=g["weight_hh"])
        xp.sum(dgates, axis=0, out=g["bias_ih"])
        if cell.additive:
            g["bias_hh"][...] = g["bias_ih"]
        else:
            xp.sum(drecurrent, axis=0, out=g["bias_hh"])
        gemm(dgates, w["weight_ih"], out=self.dx.reshape(-1, self.dx.shape[-1]))
        return self.dx, self.dstate
