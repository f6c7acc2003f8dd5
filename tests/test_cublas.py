"""Products on a CUDA device: their arguments and precisions, by a stand-in for NVIDIA's library.

It is called as the real one would be, and makes what that documents, on NumPy.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from charrnn.backend.cuda.cublas import PRECISIONS, CublasError
from charrnn.errors import DeviceUnavailableError
from tests.support import cublas_host
from tests.support.cuda_host import needs_compiler
from tests.support.fake_cupy import fake_backend
from tests.support.kernels import ScanCase, assert_close, dtypes, random
from tests.support.stacks import cells
from tests.support.strict_device import LAUNCHES

pytestmark = needs_compiler

precisions = pytest.mark.parametrize("precision", PRECISIONS)

#: Bits of the mantissa, the leading one that is not stored included.
BITS = {"fp32": 24, "tf32": 11, "bf16": 8}


def rounded(x: np.ndarray, precision: str) -> np.ndarray:
    """To so many bits, half way to the even; by another way than the stand-in."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    return np.ldexp(np.rint(np.ldexp(mantissa, BITS[precision])), exponent - BITS[precision])


@dtypes
@pytest.mark.parametrize("M, N, K", [(1, 1, 1), (1, 5, 3), (4, 1, 2), (7, 5, 3), (0, 3, 2)])
@pytest.mark.parametrize("turned", [*itertools.product([False, True], repeat=2)], ids=str)
@pytest.mark.parametrize("add", [False, True])
def test_every_product_there_is(dtype, M, N, K, turned, add):
    backend = fake_backend(dtype)
    a, b, start = random(dtype, M, K), random(dtype, K, N), random(dtype, M, N)
    given = [
        backend.to_device(np.ascontiguousarray(x.T if t else x))
        for x, t in zip((a, b), turned, strict=True)
    ]
    out = backend.to_device(start if add else np.full_like(start, np.nan))
    backend._cublas.multiply(*given, out, backend._exact, transposed=turned, add=add)
    assert_close(backend.to_host(out), a @ b + (start if add else 0), K * 4)


def test_rows_that_do_not_follow_each_other():
    backend, x, w = fake_backend(), random(np.float32, 6, 8), random(np.float32, 3, 4)
    weight, out = backend.weight(backend.to_device(w), backward=False), backend.empty((3, 3))
    backend.linear(backend.to_device(x)[::2, 4:], weight, out)
    assert_close(backend.to_host(out), x[::2, 4:] @ w.T, 10)
    with pytest.raises(ValueError, match="contiguous rows"):
        backend.linear(backend.to_device(x)[:3, ::2], weight, out)


@precisions
def test_what_is_multiplied_is_rounded_and_nothing_else(precision):
    """Of a weight its copy alone; bias and sums are exact."""
    backend = fake_backend(precision=precision)
    x, w, dy = random(np.float32, 9, 7), random(np.float32, 5, 7), random(np.float32, 9, 5)
    bias = random(np.float32, 5)
    weight = backend.weight(backend.zeros((5, 7)), backward=True)
    backend.to_device(w, out=weight.array)
    weight.refresh()
    y, dx, dw, db = (backend.empty(shape) for shape in ((9, 5), (9, 7), (5, 7), (5,)))
    backend.linear(backend.to_device(x), weight, y, backend.to_device(bias))
    backend.linear_backward(backend.to_device(dy), weight, dx)
    backend.linear_gradient(backend.to_device(dy), backend.to_device(x), dw, db)
    rx, rw, rdy = (rounded(a, precision) for a in (x, w, dy))
    expected = (rx @ rw.T + bias, rdy @ rw, rdy.T @ rx, dy.sum(axis=0, dtype=np.float64), w)
    for found, value in zip((y, dx, dw, db, weight.array), expected, strict=True):
        assert_close(backend.to_host(found), value, 30)
    plain = x.astype(np.float64) @ w.T.astype(np.float64) + bias
    error = np.abs(backend.to_host(y) - plain).max() * 2 ** BITS[precision]
    assert 0.05 < error < 20, "as large as such numbers make it"


