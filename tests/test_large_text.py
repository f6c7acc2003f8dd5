"""Texts larger than the memory that reading them may take."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.shell import TALES

#: ``python -m charrnn`` that ends by saying the most memory it had resident, in kB.
CHARRNN = """
import atexit, pathlib, runpy
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: print(status.read_text()))
runpy.run_module("charrnn", run_name="__main__", alter_sys=True)
"""


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="says what was resident"),
]


def peak(*arguments: object) -> int:
    """Megabytes resident at the peak of a command."""
    command = [sys.executable, "-c", CHARRNN, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    [found] = re.findall(r"^VmHWM:\s+(\d+) kB$", ran.stdout, re.MULTILINE)
    return int(found) // 1000


@contextmanager
def text_of(size: int, text: bytes, folder: Path) -> Iterator[Path]:
    """A file of so many bytes, ``text`` again and again; pytest would keep it for a while."""
    path = folder / f"{size}.txt"
    with path.open("wb") as file:
        for _ in range(size // len(text)):
            file.write(text)
        file.write(text[: size % len(text)])
    yield path
    path.unlink()


def test_memory_of_training_does_not_grow_with_the_text(tmp_path):
    def peak_of_training(size: int) -> int:
        with text_of(size, TALES.read_bytes(), tmp_path) as text:
            return peak(
                *("train", text, "-o", tmp_path / f"run-{size}", "--evals", 1, "--steps", 20),
                *("--hidden", 32, "--batch-size", 16, "--seq-len", 32),
            )

    assert peak_of_training(10**9) < peak_of_training(10**6) + 400


@pytest.mark.parametrize("lanes", [1, 32])
@pytest.mark.parametrize("level, size", [("char", 2 * 10**7), ("word", 5 * 10**8)])
def test_memory_of_scoring_does_not_grow_with_the_text(tmp_path, level, size, lanes):
    """Words are long, so that there are not as many to wait for."""
    words = [f"{n}" * 500 for n in range(40)]
    text = TALES.read_bytes() if level == "char" else " ".join([*words, "\n"]).encode()
    run = tmp_path / "run"
    with text_of(max(10**5, 4 * len(text)), text, tmp_path) as corpus:
        peak(
            *("train", corpus, "-o", run, "--level", level, "--hidden", 8, "--steps", 2),
            *("--batch-size", 2, "--seq-len", 8, "--evals", 1),
        )

    def peak_of_scoring(length: int) -> int:
        with text_of(length, text, tmp_path) as scored:
            return peak("eval", "-m", run, scored, "--lanes", lanes)

    assert peak_of_scoring(size) < peak_of_scoring(2 * 10**6) + 60
