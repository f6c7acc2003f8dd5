"""``python -m tests.bench.gpu``: a training step and generated text on a GPU, ours and PyTorch's.

First it is seen that ours is right: losses and gradients of small models against NumPy's in double
precision, then losses of each shape against PyTorch's. PyTorch runs as it stands and captured in a
CUDA graph, with and without tf32; ours is in float32. On a GPU both sides are in one process, where
they take turns, one step each, timed by events on the device's stream. One command, about five
minutes; after ``--minutes`` no further case begins. Tables come last, and all values as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.backend import Backend, NumpyBackend, select_backend
from charrnn.config import ModelConfig, SampleConfig, TrainConfig
from charrnn.errors import DeviceUnavailableError
from charrnn.model import Model
from charrnn.optim import Optimizer
from charrnn.params import initial_values
from charrnn.sampling import sample_ids
from tests.bench.harness import BenchError, Shape, require_torch, tell
from tests.bench.machine import machine
from tests.bench.ours import _config, write_parameters
from tests.bench.rules import CLIP, LR, TEMPERATURE
from tests.bench.table import Row, result, show
from tests.bench.train import compare, make_text

#: Hidden size, layers, batch, window.
SIZES = ((128, 2, 64, 128), (256, 2, 64, 128), (512, 1, 64, 128), (512, 2, 64, 128),
         (512, 3, 128, 128), (1024, 1, 64, 128), (1024, 2, 64, 128))  # fmt: skip
SHAPES = [Shape("lstm", L, H, batch=B, window=T) for H, L, B, T in SIZES]

WARM_UPS, REPEATS = 5, 20
CHECKED = 5  # steps whose losses are compared
LENGTH = 256  # of a text that is generated, of one sequence
TOLERANCE = 1e-4  # of float32 against double precision, relative to the largest of an array

Step = Callable[[], object]
#: Seconds that a step takes on the device.
Timer = Callable[[Step], float]


class NoDeviceError(BenchError):
    """There is nothing to measure on."""


def interleaved(contestants: dict[str, Step], timer: Timer) -> dict[str, list[float]]:
    """Seconds of each repetition of each; they take turns, and all are warm before the first."""
    for step in contestants.values():
        for _ in range(WARM_UPS):
            step()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(REPEATS):
        for name, step in contestants.items():
            seconds[name].append(timer(step))
    return seconds


def rows(table: str, unit: str, case: str, amount: int, seconds: dict[str, list[float]],
         check: str) -> Iterator[Row]:  # fmt: skip
    """Ours against each of the others; ``amount`` of the unit's things are done in a step."""
    ours = [amount / s for s in seconds["charrnn"]]
    for name, values in seconds.items():
        if name != "charrnn":
            yield Row(
                table=table,
                unit=unit,
                sides=("charrnn", "PyTorch"),
                case=f"{case}: {name}",
                ours=ours,
                theirs=[amount / s for s in values],
                figure="rate ratio",
                goal=1.0,
                check=check,
            )


# Our side


def learner(backend: Backend, shape: Shape, parameters: str) -> tuple[Model, Callable[[], Any]]:
    """A model, and a step on the same windows again and again; it gives a loss on the device."""
    model = Model(_config(shape), backend, learns=True)
    with np.load(parameters) as values:
        model.load(dict(values))
    window = model.training_window(shape.window, shape.batch)
    recipe = TrainConfig(lr=LR, clip=CLIP, weight_decay=0, schedule="constant", warmup=0)
    optimizer = Optimizer(backend, model.params, window.grads, recipe)
    ids, targets = first_window(shape)

    def step() -> Any:
        loss = window.loss_and_grads(ids, targets, None)
        optimizer.step(LR, window.touched)
        model.refresh()
        return loss

    return model, step


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


# What is checked


def check_gradients(backend: Backend) -> float:
    """The largest error of losses and gradients of small models, against double precision."""
    worst = 0.0
    for cell in ("rnn", "gru", "lstm"):
        config = ModelConfig(20, cell=cell, layers=2, hidden_size=48, embed_size=32)
        values = initial_values(config, "uniform", np.random.default_rng(0))
        ids, targets = np.random.default_rng(1).integers(0, 20, size=(2, 17, 9))
        found = []
        for b in (backend, NumpyBackend(np.float64)):
            model = Model(config, b, learns=True)
            model.load(values)
            window = model.training_window(*ids.shape)
            loss = b.to_host(window.loss_and_grads(ids, targets, None))
            found.append([loss, *(b.to_host(g) for g in window.grads.values())])
        for ours, exact in zip(*found, strict=True):
            error = float(np.abs(ours - exact).max() / np.abs(exact).max())
            if not error <= TOLERANCE:
                raise BenchError(f"{cell}: {error:.0e} off what it is in double precision")
            worst = max(worst, error)
    return worst


