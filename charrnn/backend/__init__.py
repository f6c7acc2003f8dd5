"""The array library behind the core, and its choice."""

from __future__ import annotations

import importlib.util

from charrnn.backend.base import Array, Backend
from charrnn.backend.numpy_backend import NumpyBackend
from charrnn.errors import DeviceUnavailableError, UsageError

__all__ = ["Array", "Backend", "NumpyBackend", "select_backend"]


def select_backend(device: str = "auto") -> tuple[Backend, str]:
    """The backend for ``auto``, ``cpu``, ``gpu`` or ``gpu:K``, and a note on a fallback, or "".

    ``auto`` takes the first GPU where CuPy is installed and finds one, else the CPU. Raises
    ``UsageError`` for another word and ``DeviceUnavailableError`` when ``gpu`` is asked for
    and not available.
    """
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "gpu") or (
        device != kind and not (kind == "gpu" and index.isdecimal())
    ):
        raise UsageError("invalid value", f"--device {device}", "use auto, cpu, gpu or gpu:K")
    if kind == "cpu" or (kind == "auto" and importlib.util.find_spec("cupy") is None):
        return NumpyBackend(), ""
    from charrnn.backend.cupy_backend import CupyBackend

    try:
        return CupyBackend(int(index or 0)), ""
    except DeviceUnavailableError as error:
        if kind == "gpu":
            raise
        return NumpyBackend(), f"on the CPU: {error.what} ({error.where})"
