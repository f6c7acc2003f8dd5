"""LLVM, which takes as long to load as a word to complete: imported only where it is needed."""

from __future__ import annotations

import functools
from typing import Any

import llvmlite.binding as llvm

from charrnn.backend.fused.shape import Host


def host() -> Host:
    """The processor at hand."""
    return Host(llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())


@functools.cache
def _machine() -> Any:
    """LLVM's view of this processor."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    found = host()
    features = found.features
    if found.has("avx512f"):
        features += ",-prefer-256-bit"  # or some processors would halve the kernels' vectors
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=found.name, features=features, opt=3, jit=True
    )


@functools.cache
def _engine() -> Any:
    return llvm.create_lljit_compiler(_machine())


def compiled(text: str) -> bytes:
    """The object file of a module in LLVM's language."""
    module = llvm.parse_assembly(text)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    builder = llvm.create_pass_builder(_machine(), options)
    builder.getModulePassManager().run(module, builder)
    code: bytes = _machine().emit_object(module)
    return code


def link(library: str, code: bytes, names: list[str], imports: dict[str, int]) -> Any:
    """Addresses of the functions of an object file of any form, by name.

    They are there as long as what is returned; no two may have the same name ``library``.
    """
    builder = llvm.JITLibraryBuilder().add_object_img(code)
    for name in names:
        builder.export_symbol(name)
    for name, place in imports.items():
        builder.import_symbol(name, place)
    return builder.add_current_process().link(_engine(), library)