def losses_of(backend: Backend, step: Callable[[], Any]) -> dict[str, Any]:
    """Of the first steps, as ``train.compare`` takes them."""
    found = [float(backend.to_host(step())) for _ in range(CHECKED)]
    return {"parameters": 0, "updated": 1, "losses": found}


# The cases


def training(backend: Backend, shape: Shape, parameters: str, timer: Timer) -> Iterator[Row]:
    """A step of training."""
    from tests.bench import gpu_rival

    _, step = learner(backend, shape, parameters)
    text = first_window(shape)
    theirs = gpu_rival.training_steps(shape, parameters, text)
    found = losses_of(backend, step)
    expected = gpu_rival.losses(shape, parameters, text, CHECKED)
    check = compare([found], [found | {"losses": expected}])
    seconds = interleaved({"charrnn": step} | theirs, timer)
    tokens = shape.batch * shape.window
    yield from rows("training on a GPU", "tokens/s", shape.step, tokens, seconds, check)


def generating(backend: Backend, shape: Shape, parameters: str, timer: Timer) -> Iterator[Row]:
    """A text of one sequence."""
    from tests.bench import gpu_rival

    text = speaker(backend, shape, parameters, LENGTH)
    same = text(0.0) == gpu_rival.likeliest_text(shape, parameters, LENGTH)
    check = "same likeliest text" if same else "another likeliest text"
    contestants = {"charrnn": text} | gpu_rival.sampling_steps(shape, parameters, LENGTH)
    seconds = interleaved(contestants, timer)
    yield from rows("one text on a GPU", "characters/s", shape.model, LENGTH, seconds, check)


def cases(only: str) -> Iterator[tuple[str, Callable[..., Iterator[Row]], Shape]]:
    """Training of every shape, then generation."""
    for word, measure in (("training", training), ("generating", generating)):
        for shape in SHAPES:
            name = f"{word} {shape.step}"
            if only in name:
                yield name, measure, shape


def device() -> tuple[Backend, Timer, str]:
    """The GPU, what times steps on it, and its name; raises ``NoDeviceError``."""
    try:
        backend, _ = select_backend("gpu")
    except DeviceUnavailableError as error:
        raise NoDeviceError(str(error)) from None
    require_torch()
    import torch

    if not torch.cuda.is_available():
        raise NoDeviceError("this PyTorch has no CUDA; see pytorch.org for one that has")
    cuda = backend.xp.cuda
    begin, end = cuda.Event(), cuda.Event()

    def timer(step: Step) -> float:
        cuda.Device().synchronize()
        begin.record()  # on the default stream, which is PyTorch's too
        step()
        end.record()
        end.synchronize()
        return float(cuda.get_elapsed_time(begin, end)) / 1e3

    return backend, timer, torch.cuda.get_device_name()


def main(arguments: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--only", default="", metavar="TEXT", help="cases with TEXT in their name")
    options.add_argument("--minutes", type=float, default=8, help="then no further case begins")
    options.add_argument("--json", type=Path, default=Path("gpu.json"), metavar="PATH")
    given = options.parse_args(arguments)
    found: list[Row] = []
    about = machine()
    try:
        backend, timer, about["gpu"] = device()
        about["CuPy"] = backend.xp.__version__
        tell(f"float32 is within {check_gradients(backend):.0e} of double precision")
        begin = time.monotonic()
        for name, measure, shape in cases(given.only):
            if time.monotonic() - begin > 60 * given.minutes:
                tell(f"no time left for: {name}")
                continue
            with tempfile.TemporaryDirectory() as folder:
                parameters = str(Path(folder, "parameters.npz"))
                write_parameters(shape.to_dict(), parameters)
                for row in measure(backend, shape, parameters, timer):
                    tell(f"{row.table}: {row.case}: {result(row)}")
                    found.append(row)
    except BenchError as error:
        tell(f"tests.bench.gpu: error: {error}")
        return 69 if isinstance(error, NoDeviceError) else 1
    finally:
        if found:
            document = {"machine": about, "rows": [row.to_json() for row in found]}
            given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            print(f"{about['gpu']}, CuPy {about['CuPy']}")
            show(found, about)
    return 0


if __name__ == "__main__":
    sys.exit(main())
