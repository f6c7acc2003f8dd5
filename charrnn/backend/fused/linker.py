"""An object file laid into memory without LLVM, whose own linker takes 50 ms to load.

Of the forms that object files have it knows the one that LLVM gives a just-in-time compiler on
Linux: ELF for x86-64 in which every reference is a 64-bit address (System V ABI, AMD64 supplement,
the large code model). Others are for LLVM.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

_MAGIC = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian
_FORM = 1, 62  # relocatable, for x86-64
#: Kinds of section: what is laid down, the table of symbols, the relocations of another section.
_CONTENT, _SYMBOLS, _RELOCATIONS = 1, 2, 4
_ELSEWHERE = 0  # the section of a symbol that is not in the file
_ADDRESS = 1  # the one kind of relocation: 64 bits, symbol + addend


class Section(NamedTuple):
    """A line of the table of sections."""

    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry: int

    def of(self, code: bytes) -> bytes:
        return code[self.offset : self.offset + self.size]


def link(code: bytes, imports: dict[str, int]) -> dict[str, int] | None:
    """Addresses of its functions by name; None: it is of another form, or needs what is not here.

    ``imports`` are the addresses of functions that it calls; others are looked for in this
    process. Raises ``OSError`` where there may be no executable memory.
    """
    if sys.platform != "linux" or not code.startswith(_MAGIC):
        return None
    if struct.unpack_from("<HH", code, 16) != _FORM:
        return None
    sections = sections_of(code)
    places, size = _places(sections)
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held = (ctypes.c_char * size).from_buffer(memory)
    base = ctypes.addressof(held)
    for number, place in places.items():
        memory[place : place + sections[number].size] = sections[number].of(code)

    functions: dict[str, int] = {}
    addresses: list[int] = []  # of symbols, 0 where there is none
    for name, number, value in _symbols(code, sections):
        if number in places:
            functions[name] = base + places[number] + value
            addresses.append(functions[name])
        else:
            found = imports.get(name) or _in_process(name) if number == _ELSEWHERE else 0
            addresses.append(found)
    for section in sections:
        if section.kind == _RELOCATIONS and section.info in places:
            for offset, info, addend in struct.iter_unpack("<QQq", section.of(code)):
                symbol, kind = addresses[info >> 32], info & 0xFFFFFFFF
                if kind != _ADDRESS or not symbol:
                    return None
                struct.pack_into("<Q", memory, places[section.info] + offset, symbol + addend)
    make_executable(base, size)
    # It stays until the process ends: a daemon thread may be in there when Python's objects go.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))
    return functions


def sections_of(code: bytes) -> list[Section]:
    """Of an ELF file of 64 bits."""
    (start,), (count,) = struct.unpack_from("<Q", code, 40), struct.unpack_from("<H", code, 60)
    table = code[start : start + 64 * count]
    return [Section(*line) for line in struct.iter_unpack("<IIQQQQIIQQ", table)]


def _places(sections: list[Section]) -> tuple[dict[int, int], int]:
    """Where the sections with content lie, by number, and how long all of them are."""
    places, end = {}, 0
    for number, section in enumerate(sections):
        if section.kind == _CONTENT:
            places[number] = -(-end // section.align) * section.align
            end = places[number] + section.size
    return places, end


def _symbols(code: bytes, sections: list[Section]) -> Iterator[tuple[str, int, int]]:
    """Of each symbol its name, the number of its section, and where it is in there."""
    [table] = (section for section in sections if section.kind == _SYMBOLS)
    names = sections[table.link].of(code)
    for offset, _, _, number, value, _ in struct.iter_unpack("<IBBHQQ", table.of(code)):
        yield names[offset : names.index(b"\0", offset)].decode(), number, value


def _in_process(name: str) -> int:
    """The address of a function of the C library; 0: there is none of that name."""
    try:
        function = ctypes.CDLL(None)[name]
    except AttributeError:
        return 0
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def make_executable(base: int, size: int) -> None:
    """No longer writable from now on."""
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if protect(base, size, mmap.PROT_READ | mmap.PROT_EXEC):
        error = ctypes.get_errno()
        raise OSError(error, f"no executable memory: {os.strerror(error)}")
