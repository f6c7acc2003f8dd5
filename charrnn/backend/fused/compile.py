"""From the kernels' code to functions that Python can call, kept on disk between runs."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import stat
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np

#: A compiled function of addresses and integers. While it runs, so may Python's other threads.
Function = Callable[..., None]

#: Depth, and rows of the result, of the blocks that ``products.py`` cuts operands to: they fit
#: into the cache.
DEPTH, ROWS = 256, 448


class Shape(NamedTuple):
    """What the vector registers of a machine hold: the sizes that kernels are cut to."""

    dtype: np.dtype[Any]
    width: int
    """Elements of a vector."""
    rows: int
    """Rows of the largest tile of a matrix product, no more than ``width`` ..."""
    vectors: int
    """... and its vectors side by side: rows x vectors registers add up products."""

    @property
    def panel(self) -> int:
        """Columns of a tile."""
        return self.width * self.vectors

    @classmethod
    def of_host(cls, dtype: np.dtype[Any]) -> Shape:
        """The one for this processor."""
        features = llvm.get_host_cpu_features()
        if features.get("avx512f"):
            size, registers = 64, 32
        elif features.get("avx"):
            size, registers = 32, 16
        else:
            size, registers = 16, 32 if "neon" in features else 16
        width = size // dtype.itemsize
        return cls(dtype, width, min(width, registers // 2 - 2), 2)


def address(array: np.ndarray[Any, Any]) -> int:
    """Where an array, which must be contiguous, begins."""
    assert array.flags.c_contiguous
    place: int = array.ctypes.data
    return place


def call(function: Function, *arguments: Any) -> None:
    """Call with the addresses of arrays; None is 0."""
    function(
        *(address(a) if isinstance(a, np.ndarray) else 0 if a is None else a for a in arguments)
    )


@functools.cache
def _machine() -> Any:
    """LLVM's view of this processor."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # Vectors as wide as the kernels are written: some processors' defaults would halve them.
    features = llvm.get_host_cpu_features().flatten() + ",-prefer-256-bit"
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, jit=True
    )


@functools.cache
def _engine() -> Any:
    return llvm.create_lljit_compiler(_machine())


@functools.cache
def _sources() -> bytes:
    """A digest of everything but the kernel itself that the compiled code depends on."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    host = (llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())
    digest.update(repr((host, llvm.llvm_version_info)).encode())
    return digest.digest()


def functions(
    name: str,
    signatures: dict[str, int],
    build: Callable[[], str],
    identity: object,
    announce: Callable[[], None],
    imports: dict[str, Function],
) -> dict[str, Function]:
    """The functions of a module, from disk or compiled.

    ``signatures``: how many arguments each takes. ``build`` gives the module in LLVM's language;
    ``identity`` is what it depends on beside the sources of this folder. ``announce`` is called
    before a compilation, which takes about a second.
    """
    digest = hashlib.sha256(_sources() + repr((name, identity)).encode()).hexdigest()
    path = cache_folder() / f"{name}-{digest[:32]}.o"
    code = _load(path)
    if code is None:
        announce()
        code = _compiled(build())
        _store(path, code)
    library = llvm.JITLibraryBuilder().add_object_img(code)
    for function in signatures:
        library.export_symbol(function)
    for function, imported in imports.items():
        library.import_symbol(function, ctypes.cast(imported, ctypes.c_void_p).value)  # type: ignore[arg-type]
    with _linking:
        name = f"{name}-{len(_trackers)}"  # the linker wants another one each time
        tracker = library.add_current_process().link(_engine(), name)
        _trackers.append(tracker)
    return {
        function: ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * count)(tracker[function])
        for function, count in signatures.items()
    }


#: Code lives as long as its tracker.
_trackers: list[Any] = []
_linking = threading.Lock()


def _compiled(text: str) -> bytes:
    module = llvm.parse_assembly(text)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    builder = llvm.create_pass_builder(_machine(), options)
    builder.getModulePassManager().run(module, builder)
    code: bytes = _machine().emit_object(module)
    return code


def cache_folder() -> Path:
    """Where compiled kernels are kept: ``$CHARRNN_CACHE``, or ``charrnn`` in the user's cache."""
    if named := os.environ.get("CHARRNN_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(base) / "charrnn"


def _load(path: Path) -> bytes | None:
    """The code in a file that nobody else can have written, whole; None: there is none."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if hasattr(os, "getuid") and (
                found.st_uid not in (os.getuid(), 0)
                or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            ):
                return None
            digest, code = file.read(32), file.read()
    except OSError:
        return None
    return code if hashlib.sha256(code).digest() == digest else None


def _store(path: Path, code: bytes) -> None:
    """Write a file for ``_load``; where that is not possible, there is none."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            try:
                file.write(hashlib.sha256(code).digest() + code)
                file.close()
                os.replace(file.name, path)  # noqa: PTH105
            except BaseException:
                os.unlink(file.name)  # noqa: PTH108
                raise
