"""The kernels of a CUDA device, through NVIDIA's compiler: for real devices, without one."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import pytest

from tests.support.cuda_host import all_sources
from tests.support.kernels import dtypes
from tests.support.nvrtc import Compiled, compiled, needs_nvrtc

pytestmark = needs_nvrtc

devices = pytest.mark.parametrize("device", ["sm_80", "sm_90"])


@functools.cache
def all_compiled(dtype: Any, device: str) -> dict[str, Compiled]:
    return {source.name: compiled(source.text, device) for source in all_sources(dtype)}


@dtypes
@devices
def test_every_kernel_keeps_its_numbers_in_few_registers(dtype, device):
    """None in memory; up to 64 registers there is room for 1024 threads in a multiprocessor."""
    for name, kernel in all_compiled(dtype, device).items():
        assert (kernel.spilled, kernel.stack) == (0, 0), name
        assert kernel.registers <= 64, name


@devices
def test_kernels_of_float32_compute_in_float32(device):
    """One ``tanh`` of the wrong kind would cost more than all else; a scale comes as a double.

    ``draw`` alone computes in double precision, as ``sampling.pick`` does.
    """
    taken = {"ld.param.f64", "cvt.rn.f32.f64", "setp.eq.f64"}
    for name, kernel in all_compiled(np.float32, device).items():
        if name == "draw":
            continue
        assert set(re.findall(r"^\s+(\w[\w.]*f64)\b", kernel.ptx, re.MULTILINE)) <= taken, name
    assert "fma.rn.f64" in all_compiled(np.float64, device)["lstm_forward"].ptx


def test_an_error_is_told():
    with pytest.raises(AssertionError, match="3 errors detected"):
        compiled("nonsense", "sm_80")
