"""The array library behind the core, and its choice."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from charrnn.backend.base import Array, Backend, Weight
from charrnn.backend.numpy_backend import NumpyBackend
from charrnn.errors import DeviceUnavailableError, UsageError

__all__ = ["Array", "Backend", "NumpyBackend", "Weight", "select_backend"]


def select_backend(
    device: str = "auto",
    threads: int | None = None,
    announce: Callable[[str], None] = lambda message: None,
    precision: str = "fp32",
) -> tuple[Backend, str]:
    """The backend for ``auto``, ``cpu``, ``gpu`` or ``gpu:K``, and a note on a fallback, or "".

    ``auto`` takes the first GPU where CuPy is installed and finds one, else the CPU. ``threads``
    of the CPU, by default one for each processor. ``announce`` is told when kernels have to be
    compiled, which takes a second. ``precision`` of matrix products, one of ``config.PRECISIONS``:
    any but fp32 asks for a GPU. Raises ``UsageError`` for another word, or such a precision of the
    CPU, and ``DeviceUnavailableError`` when a GPU is asked for and not available.
    """
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "gpu") or (
        device != kind and not (kind == "gpu" and index.isdecimal())
    ):
        raise UsageError("invalid value", f"--device {device}", "use auto, cpu, gpu or gpu:K")
    if precision != "fp32":
        if kind == "cpu":
            where = f"--precision {precision} with --device cpu"
            raise UsageError("invalid value", where, "a CPU computes in fp32")
        kind = "gpu"
    if kind == "cpu" or (kind == "auto" and importlib.util.find_spec("cupy") is None):
        return _cpu(threads, announce)
    from charrnn.backend.cupy_backend import CupyBackend

    try:
        return CupyBackend(int(index or 0), precision=precision, announce=announce), ""
    except DeviceUnavailableError as error:
        if kind == "gpu":
            raise
        backend, note = _cpu(threads, announce)
        reason = f"on the CPU: {error.what}" + (f" ({error.where})" if error.where else "")
        return backend, "; ".join(filter(None, [reason, note]))


def _cpu(threads: int | None, announce: Callable[[str], None]) -> tuple[Backend, str]:
    try:
        from charrnn.backend.fused import FusedBackend

        return FusedBackend(threads=threads, announce=announce), ""
    except Exception as error:  # llvmlite is missing, or cannot work on this machine
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        return NumpyBackend(), f"on NumPy, several times slower; no compiled kernels: {reason}"
