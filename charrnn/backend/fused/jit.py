"""From the kernels' code to functions that Python can call, kept on disk between runs."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from charrnn import __version__

#: A compiled function of addresses and integers: from ctypes, so that while it runs Python's
#: other threads may.
Function = Any


def address(array: np.ndarray[Any, Any]) -> int:
    """Where an array begins; raises ``ValueError`` where its elements do not lie in order."""
    if not array.flags.c_contiguous:
        raise ValueError("an array for a kernel must be contiguous")
    place: int = array.ctypes.data
    return place


def processor() -> str:
    """LLVM's name for the processor at hand."""
    name: str = llvm.get_host_cpu_name()
    return name


@functools.cache
def _machine() -> Any:
    """LLVM's view of this processor."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    flags = features.flatten()
    if features.get("avx512f"):
        flags += ",-prefer-256-bit"  # or some processors would halve the kernels' vectors
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=flags, opt=3, jit=True
    )


@functools.cache
def _engine() -> Any:
    return llvm.create_lljit_compiler(_machine())


@functools.cache
def _surroundings() -> bytes:
    """A digest of all that compiled code depends on, but for the kernel itself."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    host = (llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())
    versions = (__version__, llvm.llvm_version_info, llvm.get_default_triple())
    digest.update(repr((host, versions)).encode())
    return digest.digest()


def functions(
    name: str,
    signatures: dict[str, int],
    build: Callable[[], str],
    identity: object,
    announce: Callable[[str], None],
    imports: dict[str, Function],
) -> dict[str, Function]:
    """The functions of a module, from disk or compiled.

    ``signatures``: how many arguments each takes. ``build`` gives the module in LLVM's language;
    ``identity`` is what it depends on beside the sources of this folder. ``announce`` is told
    before a compilation, which takes about a second. ``imports`` are functions of other modules
    that it calls.
    """
    digest = hashlib.sha256(_surroundings() + repr((name, identity)).encode()).hexdigest()
    places = {n: ctypes.cast(f, ctypes.c_void_p).value or 0 for n, f in imports.items()}
    key = (digest, *places.values())
    with _linking:
        if key not in _linked:
            code = _code(f"{name}-{digest[:32]}.o", build, announce)
            _linked[key] = _link(f"{name}-{len(_linked)}", code, list(signatures), places)
        tracker = _linked[key]
    return {
        function: ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * count)(tracker[function])
        for function, count in signatures.items()
    }


#: Modules that are in memory, with the trackers that keep them there.
_linked: dict[Any, Any] = {}
_linking = threading.Lock()


def _link(library: str, code: bytes, names: list[str], imports: dict[str, int]) -> Any:
    builder = llvm.JITLibraryBuilder().add_object_img(code)
    for name in names:
        builder.export_symbol(name)
    for name, place in imports.items():
        builder.import_symbol(name, place)
    return builder.add_current_process().link(_engine(), library)


def _code(name: str, build: Callable[[], str], announce: Callable[[str], None]) -> bytes:
    """A module's code, from the file of that name if there is one."""
    folder = cache_folder()
    code = _load(folder / name) if folder else None
    if code is None:
        announce("compiling kernels for this processor" + (f", kept in {folder}" if folder else ""))
        code = _compiled(build())
        if folder:
            _store(folder / name, code, announce)
    return code


def _compiled(text: str) -> bytes:
    module = llvm.parse_assembly(text)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    builder = llvm.create_pass_builder(_machine(), options)
    builder.getModulePassManager().run(module, builder)
    code: bytes = _machine().emit_object(module)
    return code


def cache_folder() -> Path | None:
    """Where compiled kernels are kept: ``$CHARRNN_CACHE``, or ``charrnn`` in the user's cache.

    None where that is no absolute path: for a user without a home there is no such place.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    folder = Path(os.environ.get("CHARRNN_CACHE") or Path(base) / "charrnn")
    return folder if folder.is_absolute() else None


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


def _store(path: Path, code: bytes, announce: Callable[[str], None]) -> None:
    """Write a file for ``_load``, or say why not."""
    import tempfile  # loads what is not needed once kernels are kept

    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            try:
                file.write(hashlib.sha256(code).digest() + code)
                file.close()
                os.replace(file.name, path)  # noqa: PTH105
            except BaseException:
                os.unlink(file.name)  # noqa: PTH108
                raise
    except OSError as error:
        reason = error.strerror or str(error)
        announce(f"kernels cannot be kept in {path.parent}: {reason}; set CHARRNN_CACHE")
