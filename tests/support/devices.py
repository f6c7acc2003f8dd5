"""The GPU that tests run on, which of them do, and arrays of any backend.

A test that is crossed over backends and takes ``GPU`` among them runs on a GPU where pytest is told
``-m gpu``: on a real one, or with ``--gpu stand-in`` on ``fake_cupy.py``, which needs none.
"""

from __future__ import annotations

import functools
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest import mock

import numpy as np
import pytest

from charrnn.backend import Backend
from charrnn.backend.cupy_backend import CupyBackend
from charrnn.errors import DeviceUnavailableError
from tests.support.cuda_host import COMPILER, NO_COMPILER
from tests.support.fake_cupy import FakeCupy, fake_backend
from tests.support.strict_device import DeviceArray

#: The backend of that name, in ``pytest.mark.parametrize``.
GPU = pytest.param("gpu", marks=pytest.mark.gpu)

#: For ``--device``, while the GPU is ``present``.
devices = pytest.mark.parametrize("device", ["cpu", GPU])

#: What ``--gpu`` says: ``real`` or ``stand-in``.
kind = "real"


@functools.cache
def why_not(kind: str) -> str:
    """Why there is no such GPU, or ""."""
    if kind == "stand-in":
        return "" if COMPILER else NO_COMPILER
    try:
        CupyBackend()
    except DeviceUnavailableError as error:
        return str(error)
    return ""


@functools.cache
def gpu(dtype: Any, precision: str = "fp32") -> Backend:
    """The backend of the GPU; made once."""
    make = CupyBackend if kind == "real" else fake_backend
    return make(dtype=dtype, precision=precision)


def present() -> AbstractContextManager[Any]:
    """While it lasts, ``--device gpu`` is the GPU of the tests."""
    return nullcontext() if kind == "real" else mock.patch.dict(sys.modules, cupy=FakeCupy())


def host(array: Any) -> np.ndarray:
    """A copy of an array or a number of any backend."""
    if isinstance(array, DeviceArray):
        return array.array.copy()
    return array.get() if hasattr(array, "get") else np.array(array)


def put(array: Any, values: Any) -> None:
    """Overwrite an array of any backend with numbers of the host's."""
    if isinstance(array, np.ndarray):
        array[...] = values
    else:
        array.set(np.array(np.broadcast_to(values, array.shape), array.dtype, order="C"))
