"""Code laid into memory without LLVM: as LLVM's own linker does it, or not at all."""

from __future__ import annotations

import ctypes
import math
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.backend.fused import compiler, linker

#: A constant, tables of addresses, functions of its own, of the C library and of another module.
_MODULE = """
@names = internal constant [2 x ptr] [ptr @one, ptr @two]
@weights = constant [4 x double] [double 1.5, double 2.5, double 3.5, double 4.5], align 64
@ends = internal constant [2 x ptr] [
  ptr getelementptr (i8, ptr @weights, i64 -8), ptr getelementptr (i8, ptr @weights, i64 32)
]

declare double @log(double)
declare void @elsewhere(i64, i64)

define internal double @one() noinline optnone { ret double 1.25 }
define internal double @two() noinline optnone { ret double 2.25 }

define void @weigh(i64 %place, i64 %index) {
  %to = inttoptr i64 %place to ptr
  %at = getelementptr [4 x double], ptr @weights, i64 0, i64 %index
  %weight = load double, ptr %at
  %half = and i64 %index, 1
  %slot = getelementptr [2 x ptr], ptr @names, i64 0, i64 %half
  %function = load ptr, ptr %slot
  %part = call double %function()
  %logarithm = call double @log(double %weight)
  %sum = fadd double %part, %logarithm
  store double %sum, ptr %to
  ret void
}

define void @show(i64 %place, i64 %index) {
  %to = inttoptr i64 %place to ptr
  %slot = getelementptr [2 x ptr], ptr @ends, i64 0, i64 %index
  %end = load i64, ptr %slot
  store i64 %end, ptr %to
  ret void
}

define void @pass_on(i64 %place, i64 %index) {
  %next = add i64 %index, 1
  call void @elsewhere(i64 %place, i64 %next)
  ret void
}
"""
_TWO = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)

only_elf = pytest.mark.skipif(
    not compiler.compiled(_MODULE).startswith(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\1\0\x3e\0"),
    reason="object files are of another form on this machine",
)


@pytest.fixture(scope="module")
def code() -> bytes:
    return compiler.compiled(_MODULE)


@pytest.fixture
def told() -> list[tuple[int, int]]:
    return []


@pytest.fixture
def elsewhere(told) -> Any:
    """A function for the module to call."""
    return _TWO(lambda *arguments: told.append(arguments))


def place_of(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@pytest.mark.parametrize("by", ["us", "LLVM"])
@only_elf
def test_functions_find_their_constants_and_each_other(code, told, elsewhere, by):
    imports = {"elsewhere": place_of(elsewhere)}
    names = ["weigh", "pass_on"]
    found = (
        linker.link(code, imports) if by == "us" else compiler.link("linked", code, names, imports)
    )
    assert found is not None
    weigh, pass_on = (_TWO(found[name]) for name in names)
    result = np.zeros(1)
    for index, weight in enumerate([1.5, 2.5, 3.5, 4.5]):
        weigh(result.ctypes.data, index)
        assert result[0] == 1.25 + index % 2 + math.log(weight)
    pass_on(7, 41)
    assert told == [(7, 42)]


@only_elf
def test_addresses_may_be_those_of_places_before_and_behind(code, elsewhere):
    found = linker.link(code, {"elsewhere": place_of(elsewhere)})
    assert found is not None
    assert found["weights"] % 64 == 0
    ends = np.zeros(2, np.int64)
    for index in range(2):
        _TWO(found["show"])(ends[index:].ctypes.data, index)
    assert (ends - found["weights"]).tolist() == [-8, 32]


@only_elf
def test_the_functions_of_a_module_come_before_those_of_the_process(code, elsewhere):
    seven = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(lambda value: 7.0)
    found = linker.link(code, {"elsewhere": place_of(elsewhere), "log": place_of(seven)})
    assert found is not None
    result = np.zeros(1)
    _TWO(found["weigh"])(result.ctypes.data, 0)
    assert result[0] == 8.25


@only_elf
def test_code_in_memory_cannot_be_changed(code, elsewhere):
    found = linker.link(code, {"elsewhere": place_of(elsewhere)})
    assert found is not None
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        bounds, rights = line.split()[:2]
        start, end = (int(bound, 16) for bound in bounds.split("-"))
        if start <= found["weigh"] < end:
            assert rights == "r-xp"
            return
    pytest.fail("not in memory")


def changed(code: bytes, form: str, place: int, value: int) -> bytes:
    content = bytearray(code)
    struct.pack_into(form, content, place, value)
    return bytes(content)


def relocation(code: bytes) -> int:
    """Where the first of the code's relocations is."""
    sections = linker.sections_of(code)
    return next(s.offset for s in sections if s.kind == 4 and sections[s.info].kind == 1)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda code: b"\xcf\xfa\xed\xfe" + code[4:],
        lambda code: changed(code, "<B", 4, 1),
        lambda code: changed(code, "<B", 5, 2),
        lambda code: changed(code, "<H", 16, 3),
        lambda code: changed(code, "<H", 18, 183),
        lambda code: changed(code, "<I", relocation(code) + 8, 0x101),
    ],
    ids=[
        *["Mach-O", "32 bits", "big-endian", "a shared library", "for ARM"],
        "another kind of relocation",
    ],
)
@only_elf
def test_other_forms_are_left_to_llvm(code, elsewhere, spoil):
    imports = {"elsewhere": place_of(elsewhere)}
    assert linker.link(code, imports) is not None
    assert linker.link(spoil(code), imports) is None


@only_elf
def test_other_systems_are_left_to_llvm(code, elsewhere, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert linker.link(code, {"elsewhere": place_of(elsewhere)}) is None


@only_elf
def test_what_nobody_has_is_left_to_llvm(code):
    assert linker.link(code, {}) is None


@only_elf
def test_what_is_all_zero_at_first_is_left_to_llvm():
    """It has no content; not even if the C library has something of that name."""
    text = """
    @stdout = global i64 0
    define void @count(i64 %by) {
      %before = load i64, ptr @stdout
      %after = add i64 %before, %by
      store i64 %after, ptr @stdout
      ret void
    }
    """
    assert linker.link(compiler.compiled(text), {}) is None


@only_elf
def test_other_tables_are_not_taken_for_relocations(code, elsewhere):
    """That of symbols has a number where theirs is the section they are for."""
    imports = {"elsewhere": place_of(elsewhere)}
    sections = linker.sections_of(code)
    content = next(n for n, s in enumerate(sections) if s.kind == 1 and s.size)
    symbols = next(n for n, s in enumerate(sections) if s.kind == 2)
    (table,) = struct.unpack_from("<Q", code, 40)
    other = changed(code, "<I", table + 64 * symbols + 44, content)
    assert linker.sections_of(other)[symbols].info == content
    assert linker.link(other, imports) is not None


@only_elf
def test_code_stays_in_memory_when_python_takes_its_modules_apart():
    """At its end, while a daemon thread may be in there."""
    code = """if True:
        import ctypes, gc
        from charrnn.backend.fused import compiler, linker
        found = linker.link(compiler.compiled("define i64 @seven() { ret i64 7 }"), {})
        vars(linker).clear()
        gc.collect()
        print(ctypes.CFUNCTYPE(ctypes.c_int64)(found["seven"])())
    """
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout == "7\n"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is asked for elsewhere")
def test_memory_that_may_not_be_executable_is_an_error():
    with pytest.raises(OSError, match="no executable memory: Invalid argument"):
        linker.make_executable(1, 4096)
