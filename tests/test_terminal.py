"""What a model, a text or a name supplies does nothing to a terminal, and is exact in a pipe."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from charrnn import load
from charrnn.text import CharVocabulary
from charrnn.text.tokens import PRETOKENIZED, TOKENIZERS
from charrnn.text.words import WordVocabulary
from tests.support.evaluated import save_model
from tests.support.shell import charrnn, on_terminal

pytestmark = pytest.mark.usefixtures("compiled")

_BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def is_harmful(c: str) -> bool:
    """By the character database, where ``charrnn`` has a list."""
    return c not in "\n\t" and (
        unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(c) in _BIDI
        or c in "\u061c\u200e\u200f\ufeff"
        or "\u206a" <= c <= "\u206f"
        or "\ufff9" <= c <= "\ufffb"
        or "\U000e0000" <= c <= "\U000e007f"
    )


#: All that a vocabulary can have.
HARMFUL = [
    c for c in map(chr, [*range(0xD800), *range(0xE000, 0x10000), *range(0xE0000, 0xE0100)])
    if is_harmful(c)
]  # fmt: skip
#: As people write it: joiners, a soft hyphen, signs of a font.
HARMLESS = "cat naïve ☃ 👩\u200d💻 می\u200cخواهم n\u0303o auf\u00adzu \ue0b0 \u200bไทย"
#: What would be done by a terminal that got it.
ATTACKS = [
    "\x1b]52;c;aGFybQ==\x07",  # sets the clipboard
    "\x1b]0;title\x1b/",
    "\x1b[2J\x1b[H",  # clears the screen
    "\x1b[8m",  # hides what follows
    "\x9b8m",  # so does this, where C1 is heard
    "\x90q\x9c",
    "\x07\x08\x7f\x0e",
    "\u202egpj.\u202c",  # is read from the right
    "\u2067\u2066\u200f\u061c",
    "\ufeff\U000e0041\U000e007f",  # cannot be seen
]
TEXT = "".join(f"the z{attack} cat\n" for attack in ATTACKS)
NAME = os.fsdecode(b"x\x1b]0;t\x07\x7f\n\xe9") + "\x9b8m\u202etxt"
WORDS = ["-m", f"{NAME}-words"]
CHARS = ["-m", f"{NAME}-chars"]


def harm(text: str) -> set[str]:
    """What in a text, or on a terminal, is harmful."""
    return set(filter(is_harmful, text.replace("\r\n", "\n")))


def spelled(text: str) -> str:
    """As it is to be shown."""
    return "".join(c.encode("unicode_escape").decode() if is_harmful(c) else c for c in text)


def through(text: str) -> str:
    """As it comes out of a terminal's driver."""
    return text.replace("\n", "\r\n")


# Text that a model draws


def check_sample(model: str, place: Path, least: int) -> None:
    """A long text, of which at least so many different characters are harmful."""
    drawn = load(place / model).sample("cat", length=1500, temperature=2, seed=1)
    assert len(harm(drawn)) >= least
    text = f"cat{drawn}\n"
    options = ["--prompt", "cat", "--length", "1500", "--temperature", "2", "--seed", "1"]
    command = ["sample", "-m", model, *options]
    assert charrnn(*command, cwd=place).out == text
    assert on_terminal(command, place) == through(spelled(text))
    assert on_terminal([*command, "--raw"], place) == through(text)


