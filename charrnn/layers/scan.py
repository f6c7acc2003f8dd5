"""One recurrent layer over a window: the loop over time, its memory, and every matrix product.

Forward there is one input product before the loop and one recurrent product a step; backward
there is one recurrent product a step, and each weight gradient is a single product over the
whole window after the loop (backpropagation through time, Werbos 1990).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from charrnn.backend import Array, Backend, Weight
from charrnn.cells import Cell


class Memory(NamedTuple):
    """What a scan remembers of T steps of B sequences; K gates, S states, hidden size H."""

    gates: Array
    """[T, B, K*H]: input products, then activated gates, then their gradients."""
    drecurrent: Array
    """[T, B, K*H]: gradients of the recurrent products; for an additive cell, ``gates``."""
    states: Array
    """[S, T+1, B, H]; before the first step at 0, or at T where time runs backwards."""
    saved: Array
    """[T, n, B, H]"""
    recurrent: Array
    """[B, K*H]"""
    dstate: Array
    """[S, B, H]: gradients of the states between two steps."""
    scratch: Array
    """[2, B, H]"""

    def step(self, t: int, reverse: bool) -> tuple[list[Array], list[Array]]:
        """The states before and after step ``t``, [B, H] each."""
        before, after = (t + 1, t) if reverse else (t, t + 1)
        return [s[before] for s in self.states], [s[after] for s in self.states]


def _order(memory: Memory, reverse: bool) -> Sequence[int]:
    T = memory.gates.shape[0]
    return range(T - 1, -1, -1) if reverse else range(T)


def scan_forward(
    backend: Backend, cell: Cell, memory: Memory, weight_hh: Weight, bias_hh: Array, reverse: bool
) -> None:
    """All time steps from the input products in ``memory.gates`` on."""
    for t in _order(memory, reverse):
        previous, state = memory.step(t, reverse)
        bias = None if cell.additive else bias_hh
        backend.linear(previous[0], weight_hh, memory.recurrent, bias)
        cell.forward(
            backend.xp,
            memory.gates[t],
            memory.recurrent,
            previous,
            state,
            memory.saved[t],
            memory.scratch,
        )


def input_products(
    backend: Backend, gates: Array, x: Array, index: Array | None, weight_ih: Weight, bias: Array
) -> None:
    """gates [N, K*H] from inputs x [N, I], or from the products of rows [U, K*H]."""
    if index is None:
        backend.linear(x, weight_ih, gates, bias)
    else:
        backend.gather(x, index, out=gates)


def scan_read(
    backend: Backend,
    cell: Cell,
    memory: Memory,
    x: Array,
    index: Array | None,
    weight_ih: Weight,
    bias_ih: Array,
    weight_hh: Weight,
    bias_hh: Array,
    reverse: bool,
) -> None:
    """Both of the above where there is no way back: of ``memory`` only states are needed then."""
    gates = memory.gates.reshape(-1, memory.gates.shape[-1])
    input_products(backend, gates, x, index, weight_ih, bias_ih)
    forward = backend.kernel("scan_forward", scan_forward)
    forward(backend, cell, memory, weight_hh, bias_hh, reverse)


def scan_backward(
    backend: Backend, cell: Cell, memory: Memory, weight_hh: Weight, dy: Array, reverse: bool
) -> None:
    """All time steps in the other order: from dy [T, B, H] and ``memory.dstate`` to gradients.

    They replace ``memory.gates``, and ``memory.dstate`` those of the states before the scan.
    """
    dstate, dproduct = list(memory.dstate), memory.scratch[0]
    for t in reversed(_order(memory, reverse)):
        previous, state = memory.step(t, reverse)
        dstate[0] += dy[t]
        cell.backward(
            backend.xp,
            memory.gates[t],
            memory.saved[t],
            previous,
            state,
            dstate,
            memory.drecurrent[t],
            memory.scratch,
        )
        backend.linear_backward(memory.drecurrent[t], weight_hh, dproduct)
        dstate[0] += dproduct


class Scan:
    """A cell run over ``seq_len`` time steps of ``batch`` sequences, in one direction.

    ``weights`` and ``grads`` hold weight_ih [K*H, I], weight_hh [K*H, H], bias_ih and bias_hh
    [K*H] (K gates, hidden size H, input size I); gradients are written, not added. ``grads``
    None: forward only. Buffers are made here once; results are views into them, valid until
    the next call.

    The input is x [N, I] with N = T*B, or the rows that occur in it [U, I] and for each
    position the number of its row, ``index`` [N]: then the input product is one of U rows.
    ``rows`` is the largest such U, if there may be any.
    """

    def __init__(
        self,
        backend: Backend,
        cell: Cell,
        weights: Mapping[str, Any],
        grads: Mapping[str, Array] | None,
        seq_len: int,
        batch: int,
        *,
        reverse: bool = False,
        rows: int = 0,
    ) -> None:
        self.backend, self.cell = backend, cell
        self.weights, self.grads = weights, grads
        self.reverse = reverse
        KH, input_size = weights["weight_ih"].array.shape
        H = weights["weight_hh"].array.shape[1]
        gates = backend.empty((seq_len, batch, KH))
        separate = grads is not None and not cell.additive
        self.memory = Memory(
            gates=gates,
            drecurrent=backend.empty(gates.shape) if separate else gates,
            states=backend.zeros((len(cell.states), seq_len + 1, batch, H)),
            saved=backend.empty((seq_len, cell.saved, batch, H)),
            recurrent=backend.empty((batch, KH)),
            dstate=backend.zeros((len(cell.states), batch, H)),
            scratch=backend.empty((2, batch, H)),
        )
        self.bias = backend.empty((KH,))
        self.products = backend.empty((rows, KH))
        if grads is not None:
            self.dx = backend.empty((rows or seq_len * batch, input_size))
        backend.prepare(cell)
        self._read = backend.kernel("scan_read", scan_read)
        self._forward = backend.kernel("scan_forward", scan_forward)
        self._backward = backend.kernel("scan_backward", scan_backward)

    @property
    def initial(self) -> list[Array]:
        """The states [B, H] before the first step; write to them to set them."""
        return [s[-1 if self.reverse else 0] for s in self.memory.states]

    @property
    def final(self) -> list[Array]:
        """The states [B, H] after the last step."""
        return [s[0 if self.reverse else -1] for s in self.memory.states]

    @property
    def output(self) -> Array:
        """h of every time step, in the order of time [T, B, H]."""
        return self.memory.states[0][:-1] if self.reverse else self.memory.states[0][1:]

    def forward(self, x: Array, index: Array | None = None) -> Array:
        """x [N, I], or [U, I] with ``index`` [N] -> h [T, B, H], from ``initial`` on."""
        if self.grads is not None:
            self.project(x, index)
            return self.run()
        given, w = self._given(x, index), self.weights
        self._read(
            *(self.backend, self.cell, self.memory, given, index, w["weight_ih"], self.bias),
            *(w["weight_hh"], w["bias_hh"], self.reverse),
        )
        return self.output

    def project(self, x: Array, index: Array | None = None, part: slice = slice(None)) -> None:
        """The half of ``forward`` that does not wait for what was before: the input products.

        ``part``: of some positions alone, without an index.
        """
        self.x, self.index = x, index
        gates = self.memory.gates.reshape(-1, self.memory.gates.shape[-1])
        given = self._given(x[part], index)
        input_products(
            self.backend, gates[part], given, index, self.weights["weight_ih"], self.bias
        )

    def _given(self, x: Array, index: Array | None) -> Array:
        """What the input products of all positions are made from; fills ``bias``."""
        backend, w = self.backend, self.weights
        if self.cell.additive:  # one sum instead of one a step
            backend.xp.add(w["bias_ih"], w["bias_hh"], out=self.bias)
        else:
            self.bias[...] = w["bias_ih"]
        if index is None:
            return x
        products = self.products[: len(x)]
        backend.linear(x, w["weight_ih"], products, self.bias)
        return products

    def run(self) -> Array:
        """The rest: all time steps."""
        w = self.weights
        self._forward(
            self.backend, self.cell, self.memory, w["weight_hh"], w["bias_hh"], self.reverse
        )
        return self.output

    def backward(self, dy: Array, dfinal: Sequence[Array] = ()) -> tuple[Array, list[Array]]:
        """Gradients from those of the output and, if given, of the final states.

        dy [T, B, H], dfinal [B, H] each -> those of x and those of the initial states
        [B, H] each; fills ``grads``. Uses up what ``forward`` left: once for each forward pass.
        """
        assert self.grads is not None
        backend, w, g, memory = self.backend, self.weights, self.grads, self.memory
        for k, dstate in enumerate(memory.dstate):
            dstate[...] = dfinal[k] if dfinal else 0
        self._backward(backend, self.cell, memory, w["weight_hh"], dy, self.reverse)

        before = memory.states[0][1:] if self.reverse else memory.states[0][:-1]
        dgates = memory.gates.reshape(-1, memory.gates.shape[-1])
        drecurrent = memory.drecurrent.reshape(dgates.shape)
        h = before.reshape(len(dgates), -1)
        backend.linear_gradient(drecurrent, h, g["weight_hh"], g["bias_hh"])
        dproducts = dgates
        if self.index is not None:
            dproducts = self.products[: len(self.x)]
            dproducts.fill(0)
            backend.scatter_add(dproducts, self.index, dgates)
        backend.linear_gradient(dproducts, self.x, g["weight_ih"], g["bias_ih"])
        dx = self.dx[: len(self.x)]
        backend.linear_backward(dproducts, w["weight_ih"], dx)
        return dx, list(memory.dstate)
