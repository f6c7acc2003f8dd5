"""PyTorch's side on a GPU, in each precision: as it stands, and captured in a CUDA graph.

In bf16 all of it is, its weights and the optimiser's moments too: less to read and write than ours.
"""

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

#: A precision, and whether the step is captured, as ``gpu.py`` shows them.
WAYS = [*itertools.product(("fp32", "tf32", "bf16"), ("eager", "graph"))]


def _choose(precision: str) -> torch.dtype:
    """From now on, and what weights are then to be."""
    tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def _zero_state(shape: Shape, batch: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    size = (2, shape.layers, batch, shape.hidden)
    h, c = torch.zeros(size, device=DEVICE, dtype=dtype)
    return h, c


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


def _in(precision: str, step: Step) -> Step:
    def run() -> Any:
        _choose(precision)
        return step()

    return run


def _trainer(
    shape: Shape,
    parameters: str,
    text: tuple[np.ndarray, np.ndarray],
    dtype: torch.dtype,
    captured: bool,
) -> Step:
    """A step that carries its state and gives the loss, without waiting for it."""
    model = LanguageModel(shape, parameters).to(DEVICE, dtype)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=LR, betas=BETAS, eps=EPS, fused=True, capturable=captured
    )
    x, y = (torch.from_numpy(part).long().to(DEVICE) for part in text)
    state = _zero_state(shape, shape.batch, dtype)

    def step() -> Tensor:
        logits, after = model(x, state)
        assert isinstance(after, tuple)
        loss = cross_entropy(logits.flatten(0, 1).float(), y.flatten())
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
) -> dict[tuple[str, str], Step]:
    """A step in every way."""
    found = {}
    for precision, way in WAYS:
        step = _trainer(shape, parameters, text, _choose(precision), way == "graph")
        found[precision, way] = _captured(step) if way == "graph" else _in(precision, step)
    return found


def losses(
    shape: Shape, parameters: str, text: tuple[np.ndarray, np.ndarray], count: int,
    ) -> list[float]:  # fmt: skip
    """Of the first steps, in fp32."""
    step = _trainer(shape, parameters, text, _choose("fp32"), captured=False)
    return [float(step()) for _ in range(count)]


def _sampler(shape: Shape, parameters: str, dtype: torch.dtype, draw: bool) -> tuple[Step, Tensor]:
    """A step that draws a symbol after the last, or takes the likeliest, and where it puts it."""
    model = LanguageModel(shape, parameters).to(DEVICE, dtype).eval()
    ids = torch.full((1, 1), 1, device=DEVICE)
    state = _zero_state(shape, 1, dtype)

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


def sampling_steps(shape: Shape, parameters: str, length: int) -> dict[tuple[str, str], Step]:
    """A text in every way; captured is the step from a symbol to the next."""
    found = {}
    for precision, way in WAYS:
        step, ids = _sampler(shape, parameters, _choose(precision), draw=True)
        step = _captured(step) if way == "graph" else _in(precision, step)
        found[precision, way] = _text(step, ids, length)
    return found


def likeliest_text(shape: Shape, parameters: str, length: int) -> list[int]:
    """The symbols that argmax gives after symbol 1, in fp32."""
    step, ids = _sampler(shape, parameters, _choose("fp32"), draw=False)
    return _text(step, ids, length)()
