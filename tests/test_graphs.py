"""Steps captured in a CUDA graph: on a stand-in for CuPy that takes work down and runs it later.

While it captures nothing is computed, no memory of others is to be had, and copies to and from the
host raise: a step that took a number of the host along, or looked at one, would show.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from charrnn.backend.cuda import CapturedStep
from charrnn.backend.cupy_backend import CupyBackend
from charrnn.config import TrainConfig
from charrnn.learner import Learner
from charrnn.params import initial_values
from charrnn.text.streams import TrainingStream
from tests.support.cuda_host import needs_compiler
from tests.support.fake_cupy import fake_backend
from tests.support.kernels import random
from tests.support.stacks import cells, model_config
from tests.support.strict_device import LAUNCHES, STREAMS, StrictBackend

pytestmark = needs_compiler

T, B, VOCAB = 5, 3, 7


def learner(backend: Any, cell: str, vocab: int = VOCAB, **options: Any) -> Learner:
    """At the beginning of a text; ``options`` of the model or of the training."""
    sizes = {n: options.pop(n) for n in ("tie", "bidirectional", "embed_size") if n in options}
    config = model_config(cell, vocab_size=vocab, dropout=0.3, **sizes)
    train = TrainConfig(**{"batch_size": B, "seq_len": T, "clip": 0.1} | options)
    text = np.random.default_rng(1).integers(1, vocab, size=4 * T * B + 1)
    made = Learner(backend, config, train, TrainingStream(text, B, T, seed=0))
    made.start(initial_values(config, "orthogonal", np.random.default_rng(0)))
    return made


def learned(backend: Any, cell: str, steps: int = 6, **options: Any) -> list[np.ndarray]:
    """What a learner has after some steps, each at another rate: into a second epoch."""
    made = learner(backend, cell, **options)
    for n in range(steps):
        assert made.learn(0.01 / (1 + n))
    found = made.snapshot()
    figures = [np.array(found["counters"][name]) for name in ("losses", "norms")]
    return [*figures, *(a for part in ("weights", "slots", "states") for a in found[part].values())]


@pytest.fixture
def uncaptured(monkeypatch):
    """A GPU whose steps are run as they stand."""

    def make(**options: Any) -> CupyBackend:
        backend = fake_backend(**options)
        monkeypatch.setattr(backend, "capture", lambda step: step)
        return backend

    return make


@cells
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bidirectional": True},
        {"tie": True, "embed_size": 6},
        {"optimizer": "rmsprop", "clip": 0.0},
        {"optimizer": "sgd"},
    ],
    ids=str,
)
def test_a_captured_run_is_the_same_to_the_bit(uncaptured, cell, options):
    """Every draw of dropout, rate, count of updates and symbol is another at each step."""
    found, expected = (
        learned(fake_backend(), cell, **options),
        learned(uncaptured(), cell, **options),
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert np.isfinite(ours).all()
        np.testing.assert_array_equal(ours, theirs)
    assert len(set(found[0])) == 6, "losses that are not one and the same array"


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"tie": True, "embed_size": 6}])
def test_a_captured_run_in_less_than_single_precision(uncaptured, precision, options):
    """Weights are rounded anew after every update, within the graph."""
    found = learned(fake_backend(precision=precision), "gru", **options)
    expected = learned(uncaptured(precision=precision), "gru", **options)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    single = learned(fake_backend(), "gru", **options)
    assert 0 < np.abs(found[0] - single[0]).max() < 0.02


@cells
def test_a_captured_step_is_one_launch_between_two_copies(cell):
    made = learner(fake_backend(), cell)
    for n in range(4):
        LAUNCHES.clear()
        made.learn(0.01)
        if n >= 1:
            # Inputs, targets, three masks and the optimiser's numbers in; loss and norm out.
            assert LAUNCHES == {"graph": 1, "assignment": 6, "copy": 1}
        else:
            assert LAUNCHES[f"{cell}_forward"] == 2 * T


def test_no_array_of_a_changing_shape_is_captured():
    """The rows of the embedding that occur are more in one window than in another."""
    made = learner(fake_backend(), "gru", vocab=T * B + 1)
    for _ in range(3):
        LAUNCHES.clear()
        assert made.learn(0.01)
        assert LAUNCHES["gru_forward"] == 2 * T and not LAUNCHES["graph"]


def test_a_backend_without_graphs_takes_the_same_steps():
    for ours, theirs in zip(learned(StrictBackend(), "gru"), learned(fake_backend(), "gru"),
                            strict=True):  # fmt: skip
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


# The capture itself


def doubling(backend: Any, then: Any = lambda: None) -> tuple[Any, list[int], CapturedStep[Any]]:
    """A number, calls of a step that doubles it and does something else, and the step captured."""
    x, calls = backend.to_device(np.ones(1, np.float32)), []

    def step() -> Any:
        nonlocal x
        calls.append(len(calls))
        x += x
        then()
        return x + 1

    return x, calls, backend.capture(step)


def test_it_is_run_once_captured_once_and_then_replayed():
    backend = fake_backend()
    x, calls, step = doubling(backend)
    for n in range(1, 6):
        assert backend.to_host(step()) == 2**n + 1
        assert backend.to_host(x) == 2**n
    assert len(calls) == 2


def raising(error: Exception) -> Any:
    """Fails where work is taken down, not where it is run."""

    def check() -> None:
        if len(STREAMS) > 1:
            raise error

    return check


@pytest.mark.parametrize(
    "error",
    [NotImplementedError("calling cuBLAS"), RuntimeError("cudaErrorStreamCaptureUnsupported")],
    ids=lambda e: type(e).__name__,
)
def test_what_cannot_be_captured_goes_on_as_it_is_and_says_so_once(error):
    told: list[str] = []
    backend = fake_backend(announce=told.append)
    _, calls, step = doubling(backend, raising(error))
    for n in range(1, 5):
        assert backend.to_host(step()) == 2**n + 1
    assert told == [f"steps are not captured in a CUDA graph, so slower: {error}"]
    assert len(calls) == 5, "one of them in vain"


def test_a_copy_to_the_host_is_not_captured():
    told: list[str] = []
    backend = fake_backend(announce=told.append)
    x, _, step = doubling(backend, lambda: backend.to_host(x))
    assert [float(backend.to_host(step())[0]) for _ in range(3)] == [3, 5, 9]
    assert "capturing: to the host" in told[0]


def test_any_other_error_is_not_hidden():
    """And nothing stays behind of the capture: neither its stream nor its memory."""
    backend = fake_backend()
    _, _, step = doubling(backend, raising(TypeError("wrong")))
    step()
    with pytest.raises(TypeError, match="wrong"):
        step()
    assert len(STREAMS) == 1 and backend.xp.pools == []
    weight, out = (
        backend.weight(backend.to_device(random(np.float32, 2, 2)), backward=False),
        backend.empty((2, 2)),
    )
    backend.linear(backend.zeros((2, 2)), weight, out)
    np.testing.assert_array_equal(backend.to_host(out), 0)


def test_memory_of_a_graph_is_its_own():
    """Or the stand-in would not tell."""
    backend = fake_backend()
    with backend.xp.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        with pytest.raises(AssertionError, match="others may get too"):
            backend.empty((1,))
