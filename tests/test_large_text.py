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


def peak(*arguments: object, code: int = 0) -> int:
    """Megabytes resident at the peak of a command, which ends with an exit code."""
    command = [sys.executable, "-c", CHARRNN, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == code, ran.stderr
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


#: Words are long, so that there are not as many to wait for.
WORDS = " ".join(f"{n}" * 500 for n in range(40)).encode() + b" "


@pytest.mark.parametrize(
    "level, size, text",
    [
        pytest.param("char", 10**9, TALES.read_bytes(), id="char"),
        pytest.param("char", 10**9, TALES.read_bytes().replace(b"\n", b" "), id="char-one-line"),
        pytest.param("word", 2 * 10**8, WORDS, id="word-one-line"),
        pytest.param("word", 2 * 10**8, WORDS.replace(b" ", b'":"'), id="word-one-line-no-space"),
    ],
)
def test_memory_of_training_does_not_grow_with_the_text(tmp_path, level, size, text):
    def peak_of_training(length: int) -> int:
        with text_of(length, text, tmp_path) as corpus:
            return peak(
                *("train", corpus, "-o", tmp_path / f"run-{length}", "--evals", 1, "--steps", 20),
                *("--level", level, "--hidden", 32, "--batch-size", 4, "--seq-len", 32),
            )

    assert peak_of_training(size) < peak_of_training(10**6) + 100


def test_a_word_without_end_is_not_waited_for(tmp_path):
    word = b"x" * 10**6
    with text_of(10**9, word, tmp_path) as corpus:
        options = ["--level", "word", "--steps", 1, "-o", tmp_path / "run"]
        used = peak("train", corpus, *options, code=65)
    with text_of(2 * 10**6, word, tmp_path) as corpus:
        assert used < peak("train", corpus, *options, code=65) + 20
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("lanes", [1, 32])
@pytest.mark.parametrize("level, size", [("char", 2 * 10**7), ("word", 5 * 10**8)])
def test_memory_of_scoring_does_not_grow_with_the_text(tmp_path, level, size, lanes):
    text = TALES.read_bytes() if level == "char" else WORDS + b"\n"
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
