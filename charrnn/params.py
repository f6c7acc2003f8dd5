"""Parameters: names and shapes from a configuration, one flat buffer, named views, a start.

Names and gate order are PyTorch's (``torch.nn.Embedding``, ``LSTM``, ``GRU``, ``RNN``,
``Linear``), so that its modules load them as they are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np

from charrnn.backend import Array, Backend
from charrnn.cells import CELLS, Cell
from charrnn.config import ModelConfig

Shapes = dict[str, tuple[int, ...]]

#: The stacks by where their context stands: what is read from the left on, and from the right on.
LEFT, RIGHT = "rnn", "reverse"


def recurrent_shapes(
    cell: Cell, input_size: int, hidden_size: int, layers: int, *, bidirectional: bool = False
) -> Shapes:
    """Names and shapes of a stack's parameters, in PyTorch's order."""
    suffixes = ("", "_reverse") if bidirectional else ("",)
    KH = len(cell.gates) * hidden_size
    shapes: Shapes = {}
    for layer in range(layers):
        for suffix in suffixes:
            end = f"_l{layer}{suffix}"
            shapes["weight_ih" + end] = (KH, input_size)
            shapes["weight_hh" + end] = (KH, hidden_size)
            shapes["bias_ih" + end] = (KH,)
            shapes["bias_hh" + end] = (KH,)
        input_size = hidden_size * len(suffixes)
    return shapes


def parameter_shapes(config: ModelConfig) -> Shapes:
    """Names and shapes of all parameters; a tied decoder's weight is ``encoder.weight``.

    A bidirectional model has a second stack, ``reverse.*``, which reads from right to left, and a
    bias for what is predicted from both sides. Embedding and decoder serve both stacks.
    """
    V, E, H = config.vocab_size, config.embed_size, config.hidden_size
    stack = recurrent_shapes(CELLS[config.cell_name], E, H, config.layers)
    shapes: Shapes = {"encoder.weight": (V, E)}
    for side in (LEFT, RIGHT)[: 1 + config.bidirectional]:
        shapes |= {f"{side}.{name}": shape for name, shape in stack.items()}
    if not config.tie:
        shapes["decoder.weight"] = (V, H)
    shapes["decoder.bias"] = (V,)
    if config.bidirectional:
        shapes["blank.bias"] = (V,)
    return shapes


def count(shapes: Shapes) -> int:
    """The number of scalars in arrays of these shapes."""
    return sum(math.prod(shape) for shape in shapes.values())


def cuts(start: int, stop: int, count: int) -> list[tuple[int, int]]:
    """start..stop in ``count`` pieces of about the same length."""
    bounds = [start + (stop - start) * n // count for n in range(count + 1)]
    return list(itertools.pairwise(bounds))


class Buffer(Mapping[str, Array]):
    """One flat array ``flat`` [N] and a view into it for every name."""

    def __init__(self, backend: Backend, shapes: Shapes) -> None:
        self.flat = backend.zeros((count(shapes),))
        self._views: dict[str, Array] = {}
        start = 0
        for name, shape in shapes.items():
            end = start + math.prod(shape)
            self._views[name] = self.flat[start:end].reshape(shape)
            start = end

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def part(self, prefix: str) -> dict[str, Array]:
        """The views whose names start with ``prefix``, under the rest of their names."""
        return {n.removeprefix(prefix): v for n, v in self._views.items() if n.startswith(prefix)}


def initial_values(
    config: ModelConfig, init: str, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Starting values on the host, float64.

    Weights are uniform in ±1/sqrt(fan-in). The embedding is standard normal, as PyTorch's, since
    a small one learns slowly; tied, it has the scale of a decoder. ``init`` "orthogonal" makes
    each gate's recurrent matrix orthogonal instead of uniform (Saxe et al. 2014), which keeps
    the length of the state. Biases are 0, but 1 for the LSTM's forget gate (Jozefowicz et al.
    2015), in ``bias_ih`` alone since both biases add up.
    """
    cell = CELLS[config.cell_name]
    H = config.hidden_size
    values = {}
    for name, shape in parameter_shapes(config).items():
        if "bias" in name:
            value = np.zeros(shape)
            if "bias_ih" in name and "f" in cell.gates:
                gate = cell.gates.index("f")
                value[gate * H : (gate + 1) * H] = 1
        elif "weight_hh" in name and init == "orthogonal":
            value = np.concatenate([_orthogonal(H, rng) for _ in cell.gates])
        elif name == "encoder.weight" and not config.tie:
            value = rng.standard_normal(shape)
        else:
            bound = 1 / math.sqrt(shape[1])
            value = rng.uniform(-bound, bound, shape)
        values[name] = value
    return values


def _orthogonal(n: int, rng: np.random.Generator) -> np.ndarray:
    """A random orthogonal matrix [n, n], uniform by Haar measure (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    signed: np.ndarray = q * np.sign(np.diag(r))
    return signed
