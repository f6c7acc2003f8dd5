"""A text larger than the memory that training on it may take."""

import re
import subprocess
import sys
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


def peak_of_training(size: int, folder: Path) -> int:
    """Megabytes resident at the peak of a short training on ``size`` bytes."""
    corpus = folder / "corpus.txt"
    tales = TALES.read_bytes()
    with corpus.open("wb") as file:
        for _ in range(size // len(tales)):
            file.write(tales)
        file.write(tales[: size % len(tales)])
    model = ["--hidden", "32", "--batch-size", "16", "--seq-len", "32", "--steps", "20"]
    command = [sys.executable, "-c", CHARRNN, "train", corpus, "-o", folder / "run", "--evals", "1"]
    try:
        ran = subprocess.run([*command, *model], capture_output=True, text=True, check=True)
    finally:
        corpus.unlink()  # pytest keeps folders for a while
    [peak] = re.findall(r"^VmHWM:\s+(\d+) kB$", ran.stdout, re.MULTILINE)
    return int(peak) // 1000


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="says what memory was resident")
def test_memory_does_not_grow_with_the_text(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    large.mkdir()
    assert peak_of_training(10**9, large) < peak_of_training(10**6, small) + 400
