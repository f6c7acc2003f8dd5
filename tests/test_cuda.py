"""The kernels of a CUDA device, compiled as C++, against the functions that they stand for.

They run in the real ``CupyBackend``, on a stand-in for CuPy that counts what it launches.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from charrnn.backend import NumpyBackend
from charrnn.backend.cuda import losses
from charrnn.cells import CELLS
from charrnn.config import TrainConfig
from charrnn.layers import Scan
from charrnn.layers.dropout import dropout
from charrnn.layers.scan import scan_backward
from charrnn.model import Model
from charrnn.optim import Optimizer, sum_of_squares
from charrnn.params import initial_values
from tests.support.cuda_host import HostKernel, needs_compiler
from tests.support.fake_cupy import RawKernel, fake_backend
from tests.support.kernels import (
    ScanCase,
    assert_close,
    check_a_cell_nobody_has_seen_before,
    check_cross_entropy,
    check_cross_entropy_of_a_special_value,
    check_dropout,
    check_scan,
    check_update,
    check_update_of_a_special_value_anywhere,
    dtypes,
    methods,
    random,
    special_places,
    specials,
)
from tests.support.stacks import cells, model_config
from tests.support.strict_device import LAUNCHES, DeviceArray

pytestmark = needs_compiler


@pytest.fixture
def gpu() -> Any:
    """The backend for a dtype."""
    return fake_backend


@dtypes
@cells
@pytest.mark.parametrize("T, B, H", [(1, 1, 1), (3, 2, 7), (2, 3, 129)])
@pytest.mark.parametrize("reverse, strided", [(False, False), (False, True), (True, True)])
def test_scan(gpu, dtype, cell, T, B, H, reverse, strided):
    check_scan(gpu(dtype), cell, T, B, H, reverse, strided)


#: Each for all elements of a sequence, times a number from 0.5 to 1.
EXTREMES = [0.0, 1e-45, 1e-40, 1e-20, 1.0, -3.0, 20.0, -88.0, 88.0, 1e4, -1e4, 1e30, -1e30]
EXTREMES += [np.inf, -np.inf, np.nan]


def step_of_extremes(backend: Any, cell: str, place: str) -> dict[str, np.ndarray]:
    """What one step forward and back leaves behind; the recurrent weight is 0."""
    rng, B, H, K = np.random.default_rng(0), len(EXTREMES), 5, len(CELLS[cell].gates)

    def numbers(where: str, *shape: int) -> np.ndarray:
        ordinary = rng.uniform(0.5, 1, size=shape)
        return np.array(EXTREMES)[:, None] * ordinary if where == place else ordinary

    zeros = {"weight_ih": (K * H, 1), "weight_hh": (K * H, H), "bias_ih": K * H, "bias_hh": K * H}
    weights = {name: backend.zeros(shape) for name, shape in zeros.items()}
    for name in ("weight_ih", "weight_hh"):
        weights[name] = backend.weight(weights[name], backward=True)
    scan = Scan(backend, CELLS[cell], weights, weights, 1, B)
    memory = scan.memory
    for state in scan.initial[1:]:  # h takes part in the product
        backend.to_device(numbers("states", B, H), out=state)
    backend.to_device(numbers("gates", 1, B, K * H), out=memory.gates)
    names = ("gates", "states", "saved")
    with np.errstate(all="ignore"):
        scan.run()
        found = {name: backend.to_host(getattr(memory, name)) for name in names}
        backend.to_device(numbers("gradients", len(memory.dstate), B, H), out=memory.dstate)
        dy = backend.to_device(numbers("gradients", 1, B, H).astype(backend.dtype))
        backward = backend.kernel("scan_backward", scan_backward)
        backward(backend, CELLS[cell], memory, weights["weight_hh"], dy, False)
    names = ("gates", "drecurrent", "dstate")
    return found | {f"d {name}": backend.to_host(getattr(memory, name)) for name in names}


@dtypes
@cells
@pytest.mark.parametrize("place", ["gates", "states", "gradients"])
def test_a_step_of_extreme_values(gpu, dtype, cell, place):
    expected = step_of_extremes(NumpyBackend(dtype), cell, place)
    # What cancels is about 1, times the extreme; of denormal numbers there are few digits.
    largest = np.nan_to_num(1 + np.abs(np.array(EXTREMES)), posinf=0)[:, None]
    for name, found in step_of_extremes(gpu(dtype), cell, place).items():
        assert_close(found, expected[name], largest, ulps=12, name=name)


@dtypes
@pytest.mark.parametrize("T, B, H", [(1, 1, 1), (3, 2, 16), (2, 3, 37)])
def test_a_cell_nobody_has_seen_before(gpu, dtype, T, B, H):
    check_a_cell_nobody_has_seen_before(gpu(dtype), T, B, H)


# One launch each


@dtypes
@pytest.mark.parametrize("scale", [0.0, 1.0, 1 / 300])
@pytest.mark.parametrize("N, V", [(1, 1), (1, 2), (3, 31), (2, 33), (2, 300), (3, 1000)])
@pytest.mark.parametrize("spread", [1e-3, 3.0, 1e4])
def test_cross_entropy(gpu, dtype, scale, N, V, spread):
    check_cross_entropy(gpu(dtype), scale, N, V, spread)


@dtypes
@specials
@special_places
def test_cross_entropy_of_a_special_value(gpu, dtype, special, place):
    check_cross_entropy_of_a_special_value(gpu(dtype), special, place, V=41)


SIZES = [1, 127, 128, 129, 1000]


@dtypes
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("threshold", [1, 30_000, 65_535])
def test_dropout(gpu, dtype, size, threshold):
    check_dropout(gpu(dtype), size, threshold)


@dtypes
@pytest.mark.parametrize("V, E, N", [(1, 1, 1), (3, 130, 7), (40, 5, 0), (6, 129, 50)])
def test_scatter_add(gpu, dtype, V, E, N):
    """Of equal ids in their order: to the bit what adding one after the other gives."""
    table, rows = random(dtype, V, E), random(dtype, N, E, seed=1)
    ids = np.random.default_rng(0).integers(0, V, size=N)
    backend = gpu(dtype)
    to = backend.to_device(table)
    backend.scatter_add(to, backend.to_device(ids), backend.to_device(rows))
    for n, row in zip(ids, rows, strict=True):
        table[n] += row
    np.testing.assert_array_equal(backend.to_host(to), table)


@dtypes
@pytest.mark.parametrize("size", [1, 255, 257, 70_000])
def test_sum_of_squares(gpu, dtype, size):
    """Of more numbers than there are threads, too."""
    backend, x = gpu(dtype), random(dtype, size)
    kernel = backend.kernel("sum_of_squares", sum_of_squares)
    assert kernel is not sum_of_squares
    found = backend.to_host(kernel(backend.xp, backend.to_device(x)))
    assert_close(found, np.sum(x.astype(np.float64) ** 2))


@specials
def test_sum_of_squares_of_a_special_value(gpu, special):
    backend, x = gpu(np.float32), random(np.float32, 300)
    x[280] = special
    found = backend.kernel("sum_of_squares", sum_of_squares)(backend.xp, backend.to_device(x))
    with np.errstate(all="ignore"):
        assert_close(backend.to_host(found), np.sum(x * x))


@dtypes
@methods
@pytest.mark.parametrize("size", SIZES)
def test_update(gpu, dtype, name, size):
    check_update(gpu(dtype), name, size)


@dtypes
@methods
@specials
def test_update_of_a_special_value_anywhere(gpu, dtype, name, special):
    check_update_of_a_special_value_anywhere(gpu(dtype), name, special)


# What a kernel would not notice


def test_nothing_is_written_behind_the_end(gpu):
    backend = gpu(np.float32)
    x, draws = backend.to_device(np.ones(200, np.float32)), backend.zeros((200,), np.uint16)
    backend.kernel("dropout", dropout)(backend.xp, x[:131], draws[:131], 1, 2.0, x[:131])
    np.testing.assert_array_equal(backend.to_host(x), [0] * 131 + [1] * 69)


def test_arrays_of_another_kind_are_refused(gpu):
    backend = gpu(np.float32)
    kernel, draws = backend.kernel("dropout", dropout), backend.zeros((4,), np.uint16)
    with pytest.raises(TypeError, match="float64 for kernels of float32"):
        x = backend.zeros((4,), np.float64)
        kernel(backend.xp, x, draws, 1, 1.0, x)
    with pytest.raises(ValueError, match="contiguous"):
        x = backend.zeros((8,))[::2]
        kernel(backend.xp, x, draws, 1, 1.0, x)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x, targets, n, scale: (x, targets, x, n),
        lambda x, targets, n, scale: (x, targets, x, scale, n),
        lambda x, targets, n, scale: (x, x, x, n, scale),
        lambda x, targets, n, scale: (x, targets, x, np.int32(n), scale),
        lambda x, targets, n, scale: (x, targets, x, True, scale),
    ],
    ids=["too few", "swapped", "numbers for addresses", "32 bits", "a truth value"],
)
def test_the_stand_in_checks_the_arguments_of_a_kernel(spoil):
    kernel = HostKernel(*losses.cross_entropy(np.dtype(np.float32))[1::-1])
    arguments = spoil(np.zeros((1, 3), np.float32), np.zeros(1, np.int64), 3, 1.0)
    with pytest.raises(AssertionError):
        kernel((1,), (32,), arguments)


# Launches


@cells
@pytest.mark.parametrize("reverse", [False, True])
def test_a_step_of_a_scan_is_a_product_and_one_kernel(gpu, cell, reverse):
    """And nothing else, but for two small ones around the way back."""
    backend, T = gpu(np.float32), 7
    K, H = len(CELLS[cell].gates), 5
    weights = {
        "weight_ih": backend.weight(backend.zeros((K * H, 3)), backward=True),
        "weight_hh": backend.weight(backend.zeros((K * H, H)), backward=True),
        **{name: backend.zeros((K * H,)) for name in ("bias_ih", "bias_hh")},
    }
    scan = Scan(backend, CELLS[cell], weights, weights, T, 2, reverse=reverse)
    LAUNCHES.clear()
    scan.run()
    assert {"gemm": T, f"{cell}_forward": T} == LAUNCHES
    dy, weight = backend.zeros((T, 2, H)), weights["weight_hh"]
    LAUNCHES.clear()
    backend.kernel("scan_backward", scan_backward)(
        backend, CELLS[cell], scan.memory, weight, dy, reverse
    )
    assert {"gemm": T, f"{cell}_backward": T, "fill": 1, "add": 1} == LAUNCHES


def step_of_training(backend: Any, cell: str, T: int) -> Counter[str]:
    """The launches of one training step with everything in it."""
    config = model_config(cell, dropout=0.3)
    model = Model(config, backend, learns=True)
    model.load(initial_values(config, "orthogonal", np.random.default_rng(0)))
    window = model.training_window(T, 3)
    optimizer = Optimizer(backend, model.params, window.grads, TrainConfig(clip=0.1))
    ids = np.zeros((T, 3), np.int32)
    LAUNCHES.clear()
    window.loss_and_grads(ids, ids, (5, 0))
    optimizer.step(0.01, window.touched)
    model.refresh()
    return LAUNCHES.copy()


@cells
def test_a_training_step_never_waits_and_launches_few_kernels(gpu, cell):
    """Each further time step costs four launches a layer, and the rest stays as it is."""
    backend = gpu(np.float32)
    backend.xp.copies = 0
    few, many = (step_of_training(backend, cell, T) for T in (4, 10))
    assert backend.xp.copies == 0
    kernels = {f"{cell}_forward": 12, f"{cell}_backward": 12, "gemm": 24}
    assert many - few == kernels
    assert few["cross_entropy"] == few["update_adam"] == few["sum_of_squares"] == 1
    assert few["dropout"] == 6  # of the embedding, the first layer and the last; back again
    assert few["exp"] == few["sqrt"] - 1 == few["tanh"] == 0  # the norm of the gradients


def test_nothing_is_copied_to_the_device_in_a_way_that_may_wait(gpu, monkeypatch):
    """CuPy's ``set`` reads the host's own memory, for which CUDA may wait for all before it."""
    monkeypatch.setattr(DeviceArray, "set", lambda *_: pytest.fail("set"))
    assert step_of_training(gpu(np.float32), "gru", 4)["gru_forward"] == 8


def test_a_kernel_is_made_once_and_only_if_it_is_launched(gpu, monkeypatch):
    backend, made = gpu(np.float32), []
    make = backend.xp.RawKernel
    monkeypatch.setattr(
        backend.xp, "RawKernel", lambda text, name: made.append(name) or make(text, name)
    )
    for _ in range(2):
        ScanCase.make("gru", 1, 1, 2).run(backend, "gru", reverse=False, strided=False)
    assert made == ["gru_forward", "gru_backward"]


def test_the_kernels_of_a_cell_are_compiled_before_the_first_step_and_once(gpu, monkeypatch):
    """CuPy forgets what it has when it is told to compile again."""
    compiled: list[str] = []
    backend, make = gpu(np.float32), RawKernel.__init__

    def spy(kernel: Any, text: str, name: str) -> None:
        make(kernel, text, name)
        kernel.compile = lambda: compiled.append(name)

    monkeypatch.setattr(RawKernel, "__init__", spy)
    LAUNCHES.clear()
    Model(model_config("gru", layers=3), backend).window(1, 1)
    assert compiled == ["gru_forward", "gru_backward"]
    assert LAUNCHES["gru_forward"] == 0


def test_what_has_no_kernel_is_the_reference(gpu):
    assert gpu(np.float32).kernel("unheard of", random) is random
