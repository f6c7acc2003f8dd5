"""PyTorch's side on a GPU: as it stands, and captured in a CUDA graph; with and without tf32."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from tests.bench.harness import Shape
from tests.bench.rival import LanguageModel
from tests.bench.rules import BETAS, CLIP, EPS, LR, TEMPERATURE

Step = Callable[[], Any]

DEVICE = "cuda"

#: Captured or not, and whether products are rounded to tf32, by what is shown of them.
WAYS = {
    f"{name} {precision}": (captured, tf32)
    for (name, captured), (precision, tf32) in itertools.product(
        (("eager", False), ("graph", True)), (("fp32", False), ("tf32", True))
    )
}


def _precision(tf32: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32


def _zero_state(shape: Shape, batch: int) -> tuple[Tensor, Tensor]:
    size = (shape.layers, batch, shape.hidden)
    return torch.zeros(size, device=DEVICE), torch.zeros(size, device=DEVICE)


def _captured(step: Step) -> Step:
    """What replays the step, once it has run a few times beside the default stream."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def _with_precision(step: Step, tf32: bool) -> Step:
    def run() -> Any:
        _precision(tf32)
        return step()

    return run


def _trainer(
    shape: Shape, parameters: str, text: tuple[np.ndarray, np.ndarray], captured: bool
) -> Step:
    """A step that carries its state and gives the loss, without waiting for it."""
    model = LanguageModel(shape, parameters).to(DEVICE)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=LR, betas=BETAS, eps=EPS, fused=True, capturable=captured
    )
    x, y = (torch.from_numpy(part).long().to(DEVICE) for part in text)
    state = _zero_state(shape, shape.batch)

    def step() -> Tensor:
        logits, after = model(x, state)
        assert isinstance(after, tuple)
        loss = cross_entropy(logits.flatten(0, 1), y.flatten())
        optimizer.zero_grad(set_to_none=not captured)
        loss.backward()
        clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        for to, new in zip(state, after, strict=True):
            to.copy_(new.detach())
        return loss.detach()

    return step


def training_steps(
    shape: Shape, parameters: str, text: tuple[np.ndarray, np.ndarray]
) -> dict[str, Step]:
    """A step in every way."""
    found = {}
    for name, (captured, tf32) in WAYS.items():
        _precision(tf32)
        step = _trainer(shape, parameters, text, captured)
        found[name] = _captured(step) if captured else _with_precision(step, tf32)
    return found


def losses(
    shape: Shape, parameters: str, text: tuple[np.ndarray, np.ndarray], count: int,
    ) -> list[float]:  # fmt: skip
    """Of the first steps, in float32."""
    _precision(False)
    step = _trainer(shape, parameters, text, captured=False)
    return [float(step()) for _ in range(count)]


def _sampler(shape: Shape, parameters: str, draw: bool) -> tuple[Step, Tensor]:
    """A step that draws a symbol after the last, or takes the likeliest, and where it puts it."""
    model = LanguageModel(shape, parameters).to(DEVICE).eval()
    ids = torch.full((1, 1), 1, device=DEVICE)
    state = _zero_state(shape, 1)

    @torch.no_grad()
    def step() -> None:
        logits, after = model(ids, state)
        logits[:, :, 0] = -torch.inf  # ours never draws symbol 0, the unknown
        if draw:  # as torch.multinomial does, but without its checks
            p = torch.softmax(logits[-1] / TEMPERATURE, -1)
            logits = (p / torch.empty_like(p).exponential_())[None]
        ids.copy_(logits[-1].argmax(-1, keepdim=True))
        for to, new in zip(state, after, strict=True):
            to.copy_(new)

    return step, ids


def _text(step: Step, ids: Tensor, length: int) -> Callable[[], list[int]]:
    """So many symbols, which are fetched at the end."""
    out = torch.empty(length, dtype=ids.dtype, device=ids.device)

    def text() -> list[int]:
        for n in range(length):
            step()
            out[n] = ids[0, 0]
        return [int(n) for n in out.tolist()]

    return text


def sampling_steps(shape: Shape, parameters: str, length: int) -> dict[str, Step]:
    """A text in every way; captured is the step from a symbol to the next."""
    found = {}
    for name, (captured, tf32) in WAYS.items():
        _precision(tf32)
        step, ids = _sampler(shape, parameters, draw=True)
        step = _captured(step) if captured else _with_precision(step, tf32)
        found[name] = _text(step, ids, length)
    return found


def likeliest_text(shape: Shape, parameters: str, length: int) -> list[int]:
    """The symbols that argmax gives after symbol 1."""
    _precision(False)
    step, ids = _sampler(shape, parameters, draw=False)
    return _text(step, ids, length)()
