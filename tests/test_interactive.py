"""charrnn complete --interactive, in a terminal that is read as a person would."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyte
import pytest

from charrnn.checkpoint import Checkpoint, save
from charrnn.config import ModelConfig
from charrnn.params import initial_values
from charrnn.text.tokens import PRETOKENIZED, WORDS
from charrnn.text.words import WordVocabulary
from tests.support.shell import PYTHONPATH, charrnn

pytestmark = pytest.mark.usefixtures("compiled")

TAB, ENTER, BACKSPACE, ALT = "\t", "\r", "\x7f", "\x1b"
CTRL_A, CTRL_C, CTRL_D, CTRL_Z = "\x01", "\x03", "\x04", "\x1a"
CHARRNN = (sys.executable, "-m", "charrnn")
WORDS_OF_MODEL = ("the", "of", "that", "they", "and", "5th")
MS = r"\d+\.\d ms$"


class Terminal:
    """A command on a terminal of 80 x 24, what it shows, and keys for it."""

    def __init__(self, *command: str, **environment: str) -> None:
        self._leader, follower = pty.openpty()
        termios.tcsetwinsize(follower, (24, 80))
        self._screen = pyte.Screen(80, 24)
        self._screen.write_process_input = self.type  # where the cursor is, if it is asked
        self._stream = pyte.ByteStream(self._screen)
        self.seen = b""
        kept = {name: value for name, value in os.environ.items() if name != "CHARRNN_MODEL"}
        self.process = subprocess.Popen(
            command,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            env=kept | {"PYTHONPATH": PYTHONPATH, "TERM": "xterm-256color"} | environment,
        )
        os.close(follower)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._leader)

    def type(self, keys: str) -> None:
        os.write(self._leader, keys.encode())

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def color(self, text: str) -> str:
        """Of what is shown of this text, and nowhere else."""
        [(row, column)] = [
            (row, line.index(text)) for row, line in enumerate(self._screen.display) if text in line
        ]
        return self._screen.buffer[row][column].fg

    def wait_for(self, pattern: str) -> None:
        """Until the screen shows it; ``^`` and ``$`` are the ends of a line."""
        deadline = time.monotonic() + 20
        while not re.search(pattern, self.text, re.MULTILINE):
            if not self._read(deadline - time.monotonic()):
                pytest.fail(f"{pattern!r} is not shown:\n{self.text}")

    def end(self) -> int:
        """The exit code, when all is read."""
        while self._read(30):
            pass
        return self.process.wait(30)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._leader], [], [], max(0, seconds))[0]:
            return False
        try:
            block = os.read(self._leader, 65536)
        except OSError:  # Linux says so when the other side is gone
            return False
        self._stream.feed(block)
        self.seen += block
        return bool(block)


def save_words(path: Path, words: Sequence[str] = WORDS_OF_MODEL, tokenizer=WORDS) -> None:
    """A model to which the words are as likely as they stand early, whatever was typed."""
    vocabulary = WordVocabulary(words, tokenizer)
    config = ModelConfig(len(vocabulary), level="word", hidden_size=4, embed_size=4)
    weights = initial_values(config, "uniform", np.random.default_rng(0))
    weights["decoder.weight"][:] = 0
    weights["decoder.bias"][:] = -np.arange(len(vocabulary), dtype=np.float32)
    save(Checkpoint(config, vocabulary, weights), path)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "words.safetensors"
    save_words(path)
    return path


@pytest.fixture
def terminal(words):
    with Terminal(*CHARRNN, "complete", "--interactive", "-m", str(words)) as terminal:
        terminal.wait_for(rf"^>\n1 the   2 of   3 that   4 they   5 and   {MS}")
        yield terminal


def test_suggestions_follow_what_is_typed(terminal):
    terminal.type("th")
    terminal.wait_for(rf"^> th\n1 the   2 that   3 they   {MS}")
    terminal.type("a")
    terminal.wait_for(rf"^> tha\n1 that   {MS}")
    terminal.type("x")
    terminal.wait_for(r"^> thax\n1 the   2 of ")


def test_suggestions_that_are_older_than_the_line_are_dim_and_cannot_be_taken(tmp_path):
    go = tmp_path / "go"
    code = f"""if True:
        import time
        from pathlib import Path
        from charrnn.cli.interactive import Session
        from charrnn.completion import Completion, Suggestion

        def complete(text, mode):
            while text and not Path({str(go)!r}).exists():
                time.sleep(0.01)
            word = "new" if text else "old"
            return Completion(mode, "", (Suggestion(word, word, 1.0),), 0.0)

        Session(lambda: complete, "auto").run()
    """
    with Terminal(sys.executable, "-c", code) as terminal:
        terminal.wait_for("^>\n1 old ")
        assert terminal.color("old") == "default"
        terminal.type("x" + TAB)
        terminal.wait_for("^> x$")
        assert terminal.color("old") == "brightblack"
        go.touch()
        terminal.wait_for("^> x\n1 new ")
        assert terminal.color("new") == "default"


def test_tab_takes_the_first_and_then_comes_the_next_word(terminal):
    terminal.type("th")
    terminal.wait_for("1 the   2 that   3 they")
    terminal.type(TAB)
    terminal.wait_for(rf"^> the\n1 the   2 of   3 that   4 they   5 and   {MS}")
    terminal.type(TAB)
    terminal.wait_for("^> the the$")


def test_a_digit_takes_the_one_with_that_number(terminal):
    terminal.type("th")
    terminal.wait_for("1 the   2 that   3 they")
    terminal.type("3")
    terminal.wait_for("^> they\n1 the")


def test_a_digit_without_a_suggestion_is_typed(terminal):
    terminal.type("7")
    terminal.wait_for("^> 7$")


def test_with_alt_or_behind_a_digit_a_digit_is_typed(terminal):
    terminal.type(ALT + "5")
    terminal.wait_for(rf"^> 5\n1 5th   {MS}")
    terminal.type("1")
    terminal.wait_for(r"^> 51\n1 the")
    terminal.type(BACKSPACE)
    terminal.wait_for(rf"^> 5\n1 5th   {MS}")
    terminal.type(".")
    terminal.wait_for(r"^> 5\.\n1 the")
    terminal.type("1")
    terminal.wait_for(r"^> 5\.1$")


def test_a_blank_is_filled_in_its_place(terminal):
    terminal.type("of t____ and")
    terminal.wait_for("^> of t____ and\n1 the   2 that   3 they")
    terminal.type("2!")
    terminal.wait_for("^> of that and!$")


def test_several_blanks_are_filled_together(terminal):
    terminal.type("____, ____.")
    terminal.wait_for("1 the the   2 ")
    terminal.type(CTRL_A + TAB + "!")
    terminal.wait_for(r"^> the, the!\.$")


def test_what_stands_behind_the_cursor_stays(terminal):
    terminal.type("!" + CTRL_A + "th")
    terminal.wait_for("^> th!\n1 the   2 that   3 they")
    terminal.type("2")
    terminal.wait_for("^> that!$")


def test_enter_prints_the_line_and_ctrl_d_ends(terminal):
    terminal.type("of" + ENTER)
    terminal.wait_for(rf"^of\n>\n1 the .+ {MS}")
    terminal.type(CTRL_D)
    assert terminal.end() == 0
    assert terminal.text == "of"


def test_ctrl_c_kills_it_as_the_signal_would(terminal):
    terminal.type("of" + CTRL_C)
    assert terminal.end() == -signal.SIGINT
    assert terminal.text == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_it_leaves_nothing_on_the_screen(terminal, number):
    terminal.type("th")
    terminal.wait_for("1 the   2 that   3 they")
    terminal.process.send_signal(number)
    assert terminal.end() == -number
    assert terminal.text == ""


@pytest.mark.parametrize("keys, numbers", [("", (1, 15)), ("\r", (15,)), ("\r", (1,))])
def test_signals_that_come_together_or_with_enter_end_it_too(terminal, keys, numbers):
    """As systemd sends two; it may be the line or the signal that it sees first."""
    terminal.type("th")
    terminal.wait_for("1 the   2 that   3 they")
    terminal.process.send_signal(signal.SIGSTOP)
    terminal.type(keys)
    for number in (*numbers, signal.SIGCONT):
        terminal.process.send_signal(number)
    assert -terminal.end() in numbers
    assert terminal.text in ("", "th" if keys else "")


def test_a_broken_pipe_does_not_end_it(terminal):
    """Of the event loop of a line that was just entered; nobody reads what it prints by a pipe."""
    terminal.process.send_signal(signal.SIGPIPE)
    terminal.type("th")
    terminal.wait_for("1 the   2 that   3 they")


def test_a_signal_that_is_ignored_stays_so(words):
    code = "trap '' HUP; exec \"$@\""
    command = "bash", "-c", code, "bash", *CHARRNN, "complete", "--interactive", "-m", str(words)
    with Terminal(*command) as terminal:
        terminal.wait_for("^1 the")
        terminal.process.send_signal(signal.SIGHUP)
        terminal.type("th")
        terminal.wait_for("1 the   2 that   3 they")


# Jobs are of a shell whose terminal is its own.
SHELL = """
import fcntl, os, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
"""


def test_ctrl_z_stops_it_and_the_line_is_there_when_it_goes_on(words):
    with Terminal(sys.executable, "-c", SHELL, PS1="$ ", CHARRNN_MODEL=str(words)) as terminal:
        terminal.type(f"{sys.executable} -m charrnn complete --interactive\r")
        terminal.wait_for("^1 the")
        terminal.type("of th" + CTRL_Z)
        terminal.wait_for("Stopped")
        terminal.type("fg\r")
        terminal.wait_for(rf"^> of th\n1 the   2 that   3 they   {MS}")


@pytest.mark.parametrize("text", ["\x1b[31m", "\x1b[<1;2M", "\x1b[M !!"])
def test_text_that_looks_like_a_click_does_no_harm(terminal, text):
    """As colours do, where somebody pastes what a program has printed."""
    terminal.type(f"of{text} to")
    terminal.wait_for(r"^> of to$")


HOSTILE = ("t\x1b]0;title\x07", "x\x1b[2J\x9b8m", "r\u202egnp.\u202c")


def test_hostile_words_are_escaped_as_suggestions_in_the_line_and_when_it_is_printed(tmp_path):
    """The cursor is where it belongs all the same."""
    model = tmp_path / "model.safetensors"
    save_words(model, HOSTILE, PRETOKENIZED)
    spelled = [re.escape(word.encode("unicode_escape").decode()) for word in HOSTILE]
    title, cleared, turned = spelled
    with Terminal(*CHARRNN, "complete", "--interactive", "-m", str(model)) as terminal:
        terminal.wait_for(rf"^1 {title}   2 {cleared}   3 {turned}   {MS}")
        terminal.type(TAB + " x")
        terminal.wait_for(rf"^> {title} x\n1 {cleared}   {MS}")
        terminal.type(TAB)
        terminal.wait_for(rf"^> {title} {cleared}$")
        terminal.type("\x1b[D!")  # the key to the left, into the last word
        terminal.wait_for(r"\\x9b8!m$")
        terminal.type("\x1b[200~\u202e\x1b[201~" + ENTER)  # as it is pasted
        terminal.wait_for(rf"^{title} {cleared[:-1]}!\\u202em\n>")
        terminal.type(CTRL_D)
        assert terminal.end() == 0
    seen = terminal.seen.decode()
    assert not re.search("[\x00-\x07\x0b\x0c\x0e-\x1a\x7f-\x9f\u202a-\u202e]", seen)
    assert "\x1b]" not in seen and "\x1b[2J" not in seen


def test_the_options_of_completing_apply(words):
    options = ["-n", "2", "--min-p", "0.2", "--prefix"]
    with Terminal(*CHARRNN, "complete", "--interactive", "-m", str(words), *options) as terminal:
        terminal.wait_for(rf"^1 the   2 of   {MS}")
        terminal.type("the")
        terminal.wait_for(rf"^1 they   {MS}")
        terminal.type("y")
        terminal.wait_for(rf"^nothing to suggest   {MS}")


def test_an_error_while_it_completes_is_one_line(words):
    with Terminal(*CHARRNN, "complete", "--interactive", "-m", str(words), "-n", "0") as terminal:
        assert terminal.end() == 2
        assert terminal.text == "charrnn: error: invalid value: -n 0; must be from 1 to 1000"


def test_a_slow_model_does_not_freeze_typing_and_answers_the_newest(tmp_path):
    """The first completion waits for the test; all that were typed meanwhile make one request."""
    gate = tmp_path / "open"
    program = f"""if True:
        import time
        from pathlib import Path
        from charrnn.cli.interactive import Session
        from charrnn.completion import Completion, Suggestion
        texts = []
        def complete(text, mode):
            texts.append(text)
            while not Path({str(gate)!r}).exists():
                time.sleep(0.01)
            return Completion(mode, "", (Suggestion(repr(texts), " taken", 1.0),), 0.0)
        Session(lambda: complete, "auto").run()
    """
    with Terminal(sys.executable, "-c", program) as terminal:
        terminal.wait_for("^>$")
        terminal.type("a")
        terminal.wait_for("^> a$")
        terminal.type("b1" + TAB)
        terminal.wait_for("^> ab1$")
        gate.touch()
        terminal.wait_for(r"^> ab1\n1 \['', 'ab1'\]   ")
        terminal.type(TAB)
        terminal.wait_for("^> ab1 taken$")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--interactive without a terminal; give TEXT, or lines on stdin"),
        (["text"], "options that exclude each other: TEXT and --interactive"),
        (["--json"], "--interactive and --scores, --json or --insert"),
        (["--print-shell", "zsh"], "--interactive and --print-shell"),
        (["--raw"], "--raw and --interactive"),
    ],
    ids=str,
)
def test_where_it_cannot_be_interactive(words, arguments, message):
    found = charrnn("complete", "--interactive", "-m", str(words), *arguments)
    assert (found.code, found.out) == (2, "")
    assert message in found.err


def test_a_terminal_that_cannot_draw_is_none(words):
    command = [*CHARRNN, "complete", "--interactive", "-m", str(words)]
    with Terminal(*command, TERM="dumb") as terminal:
        assert terminal.end() == 2
        assert "--interactive without a terminal" in terminal.text


def test_prompt_toolkit_is_loaded_only_for_this():
    code = "import sys, charrnn.cli.complete; print('prompt_toolkit' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
