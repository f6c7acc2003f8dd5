"""Our side on a GPU: a step of training, captured in a CUDA graph, and a text that is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from charrnn.backend import Backend
from charrnn.config import SampleConfig, TrainConfig
from charrnn.model import Model
from charrnn.optim import Optimizer
from charrnn.sampling import sample_ids
from tests.bench.harness import Shape
from tests.bench.ours import _config
from tests.bench.rules import CLIP, LR, TEMPERATURE
from tests.bench.train import make_text


def learner(backend: Backend, shape: Shape, parameters: str) -> Callable[[], Any]:
    """A step on the same windows again and again, as ``Learner`` takes it; gives the loss."""
    model = Model(_config(shape), backend, learns=True)
    with np.load(parameters) as values:
        model.load(dict(values))
    window = model.training_window(shape.window, shape.batch)
    recipe = TrainConfig(lr=LR, clip=CLIP, weight_decay=0, schedule="constant", warmup=0)
    optimizer = Optimizer(backend, model.params, window.grads, recipe)
    ids, targets = first_window(shape)

    def fed() -> Any:
        loss = window.compute()
        optimizer.update()
        model.refresh()
        return loss

    captured = backend.capture(fed)

    def step() -> Any:
        window.feed(ids, targets, None)
        optimizer.advance(LR)
        return captured()

    return step


def first_window(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Ids and targets [T, B]."""
    text = make_text(shape)[: shape.batch * shape.window + 1]
    lanes = (part.reshape(shape.batch, -1).T for part in (text[:-1], text[1:]))
    ids, targets = (np.ascontiguousarray(lane) for lane in lanes)
    return ids, targets


def speaker(backend: Backend, shape: Shape, parameters: str, length: int) -> Callable[..., Any]:
    """Draws a text, on the host."""
    model = Model(_config(shape), backend)
    with np.load(parameters) as values:
        model.load(dict(values))

    def text(temperature: float = TEMPERATURE) -> list[int]:
        config = SampleConfig(length=length, temperature=temperature)
        ids = np.concatenate(list(sample_ids(model, np.array([1], np.int32), config)))
        return [int(n) for n in ids[:, 0]]

    return text