def test_double_precision_has_no_choice():
    backend = fake_backend(np.float64, precision="bf16")
    x, out = random(np.float64, 2, 3), backend.empty((2, 2))
    weight = backend.weight(backend.to_device(x), backward=False)
    backend.linear(backend.to_device(x), weight, out)
    assert_close(backend.to_host(out), x @ x.T, 10)


NUMBERS = [0.0, -0.0, 1.0, -1.5, 1e-45, -1e-40, 3.4e38, -3.4e38, np.inf, -np.inf, np.nan]
#: On either side of half way between two of its numbers, and there, to an even one below and above.
HALVES = [0x3F808000, 0x3F808001, 0x3F807FFF, 0x3F818000, 0x3F817FFF, 0x3F818001, 0x7F7FFFFF]


def test_bfloat16_is_the_nearest_there_is():
    backend = fake_backend()
    x = np.concatenate([
        np.array(NUMBERS, np.float32), np.array(HALVES, np.uint32).view(np.float32),
        random(np.float32, 500),
    ])  # fmt: skip
    bits = backend.to_host(fake_backend(precision="bf16").operand(backend.to_device(x)))
    found = (bits.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(all="ignore"):
        expected = rounded(x, "bf16")
    largest = float(np.uint32(0x7F7F0000).view(np.float32))
    expected = np.where(np.abs(expected) > largest, np.copysign(np.inf, x), expected)
    tiny = np.abs(x) < 1e-37  # has fewer bits
    np.testing.assert_array_equal(found[~tiny], expected.astype(np.float32)[~tiny])
    np.testing.assert_allclose(found[tiny], x[tiny], atol=2.0**-133 / 2 * 1.001)


@precisions
def test_a_product_is_one_launch_and_in_bfloat16_one_more(precision):
    backend = fake_backend(precision=precision)
    weight = backend.weight(backend.zeros((3, 2)), backward=False)
    x, out = backend.zeros((4, 2)), backend.empty((4, 3))
    LAUNCHES.clear()
    backend.linear(x, weight, out)
    assert {"gemm": 1} | ({"round_to_bf16": 1} if precision == "bf16" else {}) == LAUNCHES


@cells
@pytest.mark.parametrize("reverse", [False, True])
def test_a_step_rounds_what_the_next_product_multiplies(cell, reverse):
    """A launch less at each step, and the same to the bit."""
    case, found = ScanCase.make(cell, 4, 3, 130), []
    for rounds in (True, False):
        backend = fake_backend(precision="bf16")
        backend._kernels.rounds = rounds
        LAUNCHES.clear()
        found.append(case.run(backend, cell, reverse, strided=False))
        assert LAUNCHES[f"{cell}_forward_bf16"] == LAUNCHES[f"{cell}_backward_bf16"] == 4 * rounds
        steps = 1 if rounds else 2 * 4  # of the first h alone, or of every step in either direction
        # Two weights; x and the gradients that go back; four factors of two gradients of weights.
        assert LAUNCHES["round_to_bf16"] == 2 + 2 + 4 + steps
    for ours, theirs in zip(*(f.values() for f in found), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_cublas_refuses_is_told():
    backend = fake_backend()
    backend._cublas.handle = 3
    with pytest.raises(CublasError, match="cublasGemmEx: an error"):
        backend.linear_gradient(*(backend.zeros((2, 2)) for _ in range(3)), backend.zeros((2,)))


def test_a_device_without_cublas_does_not_work(monkeypatch):
    monkeypatch.setattr(cublas_host, "MAJOR", 98)
    with pytest.raises(DeviceUnavailableError, match=r"does not work: libcublas\.so\.98"):
        fake_backend()


def test_the_stand_in_is_called_as_the_library_is_declared():
    """A kind of numbers that there is not, or rows that overlap, are refused as they would be."""
    backend, x = fake_backend(), fake_backend().zeros((2, 2))
    fp32, bf16 = PRECISIONS["fp32"], PRECISIONS["bf16"]
    for arithmetic in (fp32._replace(compute=99), bf16._replace(result=1)):
        with pytest.raises(CublasError, match="not supported"):
            backend._cublas.multiply(x, x, x, arithmetic)
    with pytest.raises(AssertionError):
        backend._cublas.multiply(x, backend.zeros((3, 2)), x, PRECISIONS["fp32"])
