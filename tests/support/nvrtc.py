"""NVIDIA's compiler as CuPy uses it, from its wheel (``charrnn[nvrtc]``). It needs no device."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest


def _library() -> Path | None:
    try:
        spec = importlib.util.find_spec("nvidia.cuda_nvrtc")
    except ModuleNotFoundError:
        return None
    folders = spec.submodule_search_locations if spec else None
    return next((p for f in folders or () for p in Path(f, "lib").glob("libnvrtc.so.*")), None)


LIBRARY = _library()
needs_nvrtc = pytest.mark.skipif(LIBRARY is None, reason="needs NVRTC: charrnn[nvrtc]")


class Compiled(NamedTuple):
    """What became of a kernel."""

    ptx: str
    registers: int
    spilled: int
    """Bytes."""
    stack: int
    """Bytes."""


@functools.cache
def _nvrtc() -> Any:
    return ctypes.CDLL(str(LIBRARY))


def compiled(text: str, architecture: str) -> Compiled:
    """``text`` for a device such as ``sm_80``; raises ``AssertionError`` with the errors."""
    nvrtc, program = _nvrtc(), ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None)
    try:
        options = [b"--std=c++14", f"--gpu-architecture={architecture}".encode(), b"-Xptxas=-v"]
        status = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * 3)(*options))
        log = _text(program, "ProgramLog")
        assert status == 0, log
        ptx = _text(program, "PTX")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    spilled = [int(n) for n in re.findall(r"(\d+) bytes spill", log)]
    [stack], [registers] = (
        re.findall(pattern, log) for pattern in (r"(\d+) bytes stack frame", r"Used (\d+) reg")
    )
    assert len(spilled) == 2, log
    return Compiled(ptx, int(registers), sum(spilled), int(stack))


def _text(program: ctypes.c_void_p, what: str) -> str:
    size = ctypes.c_size_t()
    getattr(_nvrtc(), f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    room = ctypes.create_string_buffer(size.value)
    getattr(_nvrtc(), f"nvrtcGet{what}")(program, room)
    return room.value.decode()
