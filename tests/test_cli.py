"""The command line as a whole: exit codes, one-line errors, what goes to which stream."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn import __version__
from charrnn.cli import COMMANDS
from tests.support.shell import PYTHONPATH, TALES, charrnn, popen

pytestmark = pytest.mark.usefixtures("compiled")

TRAIN = ["train", str(TALES)]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


#: Arguments, exit code and a part of the message; {tmp} is a fresh folder.
BAD = {
    "no such command": (["frobnicate"], 2, "No such command 'frobnicate'"),
    "no such option": ([*TRAIN, "--hiden", "9"], 2, "No such option: --hiden"),
    "no corpus": (["train"], 2, "Missing argument 'CORPUS'"),
    "not a number": ([*TRAIN, "--layers", "two"], 2, "'--layers'"),
    "negative size": ([*TRAIN, "--hidden", "-1"], 2, "--hidden -1; must be from 1 to 65536"),
    "absurd size": ([*TRAIN, "--hidden", "1000000000"], 2, "--hidden 1000000000"),
    "absurd memory": ([*TRAIN, "--hidden", "60000", "--layers", "60"], 71, "not enough memory"),
    "two budgets": ([*TRAIN, "--steps", "3", "--minutes", "1"], 2, "3 steps and 1 minutes"),
    "no time": ([*TRAIN, "--minutes", "0"], 2, "0 minutes"),
    "unknown cell": ([*TRAIN, "--cell", "cnn"], 2, "choose from lstm, gru, rnn"),
    "activation of an LSTM": ([*TRAIN, "--activation", "relu"], 2, "only --cell rnn"),
    "tie of unequal sizes": ([*TRAIN, "--tie", "--embed", "3"], 2, "--embed equal to --hidden"),
    "unknown level": ([*TRAIN, "--level", "byte"], 2, "--level byte; choose from char, word"),
    "words of characters": ([*TRAIN, "--vocab-size", "99"], 2, "--vocab-size; it needs --level"),
    "rare characters": ([*TRAIN, "--min-count", "3"], 2, "--min-count; it needs --level word"),
    "characters and spaces": ([*TRAIN, "--no-pretokenized"], 2, "it needs --level word"),
    "no word": (
        [*TRAIN, "--level", "word", "--vocab-size", "1"],
        2,
        "--vocab-size 1; must be from 2 to 2097152",
    ),
    "seed of many bits": (["sample", "--seed", "-1"], 2, "from 0 to 9223372036854775807"),
    "counted never": ([*TRAIN, "--level", "word", "--min-count", "0"], 2, "--min-count 0"),
    "counted too often": ([*TRAIN, "--level", "word", "--min-count", "99999"], 65, "smaller --min"),
    "one word": (["train", "{tmp}/one.txt", "--level", "word"], 65, "shorter than one window"),
    "both sides of one": ([*TRAIN, "--bidirectional", "--seq-len", "1"], 2, "at least 2"),
    "no such corpus": (["train", "{tmp}/none.txt"], 66, "no such file: {tmp}/none.txt"),
    "empty corpus": (["train", "{tmp}/empty.txt"], 65, "empty file: {tmp}/empty.txt"),
    "short corpus": (["train", "{tmp}/short.txt"], 65, "shorter than one window"),
    "one symbol": (["train", "{tmp}/one.txt"], 65, "single symbol"),
    "invalid UTF-8": (["train", "{tmp}/latin1.txt"], 65, "byte 0xe9 at offset 3"),
    "binary": (["train", "{tmp}/binary.txt"], 65, "binary file"),
    "output under a file": ([*TRAIN, "-o", "{tmp}/one.txt/run"], 73, "cannot create"),
    "no GPU": ([*TRAIN, "--device", "gpu"], 69, "CuPy is not installed"),
    "no model": (["sample", "-m", "{tmp}/none"], 66, "no such checkpoint: {tmp}/none"),
    "no run": (["sample"], 66, "train one: charrnn train TEXT"),
    "text as checkpoint": (["info", "-m", "{tmp}/one.txt"], 65, "not a charrnn checkpoint"),
    "pickle": (["sample", "-m", "{tmp}/model.pkl"], 65, "it is a Python pickle"),
    "torch file": (["sample", "-m", "{tmp}/model.pt"], 65, "it is a zip archive"),
    "empty checkpoint": (["sample", "-m", "{tmp}/empty.txt"], 65, "not a charrnn checkpoint"),
    "text as file name": (["train", "once upon a time " * 50], 66, "no such file: once upon"),
    "escape in a file name": (["train", "\x1b[31mred"], 66, r"no such file: \x1b[31mred"),
    "budgets before files": (["train", "{tmp}/none", "--steps", "1", "--epochs", "1"], 2, "budget"),
    "decay times rate": ([*TRAIN, "--lr", "100", "--weight-decay", "1"], 2, "below 1"),
    "negative length": (["sample", "--length", "-1"], 2, "--length -1"),
    "negative temperature": (["sample", "--temperature", "-1"], 2, "--temperature -1"),
    "top-p of two": (["sample", "--top-p", "2"], 2, "--top-p 2"),
}


@pytest.mark.parametrize("arguments, code, message", BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_its_exit_code(tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.setitem(sys.modules, "cupy", None)  # as if it were not installed
    write(tmp_path / "empty.txt", b"")
    write(tmp_path / "short.txt", b"hello world")
    write(tmp_path / "one.txt", b"a" * 5000)
    write(tmp_path / "latin1.txt", "caf\xe9 au lait".encode("latin-1"))
    write(tmp_path / "binary.txt", b"\x7fELF\x00\x01")
    write(tmp_path / "model.pkl", b"\x80\x04K\x01.")
    write(tmp_path / "model.pt", b"PK\x03\x04 and so on")
    found = charrnn(*(a.format(tmp=tmp_path) for a in arguments), cwd=tmp_path)
    assert found.code == code
    assert found.out == ""
    [line] = found.err.splitlines()
    assert line.startswith("charrnn: error: ")
    assert message.format(tmp=tmp_path) in line
    assert not (tmp_path / "checkpoints").exists(), "nothing is left behind"


def test_without_arguments_it_shows_the_help():
    found = charrnn()
    assert found.code == 0
    assert found.out == charrnn("--help").out
    assert "train" in found.out and "sample" in found.out


def test_waste_is_not_looked_for_at_the_end():
    """Which takes longer than a word to complete."""
    code = """if True:
        import gc, sys
        from charrnn.__main__ import main
        sys.argv[1:] = ["--version"]
        try:
            main()
        finally:
            print(gc.get_freeze_count() > 1000)
    """
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "True"


def test_version():
    assert charrnn("--version").out == f"charrnn {__version__}\n"


def test_debug_shows_the_traceback():
    found = charrnn("--debug", "train", "none.txt")
    assert found.code == 66
    assert "Traceback" in found.err
    assert found.err.splitlines()[-1].startswith("charrnn: error: ")


def test_what_was_not_foreseen_is_one_line_too(monkeypatch):
    monkeypatch.setattr("charrnn.checkpoint.load", lambda path: 1 / 0)
    found = charrnn("info", "-m", str(TALES))
    assert found.code == 70
    assert "internal: ZeroDivisionError" in found.err
    assert "charrnn --debug info" in found.err


def test_a_reader_that_has_enough_ends_it_quietly(tmp_path):
    charrnn("train", str(TALES), "--hidden", "8", "--steps", "2", cwd=tmp_path)
    with popen("sample", "--length", "1000000", cwd=tmp_path) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(30) == -signal.SIGPIPE
        assert process.stderr.read().decode().count("\n") == 1, "the seed, and no complaint"


def test_output_that_cannot_be_written(tmp_path):
    charrnn("train", str(TALES), "--hidden", "8", "--steps", "2", cwd=tmp_path)
    with Path("/dev/full").open("wb") as full:
        found = subprocess.run(
            [sys.executable, "-m", "charrnn", "sample", "--seed", "1"],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": PYTHONPATH},
        )
    assert found.returncode == 74
    assert b"No space left on device" in found.stderr


def redirected(cwd: Path, where: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """A command whose output a shell sends somewhere else, as by ``2>file``."""
    line = f'exec "{sys.executable}" -m charrnn "$@" {where}'
    return subprocess.run(
        ["sh", "-c", line, "sh", *arguments],
        cwd=cwd,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
    )


def test_help_is_of_all_commands_whatever_follows():
    found = charrnn("--help", "train")
    assert (found.code, found.out) == (0, charrnn("--help").out)
    assert all(f"\n  {name} " in found.out for name in COMMANDS)


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-"])
def test_where_no_note_can_be_written_all_else_is_as_it_was(tmp_path, where):
    """As a log of what is said on the disk that a long training fills."""
    options = ["--hidden", "8", "--steps", "2", "--show-sample", "9"]
    trained = redirected(tmp_path, where, *TRAIN, *options, "-o", "run")
    assert (trained.returncode, trained.stdout, trained.stderr) == (0, b"run\n", b"")
    drawn = redirected(tmp_path, where, "sample", "-m", "run", "--length", "9")
    assert (drawn.returncode, len(drawn.stdout.decode()), drawn.stderr) == (0, 10, b"")
    missing = redirected(tmp_path, where, "--debug", "sample", "-m", "none")
    assert (missing.returncode, missing.stdout, missing.stderr) == (66, b"", b"")


def test_where_no_result_is_wanted_none_is_written(tmp_path):
    (tmp_path / "text.txt").write_text("some text\n" * 20)
    trained = redirected(
        tmp_path, ">&-", "train", "text.txt", "--hidden", "8", "--steps", "2", "-o", "run"
    )
    assert (trained.returncode, trained.stderr.splitlines()[-1]) == (
        0,
        b"try it: charrnn sample -m run",
    )
    scored = redirected(tmp_path, ">&-", "eval", "-m", "run", "text.txt")
    assert (scored.returncode, scored.stderr.count(b"\n")) == (0, 1)


@pytest.mark.parametrize("command", ["train -", "eval -", "sample --prompt -", "complete"])
def test_an_input_that_is_closed_is_told(tmp_path, command):
    charrnn(*TRAIN, "--hidden", "8", "--steps", "2", cwd=tmp_path)
    found = redirected(tmp_path, "<&-", *command.split())
    assert (found.returncode, found.stdout) == (74, b"")
    assert b"charrnn: error: cannot read: -; stdin is closed\n" in found.stderr


def test_what_is_said_of_kernels_does_not_stand_in_the_text(tmp_path, monkeypatch):
    """Those of training are there by then, those of drawing are not."""
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "kernels"))
    redirected(tmp_path, "", *TRAIN, "--hidden", "8", "--steps", "2")
    found = redirected(tmp_path, "2>&1", "sample", "--prompt", "The ", "--seed", "1")
    note, text = found.stdout.decode().split("\n", 1)
    assert note == f"charrnn: compiling kernels for this processor, kept in {tmp_path}/kernels"
    assert text.startswith("The ")


def test_divergence_has_its_exit_code(tmp_path):
    options = (
        "--cell rnn --activation relu --hidden 16 --lr 100 --clip 0 --optimizer sgd --steps 200"
    )
    found = charrnn("train", str(TALES), *options.split(), cwd=tmp_path)
    assert found.code == 3
    assert "charrnn: error: training diverged: step" in found.err
