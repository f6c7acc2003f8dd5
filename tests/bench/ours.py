"""Our side. Each function here is called in a process of its own, by ``worker.py``."""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.backend import select_backend
from charrnn.config import ModelConfig, SampleConfig, TrainConfig
from charrnn.evaluation import Evaluator
from charrnn.model import Model
from charrnn.optim import Optimizer
from charrnn.params import count, initial_values, parameter_shapes
from charrnn.rng import INIT, generator
from charrnn.sampling import sample_ids
from charrnn.text import CharVocabulary, Ids
from charrnn.text.dataset import Dataset
from charrnn.text.streams import TrainingStream
from tests.bench.harness import Shape, median_time
from tests.bench.rules import CLIP, LR, TEMPERATURE

PART = 1 << 20  # ids read at once


def _config(shape: Shape) -> ModelConfig:
    return ModelConfig(
        vocab_size=shape.vocab,
        cell=shape.cell,
        layers=shape.layers,
        hidden_size=shape.hidden,
        embed_size=shape.hidden,
    )


def _model(shape: Shape, parameters: str, learns: bool = False) -> Model:
    backend, note = select_backend("cpu")
    if note:
        print(note, file=sys.stderr)
    model = Model(_config(shape), backend, learns=learns)
    with np.load(parameters) as values:
        model.load(dict(values))
    return model


def write_parameters(shape: dict[str, Any], parameters: str) -> None:
    """The values that both sides start from, to an npz file; the names are PyTorch's."""
    values = initial_values(_config(Shape(**shape)), "uniform", generator(0, INIT))
    np.savez(parameters, **values)


def train(
    shape: dict[str, Any], parameters: str, text: str, checked: int, seconds: float
) -> dict[str, Any]:
    """The losses of the first ``checked`` steps, and the seconds of a step after them.

    Also how many parameters there are, and how many the last of the checked steps changed.
    """
    size = Shape(**shape)
    model = _model(size, parameters, learns=True)
    window = model.training_window(size.window, size.batch)
    recipe = TrainConfig(lr=LR, clip=CLIP, weight_decay=0, schedule="constant", warmup=0)
    optimizer = Optimizer(model.backend, model.params, window.grads, recipe)
    stream = TrainingStream(np.load(text), size.batch, size.window, seed=0)
    batches = itertools.cycle(list(stream.windows(epoch=0)))

    def step() -> float:
        ids, targets = next(batches)
        loss = window.loss_and_grads(ids, targets, None)
        optimizer.step(LR, window.touched)
        model.refresh()
        return float(model.backend.to_host(loss))

    losses = [step() for _ in range(checked - 1)]
    before = model.backend.to_host(model.params.flat)
    losses.append(step())
    updated = model.backend.to_host(model.params.flat) != before
    return {
        "parameters": count(parameter_shapes(model.config)),
        "updated": int(updated.sum()),
        "losses": losses,
        "seconds": median_time(step, seconds),
    }


def sample(
    shape: dict[str, Any],
    parameters: str,
    start: int,
    length: int,
    seconds: float,
    texts: int = 1,
) -> dict[str, Any]:
    """What greedy sampling gives, and seconds for so many ``texts`` of ``length`` symbols."""
    model = _model(Shape(**shape), parameters)
    context = np.array([start], dtype=np.int32)

    def draw(temperature: float) -> Ids:
        config = SampleConfig(length=length, temperature=temperature, count=texts)
        return np.concatenate(list(sample_ids(model, context, config)))

    greedy = draw(0)[:, 0].tolist()
    return {
        "greedy": greedy,
        "seconds": median_time(lambda: draw(TEMPERATURE), seconds),
        "products": 2 * _read_at_each_step(model),
        "limit": _rate_of_products(model, seconds),
    }


def _read_at_each_step(model: Model) -> int:
    """The weights that a symbol is multiplied with: all but those of the first layer's input."""
    return sum(
        weight.array.size for name, weight in model.weights.items() if name != "rnn.weight_ih_l0"
    )


def _rate_of_products(model: Model, seconds: float) -> float:
    """Operations a second of large products in every thread: the most that there is."""
    backend, rows, depth, columns = model.backend, 1250, 256, 1024
    weight = backend.weight(backend.zeros((columns, depth)), backward=False)
    left = [backend.zeros((rows, depth)) for _ in range(backend.threads)]
    right = [backend.empty((rows, columns)) for _ in range(backend.threads)]

    def multiply() -> None:
        backend.map(lambda n: backend.linear(left[n], weight, right[n]), range(backend.threads))

    return 2 * rows * depth * columns * backend.threads / median_time(multiply, seconds)


def evaluate(
    shape: dict[str, Any], parameters: str, text: str, lanes: int, seconds: float
) -> dict[str, Any]:
    """The loss of a text in nats, and the seconds that it takes to score it."""
    model = _model(Shape(**shape), parameters)
    characters = Path(text).read_text(encoding="utf-8")
    vocabulary = CharVocabulary.of(characters)
    evaluator = Evaluator(model, vocabulary, lanes=lanes)
    score = evaluator.score([characters])
    return {
        "nats": score.nats,
        "tokens": score.tokens,
        "seconds": median_time(lambda: evaluator.score([characters]), seconds),
    }


def encode(path: str) -> float:
    """Seconds to make a data set of a text, and to read every id of it once."""
    begin = time.perf_counter()
    data = Dataset.read([Path(path)], None, 0.1)
    for ids in (data.train, data.valid):  # which may make them only now
        for at in range(0, len(ids), PART):
            ids[at : at + PART]
    return time.perf_counter() - begin
