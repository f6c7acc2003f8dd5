"""Before the first step: what the model is made of and what it will take."""

from __future__ import annotations

import math
from typing import NamedTuple

from charrnn.backend import Backend
from charrnn.cells import CELLS
from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import MemoryLimitError
from charrnn.layers import MAX_LOGITS
from charrnn.model import CHUNK
from charrnn.optim import method_of
from charrnn.params import LEFT, RIGHT, Shapes, count, parameter_shapes


class LayerRow(NamedTuple):
    """A layer as the table shows it; shapes are those of its output and its parameters."""

    name: str
    kind: str
    output: tuple[int | str, ...]
    shapes: Shapes
    parameters: int


def layer_table(
    config: ModelConfig, steps: int | str = "T", batch: int | str = "B"
) -> list[LayerRow]:
    """The layers from input to output with their parameters."""
    shapes = parameter_shapes(config)
    H = config.hidden_size
    cell = config.cell.upper() + (f" ({config.activation})" if config.cell == "rnn" else "")
    parts = [("encoder", "Embedding", config.embed_size, ["encoder.weight"])]
    for side in (LEFT, RIGHT)[: 1 + config.bidirectional]:
        for n in range(config.layers):
            names = [x for x in shapes if x.startswith(f"{side}.") and x.endswith(f"_l{n}")]
            parts.append((f"{side}.{n}", cell, H, names))
    tied = " (tied)" if config.tie else ""
    names = ["decoder.weight", "decoder.bias", "blank.bias"]
    parts.append(("decoder", f"Linear{tied}", config.vocab_size, names))
    rows = []
    for name, kind, width, mine in parts:
        own = {n: s for n, s in shapes.items() if n in mine}
        rows.append(LayerRow(name, kind, (steps, batch, width), own, count(own)))
    return rows


class Memory(NamedTuple):
    """Bytes that a training run takes at its peak, apart from the text."""

    weights: int
    """With the copies that products read, and room for updates."""
    gradients: int
    moments: int
    """What the optimiser keeps of each weight."""
    window: int
    """Activations of a window, their gradients, dropout."""
    validation: int
    checkpoint: int
    """Copies of weights and moments; 0 where they are in another memory, the host's."""

    @property
    def total(self) -> int:
        return sum(self)


def memory_estimate(
    config: ModelConfig, train: TrainConfig, valid_lanes: int, backend: Backend
) -> Memory:
    """What a training run takes of the memory it computes in, from the shapes alone."""
    cell = CELLS[config.cell_name]
    T, B = train.seq_len, train.batch_size
    V, E, H = config.vocab_size, config.embed_size, config.hidden_size
    KH = len(cell.gates) * H
    parameters = count(parameter_shapes(config))
    slots = len(method_of(train).slots)
    threads = min(B, backend.threads)

    def logits(tokens: int) -> int:
        return min(tokens * V, threads * max(V, MAX_LOGITS))

    def activations(steps: int, lanes: int) -> float:
        tokens, rows = steps * lanes, min(V, steps * lanes)
        layer = tokens * (KH + (cell.saved + len(cell.states)) * H)
        return config.layers * layer + rows * (E + KH) + logits(tokens)

    # Backward: the gradient of every layer's input, and the recurrent one where it differs.
    gradients = T * B * config.layers * (H + (0 if cell.additive else KH)) + min(V, T * B) * E
    # An output of 4 bytes and a draw of 2 for each element make one and a half floats.
    dropout = 1.5 * (T * B * config.layers * H + min(V, T * B) * E) if config.dropout else 0
    # Both factors of the largest product, in memory of a step as it stands and of its graph.
    factors = max(T * B * (KH + max(E, H)), logits(T * B) + T * B * H)
    stacks = 1 + config.bidirectional
    window = (2 * stacks - 1) * activations(T, B) + stacks * (gradients + dropout)
    floats = {
        "weights": parameters * (2 + backend.weight_copies),
        "gradients": parameters * threads,
        "moments": parameters * slots,
        "window": window + 2 * factors * backend.factor_copies,
        "validation": activations(CHUNK, valid_lanes),
        "checkpoint": 0 if backend.deferred else parameters * (1 + slots),
    }
    return Memory(**{name: math.ceil(4 * number) for name, number in floats.items()})


def check_memory(estimate: int, backend: Backend) -> None:
    """Raise ``MemoryLimitError`` where the estimate is more than the device has free."""
    free = backend.free_memory()
    if estimate > free:
        raise MemoryLimitError(
            "not enough memory",
            f"the run needs about {estimate / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free",
            "use a smaller --hidden, --layers, --batch-size, --seq-len or --threads",
        )