def test_any_character_is_spelled_on_a_terminal_and_exact_in_a_pipe(tmp_path):
    save_model(tmp_path / "chars", CharVocabulary(sorted({*HARMFUL, *HARMLESS, "\n", "\t"})))
    check_sample("chars", tmp_path, least=len(HARMFUL) * 9 // 10)


_some = st.text([*HARMFUL, *HARMLESS, *"\n\t[]0;m?"], max_size=4)


@settings(max_examples=2, phases=[Phase.explicit, Phase.generate])  # each starts two processes
@example(tokenizer="words", texts=ATTACKS)
@given(
    tokenizer=st.sampled_from(sorted(TOKENIZERS)),
    texts=st.lists(
        st.builds("{}{}{}".format, _some, st.sampled_from(HARMFUL), _some),
        min_size=10,
        unique=True,
    ),
)
def test_so_is_any_word(tmp_path_factory, tokenizer, texts):
    place = tmp_path_factory.mktemp("words")
    words = TOKENIZERS[tokenizer].split(" cat ".join([*texts, HARMLESS, "\n"]))
    save_model(place / "words", WordVocabulary.named(list(dict.fromkeys(words)), tokenizer))
    check_sample("words", place, least=3)


# Every command


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A text and two models, whose names are as bad as what they know."""
    place = tmp_path_factory.mktemp("place")
    (place / NAME).write_text(TEXT, encoding="utf-8", newline="")
    (place / "nbest").write_text(TEXT.replace("z", "\t"), encoding="utf-8", newline="")
    characters = CharVocabulary(sorted(set(TEXT) - {"\x1b"}))  # one is unknown
    save_model(place / CHARS[1], characters)
    words = list(dict.fromkeys(PRETOKENIZED.split(TEXT)))
    save_model(place / WORDS[1], WordVocabulary(words, PRETOKENIZED))
    return place


TRAIN = ["train", NAME, "--hidden", "8", "--steps", "2", "--evals", "1", "--batch-size", "1"]
TRAIN += ["--seq-len", "16", "--show-sample", "50"]

#: Arguments and exit code.
COMMANDS: dict[str, tuple[list[str], int]] = {
    "train": (TRAIN, 0),
    "train words": ([*TRAIN, "--level", "word", "-o", f"{NAME}-run"], 0),
    "unknown in a prompt": (["sample", *CHARS, "--prompt", "\x1bcat", "--skip-unknown"], 0),
    "refused in a prompt": (["sample", *CHARS, "--prompt", "\x1bcat"], 65),
    "several samples": (["sample", *WORDS, "--count", "3"], 0),
    "complete": (["complete", *WORDS, "-n", "99", "--scores", "--insert", "the z"], 0),
    "eval": (["eval", *WORDS, NAME, NAME], 0),
    "eval, adapted": (["eval", *CHARS, "--temperature-fit", NAME, "--dynamic", NAME], 0),
    "heat": (["eval", *CHARS, "--heat", NAME], 0),
    "nbest": (["eval", *CHARS, "--nbest", "nbest"], 0),
    "page": (["eval", *CHARS, "--html", f"{NAME}.html", NAME], 0),
    "compare": (["eval", *CHARS, "--compare", WORDS[1], NAME, f"{NAME}-none"], 66),
    "info": (["info", *CHARS], 0),
    "info of words": (["info", *WORDS], 0),
    "export": (["info", *WORDS, "--export", f"{NAME}.safetensors"], 0),
    "import": (["import", NAME, NAME, "-o", f"{NAME}-imported"], 65),
    "no such model": (["sample", "-m", f"{NAME}-none"], 66),
    "no such text, debugged": (["--debug", "train", f"{NAME}-none"], 66),
    "no such command": ([NAME], 2),
    "no such option": (["info", f"--{NAME}"], 2),
    "no number": (["sample", "--length", NAME], 2),
    "no page there": (["eval", *CHARS, "--html", f"{NAME}/page", NAME], 73),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_harmful_gets_to_a_terminal(place, command):
    arguments, code = COMMANDS[command]
    seen = on_terminal(arguments, place, code=code, NO_COLOR="1")
    assert harm(seen) == set()
    assert r"\x" in seen or r"\u" in seen


@pytest.mark.parametrize("command", ["train", "heat", "info"])
def test_colours_and_bars_are_all_that_steers_a_terminal(place, command):
    """Black on a colour, bold, neither; and back to the line's beginning for the bar."""
    arguments, code = COMMANDS[command]
    seen = on_terminal(arguments, place, code=code, COLORTERM="truecolor")
    bare = re.sub(r"\x1b\[(?:0|1|30;48;2;\d+;\d+;\d+)m", "", seen)
    assert bare != seen
    assert harm(bare) <= ({"\r"} if command == "train" else set())


@pytest.mark.parametrize("command", ["train", "heat"])
def test_a_dumb_terminal_gets_no_escapes(place, command):
    arguments, code = COMMANDS[command]
    assert harm(on_terminal(arguments, place, code=code, TERM="dumb")) == set()


def test_the_help_does_not_show_what_the_environment_supplies(place):
    assert harm(on_terminal(["sample", "--help"], place, CHARRNN_MODEL=NAME)) == set()


# JSON


def without_times(line: str) -> dict[str, Any]:
    found = json.loads(line)
    found.pop("ms", None)
    return found


@pytest.mark.parametrize(
    "command",
    [
        ["sample", *WORDS, "--json", "--seed", "1", "--count", "2"],
        ["complete", *WORDS, "--json", "-n", "99", "the"],
        ["eval", *CHARS, "--json", NAME],
        ["eval", *CHARS, "--per", "line", NAME],
        ["eval", *WORDS, "--per", "token", NAME],
        ["info", *CHARS, "--json"],
    ],
    ids=lambda command: " ".join(a for a in command if a not in (NAME, *CHARS, *WORDS)),
)
def test_json_on_a_terminal_is_the_json_of_a_pipe(place, command):
    seen, piped = on_terminal(command, place), charrnn(*command, cwd=place).out
    assert harm(seen) == set()
    records = [without_times(line) for line in piped.splitlines()]
    assert [without_times(line) for line in seen.splitlines()] == records
    assert harm(strings(records)), "what is read is what it was"


def strings(value: Any) -> str:
    """All strings in a value of JSON, one behind the other."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return "".join(map(strings, value))
    return value if isinstance(value, str) else ""


# Names and texts in a pipe


def test_a_pipe_gets_exact_bytes_while_errors_go_to_a_terminal(place, tmp_path):
    with (tmp_path / "out").open("wb") as out:
        seen = on_terminal(
            ["eval", *CHARS, "--heat", NAME, f"{NAME}-none"], place, code=66, stdout=out
        )
    assert (tmp_path / "out").read_bytes() == TEXT.encode()
    assert harm(seen) == set()
    assert spelled(NAME).replace("\n", r"\n") in seen


@pytest.mark.parametrize(
    "command", [[*TRAIN, "-o"], ["eval", *CHARS, NAME, "--html"]], ids=["run", "page"]
)
def test_names_are_exact_in_a_pipe(place, command):
    name = f"{NAME}-of-{command[0]}"
    assert charrnn(*command, name, cwd=place).out == f"{name}\n"


def test_completions_are_exact_in_a_pipe_and_raw_on_a_terminal(place):
    command = ["complete", *WORDS, "-n", "99", "the"]
    found = charrnn(*command, cwd=place).out
    assert set(found.splitlines()) >= {f"z{attack}" for attack in ATTACKS}
    assert on_terminal([*command, "--raw"], place) == through(found)


@pytest.mark.parametrize(
    "command",
    [["sample", "--json"], ["complete", "--json", "a"], ["complete", "--print-shell", "zsh"]],
    ids=" ".join,
)
def test_raw_is_refused_where_it_would_do_nothing(command):
    found = charrnn(*command, "--raw")
    assert (found.code, found.out) == (2, "")
    assert "options that exclude each other: --" in found.err
