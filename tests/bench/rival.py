"""PyTorch's side. Each function here is called in a process of its own, by ``worker.py``.

The model is what one would write first: embedding, a recurrent module with all its layers,
linear decoder; Adam in its fused form, which is the fastest on the CPU.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_, parameters_to_vector

from tests.bench.harness import Shape, median_time
from tests.bench.rules import BETAS, CLIP, EPS, LR, TEMPERATURE

RNN = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}

State = Tensor | tuple[Tensor, Tensor] | None  # none yet, an LSTM's pair, or one tensor


class LanguageModel(nn.Module):
    """Symbols [T, B] and a state -> logits [T, B, V] of the next symbols, and the next state."""

    def __init__(self, shape: Shape, parameters: str) -> None:
        super().__init__()
        self.encoder = nn.Embedding(shape.vocab, shape.hidden)
        self.rnn = RNN[shape.cell](shape.hidden, shape.hidden, shape.layers)
        self.decoder = nn.Linear(shape.hidden, shape.vocab)
        with np.load(parameters) as values:
            self.load_state_dict({name: torch.from_numpy(values[name]) for name in values})

    def forward(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        out, state = self.rnn(self.encoder(ids), state)
        return self.decoder(out), state


def _detached(state: State) -> State:
    """The same state, without the graph of the window that made it."""
    if isinstance(state, tuple):
        return state[0].detach(), state[1].detach()
    return state if state is None else state.detach()


def train(
    shape: dict[str, Any], parameters: str, text: str, checked: int, seconds: float
) -> dict[str, Any]:
    """As ours."""
    size = Shape(**shape)
    model = LanguageModel(size, parameters)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, betas=BETAS, eps=EPS, fused=True)
    ids = torch.from_numpy(np.load(text)).long()
    lanes, targets = (
        part.view(size.batch, -1).t().contiguous().split(size.window)
        for part in (ids[:-1], ids[1:])
    )
    batches = itertools.cycle(list(zip(lanes, targets, strict=True)))
    state: State = None

    def step() -> float:
        nonlocal state
        x, y = next(batches)
        logits, state = model(x, state)
        state = _detached(state)
        loss = cross_entropy(logits.flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return loss.item()

    losses = [step() for _ in range(checked - 1)]
    before = parameters_to_vector(model.parameters())
    losses.append(step())
    updated = parameters_to_vector(model.parameters()) != before
    return {
        "parameters": len(before),
        "updated": int(updated.sum()),
        "losses": losses,
        "seconds": median_time(step, seconds),
    }


def sample(
    shape: dict[str, Any], parameters: str, start: int, length: int, seconds: float
) -> dict[str, Any]:
    """As ours, of one text."""
    model = LanguageModel(Shape(**shape), parameters).eval()

    def likeliest(logits: Tensor) -> Tensor:
        return logits[:, 1:].argmax(-1, keepdim=True) + 1  # ours never draws symbol 0, the unknown

    def draw(logits: Tensor) -> Tensor:
        return torch.multinomial(torch.softmax(logits / TEMPERATURE, -1), 1)

    @torch.no_grad()
    def text(choose: Any) -> list[Tensor]:
        ids, state, drawn = torch.full((1, 1), start), None, []
        for _ in range(length):
            logits, state = model(ids, state)
            ids = choose(logits[-1])
            drawn.append(ids)
        return drawn

    greedy = [ids.item() for ids in text(likeliest)]
    return {"greedy": greedy, "seconds": median_time(lambda: text(draw), seconds)}


@torch.no_grad()
def evaluate(
    shape: dict[str, Any], parameters: str, text: str, lanes: int, seconds: float
) -> dict[str, Any]:
    """As ours."""
    model = LanguageModel(Shape(**shape), parameters).eval()
    characters = Path(text).read_text(encoding="utf-8")
    number = {symbol: n for n, symbol in enumerate(sorted(set(characters)), 1)}
    ids = [number["\n"], *(number[symbol] for symbol in characters)]
    starts = [(len(ids) - 1) * n // lanes for n in range(lanes + 1)]
    parts = [torch.tensor(ids[a : b + 1]) for a, b in itertools.pairwise(starts)]
    padded = nn.utils.rnn.pad_sequence(parts, padding_value=-1)

    def loss() -> float:
        logits, _ = model(padded[:-1].clamp(min=0), None)
        losses = cross_entropy(logits.flatten(0, 1), padded[1:].flatten(), ignore_index=-1,
                               reduction="none")  # fmt: skip
        return float(losses.sum(dtype=torch.float64))

    return {
        "nats": loss(),
        "tokens": len(characters),
        "seconds": median_time(loss, seconds),
    }
