"""Checkpoints: every bit flipped, cut at every length, headers and metadata mutated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from charrnn.checkpoint import load
from charrnn.errors import DataError
from tests.golden.make_checkpoint import golden
from tests.support.mutations import judge, mutations
from tests.torture.section import Setting


def _refused(path: Path, data: bytes, what: str) -> str:
    path.write_bytes(data)
    try:
        load(path)
    except DataError:
        return ""
    except Exception as error:
        return f"{what}: {type(error).__name__}: {error}"
    return f"{what} was not noticed"


def _bits(setting: Setting) -> Iterator[str]:
    for level in ("char", "word"):
        raw = bytearray(golden(2, level).read_bytes())
        for position in range(len(raw)):
            for bit in range(8):
                raw[position] ^= 1 << bit
                yield _refused(setting.folder / "a", raw, f"{level}, byte {position}, bit {bit}")
                raw[position] ^= 1 << bit


def _lengths(setting: Setting) -> Iterator[str]:
    for level in ("char", "word"):
        raw = golden(2, level).read_bytes()
        for length in range(len(raw)):
            yield _refused(setting.folder / "a", raw[:length], f"{level}, cut at {length}")


def _mutations(setting: Setting) -> Iterator[str]:
    for what, raw in mutations(setting.seed, setting.count(100_000)):
        try:
            judge(raw, setting.folder / "a.safetensors")
            yield ""
        except Exception as error:
            yield f"{what}: {type(error).__name__}: {error}"


SECTIONS = (
    ("bits", "each bit of a checkpoint flipped", _bits),
    ("lengths", "a checkpoint cut at each length", _lengths),
    ("mutations", "headers, metadata and data changed, half of them signed", _mutations),
)
