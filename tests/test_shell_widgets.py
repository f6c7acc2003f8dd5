"""charrnn complete --print-shell: bash as somebody uses it; zsh and fish read their script."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.support.shell import ROOT, charrnn
from tests.test_interactive import CTRL_A, ENTER, Terminal, save_words

pytestmark = pytest.mark.usefixtures("compiled")

KEY = "\x1b;"
SCRIPTS = ROOT / "charrnn/cli/shell"
SHELLS = ("bash", "zsh", "fish")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed(shell):
    found = charrnn("complete", "--print-shell", shell)
    assert (found.code, found.err) == (0, "")
    assert found.out == (SCRIPTS / f"complete.{shell}").read_text(encoding="utf-8")
    assert f"--print-shell {shell}" in found.out, "says how to use it"


def test_a_shell_that_is_not_known():
    found = charrnn("complete", "--print-shell", "tcsh")
    assert (found.code, found.out) == (2, "")
    assert "--print-shell tcsh; choose from bash, zsh, fish" in found.err


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_valid(shell):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    script = SCRIPTS / f"complete.{shell}"
    subprocess.run([shell, "-n", script], check=True, capture_output=True)


@pytest.fixture
def bin_folder(tmp_path):
    """Goes before all others on the PATH; its charrnn is to come."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


@pytest.fixture
def bash(bin_folder, tmp_path):
    """Bash with the script, at its first prompt."""
    rc = tmp_path / "bashrc"
    rc.write_text(f"source {SCRIPTS}/complete.bash\nPS1='$ '\nunset HISTFILE\n", encoding="utf-8")
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "INPUTRC": os.devnull, "LC_ALL": "C.UTF-8"}
    with Terminal("bash", "--noprofile", "--rcfile", str(rc), "-i", **own) as terminal:
        terminal.wait_for(r"^\$$")
        yield terminal


@pytest.fixture
def answers(bin_folder):
    """Makes charrnn a script of some commands; what that gives are its latest arguments."""

    def put(commands: str):
        script = bin_folder / "charrnn"
        called = bin_folder / "called"
        script.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" >'{called}'\n{commands}\n")
        script.chmod(0o755)
        return lambda: called.read_text(encoding="utf-8").split("\0")[:-1]

    return put


def test_the_key_inserts_the_first_suggestion(bash, answers):
    called = answers(r"printf ' world\nrld\n'")
    bash.type("echo hello" + KEY)
    bash.wait_for(r"^\$ echo hello world$")
    assert called() == ["complete", "--insert", "--", "echo hello"]
    bash.type(" again" + ENTER)
    bash.wait_for("^hello world again$")


def test_pressed_again_it_goes_round_the_suggestions(bash, answers):
    answers(r"printf ' one\n two\n'")
    bash.type("zero")
    for line in ("zero one", "zero two", "zero", "zero one"):
        bash.type(KEY)
        bash.wait_for(rf"^\$ {line}$")


def test_behind_what_was_taken_it_asks_anew(bash, answers):
    called = answers("echo x")
    bash.type("a" + KEY)
    bash.wait_for(r"^\$ ax$")
    bash.type("b" + KEY)
    bash.wait_for(r"^\$ axbx$")
    assert called()[-1] == "axb"


def test_it_completes_at_the_cursor(bash, answers):
    called = answers("echo é")
    bash.type("ü three" + CTRL_A + "ä" + KEY)
    bash.wait_for(r"^\$ äéü three$")
    assert called()[-1] == "ä"
    bash.type("!")
    bash.wait_for(r"^\$ äé!ü three$")


@pytest.mark.parametrize(
    "line",
    ["--help", "", "it's", '"$HOME" `id`', r"a\nb\\", "*", "$(exit 1); a && b", " two  spaces "],
)
def test_the_text_goes_as_it_is(bash, answers, line):
    called = answers("echo zzz")
    bash.type(line + KEY)
    bash.wait_for("zzz$")
    assert called()[2:] == ["--", line]


def test_behind_a_blank(bash, answers):
    called = answers("echo x")
    bash.type("a ____ b" + KEY)
    bash.wait_for(r"^\$ a ____ bx$")
    assert called()[-1] == " b"


@pytest.mark.parametrize(
    "commands", ["exit 1", "echo 'charrnn: error: no' >&2; exit 66", "cat", "kill $$"]
)
def test_without_a_suggestion_the_line_stays(bash, answers, commands):
    called = answers(commands)
    bash.type("a b" + KEY + "c")
    bash.wait_for(r"^\$ a bc$")
    assert called()[-1] == "a b"
    assert bash.text.splitlines()[-1] == "$ a bc"


def test_without_charrnn_the_line_stays(bash):
    bash.type("PATH=/nowhere" + ENTER + "a b" + KEY + "c")
    bash.wait_for(r"^\$ a bc$")


def test_with_the_program_itself(bash, bin_folder, tmp_path):
    save_words(tmp_path / "words.safetensors")
    program = shlex.join([sys.executable, "-m", "charrnn"])
    script = bin_folder / "charrnn"
    script.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    script.chmod(0o755)
    bash.type(f"export CHARRNN_MODEL={shlex.quote(str(tmp_path / 'words.safetensors'))}" + ENTER)
    bash.type("th" + KEY)
    bash.wait_for(r"^\$ the$")
    bash.type(KEY)
    bash.wait_for(r"^\$ that$")
    bash.type(" " + KEY)
    bash.wait_for(r"^\$ that the$")
