"""``python -m tests.bench.gpu``: a training step and generated text on a GPU, ours and PyTorch's.

First it is seen that ours is right: losses and gradients of small models, in fp32, tf32 and bf16,
against NumPy's in double precision; captured steps against others; then losses of each shape
against PyTorch's. In each precision PyTorch runs as it stands and captured in a CUDA graph, ours
captured. On a GPU both sides are in one process, where they take turns, one step each, timed by
events on the device's stream. One command, less than ten minutes; after ``--minutes`` no further
case begins. Tables come last, and all values as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from charrnn.backend import Backend, select_backend
from charrnn.config import PRECISIONS
from charrnn.errors import DeviceUnavailableError
from tests.bench.gpu_checks import CHECKED, agreement, check, losses_of
from tests.bench.gpu_ours import first_window, learner, speaker
from tests.bench.harness import BenchError, Shape, require_torch, tell
from tests.bench.machine import machine
from tests.bench.ours import write_parameters
from tests.bench.table import Row, result, show
from tests.bench.train import compare

#: Hidden size, layers, batch, window.
SIZES = ((128, 2, 64, 128), (256, 2, 64, 128), (512, 1, 64, 128), (512, 2, 64, 128),
         (512, 3, 128, 128), (1024, 1, 64, 128), (1024, 2, 64, 128))  # fmt: skip
SHAPES = [Shape("lstm", L, H, batch=B, window=T) for H, L, B, T in SIZES]

WARM_UPS, REPEATS = 5, 20
LENGTH = 256  # of a text that is generated, of one sequence
#: What ours is to be at least, in PyTorch's rate, by how PyTorch runs.
GOALS = {"training": {"eager": 1.0, "graph": 1.0}, "generating": {"eager": 20.0, "graph": 1.0}}

Step = Callable[[], object]
#: Seconds that a step takes on the device.
Timer = Callable[[Step], float]
#: Ours, by precision.
Backends = dict[str, Backend]
#: A precision, and for PyTorch whether it is "eager" or a "graph"; ours is "ours".
Way = tuple[str, str]


class NoDeviceError(BenchError):
    """There is nothing to measure on."""


def interleaved(contestants: dict[Way, Step], timer: Timer) -> dict[Way, list[float]]:
    """Seconds of each repetition of each; they take turns, and all are warm before the first."""
    for step in contestants.values():
        for _ in range(WARM_UPS):
            step()
    seconds: dict[Way, list[float]] = {name: [] for name in contestants}
    for _ in range(REPEATS):
        for name, step in contestants.items():
            seconds[name].append(timer(step))
    return seconds


def rows(table: str, unit: str, case: str, amount: int, seconds: dict[Way, list[float]],
         checks: dict[str, str], goals: dict[str, float]) -> Iterator[Row]:  # fmt: skip
    """Ours against PyTorch in the same precision; a step does ``amount`` of the unit's things."""
    for (precision, way), values in seconds.items():
        if way != "ours":
            yield Row(
                table=table,
                unit=unit,
                sides=("charrnn", "PyTorch"),
                case=f"{case}: {precision}, {way}",
                ours=[amount / s for s in seconds[precision, "ours"]],
                theirs=[amount / s for s in values],
                figure="rate ratio",
                goal=goals[way],
                check=checks[precision],
            )


# The cases


def training(backends: Backends, shape: Shape, parameters: str, timer: Timer) -> Iterator[Row]:
    """A step of training."""
    from tests.bench import gpu_rival

    text = first_window(shape)
    steps = {p: learner(backend, shape, parameters) for p, backend in backends.items()}
    found = {p: losses_of(backends[p], step) for p, step in steps.items()}
    expected = gpu_rival.losses(shape, parameters, text, CHECKED)
    check = compare(*([{"parameters": 0, "updated": 1, "losses": losses}]
                      for losses in (found["fp32"], expected)))  # fmt: skip
    checks = {p: agreement(p, losses, found["fp32"], check) for p, losses in found.items()}
    ours = {(p, "ours"): step for p, step in steps.items()}
    seconds = interleaved(ours | gpu_rival.training_steps(shape, parameters, text), timer)
    tokens = shape.batch * shape.window
    yield from rows("training on a GPU", "tokens/s", shape.step, tokens, seconds, checks,
                    GOALS["training"])  # fmt: skip


def generating(backends: Backends, shape: Shape, parameters: str, timer: Timer) -> Iterator[Row]:
    """A text of one sequence."""
    from tests.bench import gpu_rival

    texts = {p: speaker(backend, shape, parameters, LENGTH) for p, backend in backends.items()}
    likeliest = gpu_rival.likeliest_text(shape, parameters, LENGTH)
    checks = {}
    for precision, text in texts.items():
        same = next((n for n, pair in enumerate(zip(text(0.0), likeliest, strict=True))
                     if pair[0] != pair[1]), LENGTH)  # fmt: skip
        checks[precision] = f"likeliest text is theirs in fp32 for {same} of {LENGTH}"
    ours: dict[Way, Step] = {(p, "ours"): text for p, text in texts.items()}
    seconds = interleaved(ours | gpu_rival.sampling_steps(shape, parameters, LENGTH), timer)
    yield from rows("one text on a GPU", "characters/s", shape.model, LENGTH, seconds, checks,
                    GOALS["generating"])  # fmt: skip


def cases(only: str) -> Iterator[tuple[str, Callable[..., Iterator[Row]], Shape]]:
    """Training of every shape, then generation."""
    for word, measure in (("training", training), ("generating", generating)):
        for shape in SHAPES:
            name = f"{word} {shape.step}"
            if only in name:
                yield name, measure, shape


def device() -> tuple[Backends, Timer, str]:
    """The GPU in each precision, what times steps on it, its name; raises ``NoDeviceError``."""
    try:
        backends = {p: select_backend("gpu", precision=p, announce=tell)[0] for p in PRECISIONS}
    except DeviceUnavailableError as error:
        raise NoDeviceError(str(error)) from None
    require_torch()
    import torch

    if not torch.cuda.is_available():
        raise NoDeviceError("this PyTorch has no CUDA; see pytorch.org for one that has")
    cuda = backends["fp32"].xp.cuda
    begin, end = cuda.Event(), cuda.Event()

    def timer(step: Step) -> float:
        cuda.Device().synchronize()
        begin.record()  # on the default stream, which is PyTorch's too
        step()
        end.record()
        end.synchronize()
        return float(cuda.get_elapsed_time(begin, end)) / 1e3

    return backends, timer, torch.cuda.get_device_name()


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
        backends, timer, about["gpu"] = device()
        about["CuPy"] = backends["fp32"].xp.__version__
        check(backends)
        begin = time.monotonic()
        for name, measure, shape in cases(given.only):
            if time.monotonic() - begin > 60 * given.minutes:
                tell(f"no time left for: {name}")
                continue
            with tempfile.TemporaryDirectory() as folder:
                parameters = str(Path(folder, "parameters.npz"))
                write_parameters(shape.to_dict(), parameters)
                for row in measure(backends, shape, parameters, timer):
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
