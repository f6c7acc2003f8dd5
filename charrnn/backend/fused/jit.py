"""From the kernels' code to functions that Python can call, kept on disk between runs."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import itertools
import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numpy as np

from charrnn import __version__
from charrnn.backend.fused import linker
from charrnn.backend.fused.shape import Host

#: A compiled function of addresses and integers: from ctypes, so that while it runs Python's
#: other threads may.
Function = Any


def address(array: np.ndarray[Any, Any]) -> int:
    """Where an array begins; raises ``ValueError`` where its elements do not lie in order."""
    if not array.flags.c_contiguous:
        raise ValueError("an array for a kernel must be contiguous")
    place: int = array.ctypes.data
    return place


@functools.cache
def _sources() -> bytes:
    """A digest of all that compiled code depends on, but for the processor and the module."""
    system = sys.platform, sys.maxsize  # Python may be of 32 bits where the processor is of 64
    digest = hashlib.sha256(repr((__version__, llvmlite.__version__, system)).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


@functools.cache
def host() -> Host:
    """The processor at hand, as LLVM sees it: one that was seen before without loading LLVM."""
    known, folder = known_to_the_system(), cache_folder()
    digest = hashlib.sha256(_sources() + repr(known).encode()).hexdigest()
    place = folder / f"host-{digest[:32]}" if known and folder else None
    found = _load(place) if place else None
    if found is not None:
        return Host(*found.decode().split("\n"))
    from charrnn.backend.fused import compiler

    seen = compiler.host()
    if place:
        _store(place, "\n".join(seen).encode(), lambda message: None)  # the kernels will say so
    return seen


def known_to_the_system(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """What Linux says of the first x86 processor, less its clock; elsewhere nothing."""
    try:
        with cpuinfo.open(encoding="utf-8", errors="replace") as file:
            lines = [line.partition(":") for line in itertools.takewhile(str.strip, file)]
    except OSError:
        return []
    found = {name.strip(): value.strip() for name, _, value in lines}
    names = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
    return [found[name] for name in names] if found.keys() >= set(names) else []


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
    digest = hashlib.sha256(_sources() + repr((host(), name, identity)).encode()).hexdigest()
    places = {n: ctypes.cast(f, ctypes.c_void_p).value or 0 for n, f in imports.items()}
    key = (digest, *places.values())
    with _linking:
        if key not in _linked:
            code = _code(f"{name}-{digest[:32]}.o", build, announce)
            _linked[key] = _link(f"{name}-{len(_linked)}", code, list(signatures), places)
        addresses = _linked[key]
    return {
        function: ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * count)(addresses[function])
        for function, count in signatures.items()
    }


#: Addresses of the functions of modules that are in memory; those from LLVM keep them there.
_linked: dict[Any, Any] = {}
_linking = threading.Lock()


def _link(library: str, code: bytes, names: list[str], imports: dict[str, int]) -> Any:
    """Addresses of a module's functions, by name."""
    found = linker.link(code, imports)
    if found is None:
        from charrnn.backend.fused import compiler

        return compiler.link(library, code, names, imports)
    return found


def _code(name: str, build: Callable[[], str], announce: Callable[[str], None]) -> bytes:
    """A module's code, from the file of that name if there is one."""
    folder = cache_folder()
    code = _load(folder / name) if folder else None
    if code is None:
        announce("compiling kernels for this processor" + (f", kept in {folder}" if folder else ""))
        from charrnn.backend.fused import compiler

        code = compiler.compiled(build())
        if folder:
            _store(folder / name, code, announce)
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
