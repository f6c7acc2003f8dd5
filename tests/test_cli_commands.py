"""charrnn train, sample and info: what they print."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from dataclasses import fields
from inspect import signature

import pytest

from charrnn.cli.progress import Progress
from charrnn.events import NotSaved, RolledBack, Skipped
from charrnn.text.tokens import WORDS
from tests.support.shell import PYTHONPATH, TALES, charrnn, on_terminal

pytestmark = pytest.mark.usefixtures("compiled")

QUICK = ["--hidden", "16", "--steps", "30", "--evals", "2", "--seed", "1"]
QUICK += ["--batch-size", "16", "--seq-len", "64"]
TEXT = TALES.read_text(encoding="utf-8")
HELD_OUT = round(len(TEXT) / 10)
TOKENS = WORDS.split(TEXT)
LEARNED = Counter(TOKENS[: -round(len(TOKENS) / 10)])
BAR = r"\d+%\|.*\| step \d+ .* left"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run in it, and what training printed."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, charrnn("train", str(TALES), *QUICK, "--show-sample", "20", cwd=folder)


@pytest.fixture
def shell(trained):
    """Runs commands in the folder with the run."""
    return lambda *arguments, **keywords: charrnn(*arguments, cwd=trained[0], **keywords)


@pytest.fixture(scope="module")
def trained_on_words(tmp_path_factory):
    """The same with a run of words."""
    folder = tmp_path_factory.mktemp("words")
    options = ["--level", "word", "--show-sample", "20", "--min-count", "3"]
    return folder, charrnn("train", str(TALES), *QUICK, *options, cwd=folder)


@pytest.fixture
def word_shell(trained_on_words):
    return lambda *arguments: charrnn(*arguments, cwd=trained_on_words[0])


def test_train_prints_the_run_on_stdout_and_nothing_else(trained):
    folder, found = trained
    assert (found.code, found.out) == (0, "checkpoints/tales\n")
    assert sorted(p.name for p in (folder / "checkpoints/tales").iterdir()) == [
        ".lock",
        "best.safetensors",
        "log.jsonl",
        "step-000000015.safetensors",
        "step-000000030.safetensors",
    ]


@pytest.mark.parametrize(
    "part",
    [
        f"{len(TEXT):,} characters",
        f"{len(TEXT) - HELD_OUT:,} to train on",
        f"{HELD_OUT:,} to validate on (last-10%), 0 of them outside the vocabulary",
        f"{len(set(TEXT))} characters and the unknown one",
        "30 steps; windows of 64 characters in 16 lanes; 2 validations",
        "--layers 1",
        "weight_hh_l0 64 x 16",
        "expected time: ",
        "nats/char",
        "bits/char  best",
        "cell:lstm|layers:1|hidden:16|level:char|split:last-10%|lanes:8|state:carried|v:",
        "try it: charrnn sample -m checkpoints/tales",
    ],
)
def test_train_tells_before_while_and_after(trained, part):
    assert part in trained[1].err


def test_training_on_words_tells_of_words(trained_on_words):
    cut = LEARNED.total()
    known = {t for t, n in LEARNED.items() if n >= 3}
    unknown, held_out = (sum(t not in known for t in part) for part in (TOKENS[:cut], TOKENS[cut:]))
    found = trained_on_words[1]
    assert (found.code, found.out) == (0, "checkpoints/tales\n")
    for part in (
        f"{len(TEXT):,} characters",
        f"{cut:,} to train on, {unknown:,} of them outside the vocabulary",
        f"{len(TOKENS) - cut:,} to validate on (last-10%), {held_out:,} of them outside the",
        f"{len(known):,} words and the unknown one",
        "windows of 64 words in 16 lanes",
        "--tie",
        "words/s",
        "nats/word  perplexity ",
        "bits/char  best",
        "|level:word|",
    ):
        assert part in found.err, part


def test_plain_lines_have_no_control_characters(trained):
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", trained[1].err)


def test_a_second_run_gets_a_folder_of_its_own(tmp_path):
    for name in ("checkpoints/tales\n", "checkpoints/tales-2\n"):
        assert charrnn("train", str(TALES), *QUICK, cwd=tmp_path).out == name


def test_train_reads_stdin(tmp_path):
    text = TALES.read_bytes()[:9000]
    found = charrnn("train", "-", *QUICK, stdin=text, cwd=tmp_path)
    assert found.out == "checkpoints/stdin\n"


@pytest.mark.parametrize(
    "options, expected",
    [
        ("--cell gru --layers 2 --dropout 0.1", {"cell": "gru", "layers": 2, "dropout": 0.1}),
        ("--cell rnn --activation relu", {"cell": "rnn", "activation": "relu", "lr": 0.0016}),
        ("--clip 0.5 --optimizer rmsprop", {"clip": 0.5, "optimizer": "rmsprop", "lr": 0.002}),
        ("--tie --optimizer sgd --momentum 0.5", {"tie": True, "momentum": 0.5, "lr": 1.0}),
        ("--schedule constant --warmup 0.5", {"schedule": "constant", "warmup": 0.5}),
        ("--init uniform --weight-decay 0.1", {"init": "uniform", "weight_decay": 0.1}),
        ("--embed 7 --lr 0.01", {"embed_size": 7, "hidden_size": 16, "lr": 0.01}),
        ("--batch-size 4 --seq-len 10", {"batch_size": 4, "seq_len": 10}),
        ("--valid-fraction 0.3", {"valid_fraction": 0.3, "split": "last-30%"}),
        ("--valid held.txt", {"split": "file:held.txt", "valid_symbols": 500}),
        ("--threads 1", {"threads": 1}),
        ("--bidirectional", {"bidirectional": True, "level": "char"}),
        ("--level word", {"level": "word", "tie": True, "tokenizer": "words"}),
        ("--level word --no-tie", {"tie": False, "hidden_size": 16, "embed_size": 16}),
        ("--level word --vocab-size 300", {"vocab_size": 300}),
        (
            "--level word --min-count 20 --embed 7",
            {"tie": False, "vocab_size": sum(n >= 20 for n in LEARNED.values()) + 1},
        ),
        ("--level word --pretokenized", {"tokenizer": "pretokenized"}),
    ],
)
def test_options_reach_the_checkpoint(tmp_path, options, expected):
    (tmp_path / "held.txt").write_text(TEXT[:500], encoding="utf-8")
    found = charrnn("train", str(TALES), *QUICK, *options.split(), cwd=tmp_path)
    assert found.code == 0, found.err
    facts = json.loads(charrnn("info", "--json", cwd=tmp_path).out)
    flat = facts["model"] | facts["training"]["config"] | facts["corpus"] | facts["origin"]
    flat["tokenizer"] = facts["tokenizer"]
    assert {name: flat[name] for name in expected} == expected


def test_every_option_of_a_run_can_be_given_in_the_shell():
    """By its name, but for two that the shell calls shorter."""
    from charrnn.cli.train import train
    from charrnn.recipe import Options

    renamed = {"hidden_size": "hidden", "embed_size": "embed"}
    named = {renamed.get(f.name, f.name) for f in fields(Options)}
    assert named <= set(signature(train).parameters)


def test_a_sample_is_shown_at_each_validation_if_asked(trained):
    """Indented, twenty symbols each, after the line of the validation."""
    lines = trained[1].err.splitlines()
    shown = [
        n for n, line in enumerate(lines) if line.startswith("    ") and "valid" in lines[n - 1]
    ]
    assert len(shown) == 2


def test_a_folder_is_trained_on_and_names_the_run(tmp_path):
    (tmp_path / "letters").mkdir()
    for name in ("b.txt", "a.txt"):
        (tmp_path / "letters" / name).write_text(TEXT[:4000], encoding="utf-8")
    found = charrnn("train", "letters", *QUICK, "--batch-size", "2", cwd=tmp_path)
    assert found.out == "checkpoints/letters\n"


def test_the_suggested_command_works_for_any_alphabet(tmp_path):
    (tmp_path / "my text.txt").write_text("привет мир\n" * 300, encoding="utf-8")
    found = charrnn("train", "my text.txt", *QUICK, cwd=tmp_path)
    [suggested] = re.findall(r"try it: charrnn (.+)", found.err)
    assert charrnn(*shlex.split(suggested), cwd=tmp_path).code == 0


def test_names_that_are_not_utf8_do_no_harm(tmp_path):
    name = os.fsdecode(b"caf\xe9.txt")
    (tmp_path / name).write_text(TEXT[:9000], encoding="utf-8")
    found = charrnn("train", name, *QUICK, "-o", os.fsdecode(b"run-\xe9"), cwd=tmp_path)
    assert found.code == 0
    assert charrnn("info", "-m", os.fsdecode(b"run-\xe9"), cwd=tmp_path).code == 0


def test_sample_is_the_same_bytes_for_the_same_seed(shell):
    first, again, other = (
        shell("sample", "--seed", s, "--length", "80").out for s in ("5", "5", "6")
    )
    assert first == again != other
    assert len(first) == 81


def test_sample_without_a_seed_tells_which_it_took(shell):
    found = shell("sample", "--length", "40")
    [seed] = re.findall(r"^charrnn: seed (\d+)$", found.err, re.M)
    assert shell("sample", "--length", "40", "--seed", seed).out == found.out


def test_sample_prints_the_prompt_unless_told_otherwise(shell):
    arguments = ["sample", "--prompt", "The ", "--length", "30", "--seed", "1"]
    with_prompt, without = shell(*arguments).out, shell(*arguments, "--no-echo").out
    assert with_prompt == "The " + without


def test_sample_reads_the_prompt_from_stdin(shell):
    arguments = ["--length", "30", "--seed", "1"]
    expected = shell("sample", "--prompt", "It was ", *arguments).out
    assert shell("sample", "--prompt", "-", *arguments, stdin=b"It was \n").out == expected


def test_sample_refuses_a_prompt_that_is_not_utf8(shell):
    found = shell("sample", "--prompt", "-", stdin=b"caf\xe9")
    assert (found.code, found.err) == (
        65,
        "charrnn: error: invalid UTF-8: prompt on stdin; byte offset 3\n",
    )


def test_sample_count_and_separator(shell):
    texts = shell("sample", "--count", "3", "--length", "20", "--seed", "2").out.split("---\n")
    assert len(texts) == 3
    assert texts[0] == shell("sample", "--length", "20", "--seed", "2").out


def test_sample_json(shell):
    arguments = ["--prompt", "A", "--length", "20", "--seed", "2"]
    out = shell("sample", "--json", "--count", "2", *arguments).out
    records = [json.loads(line) for line in out.splitlines()]
    plain = shell("sample", *arguments).out
    assert [(r["index"], r["seed"], r["prompt"]) for r in records] == [(0, 2, "A"), (1, 2, "A")]
    assert "A" + records[0]["text"] + "\n" == plain


def test_sample_stops(shell):
    [whole, cut] = (
        shell("sample", "--length", "200", "--seed", "2", *stop).out
        for stop in ([], ["--stop", "e", "--stop", "zzz"])
    )
    assert cut == whole.partition("e")[0] + "\n"


def test_argmax_needs_no_seed_to_repeat(shell):
    texts = {shell("sample", "--temperature", "0", "--length", "30").out for _ in range(2)}
    assert len(texts) == 1


def test_prompt_outside_the_vocabulary(shell):
    found = shell("sample", "--prompt", "naïve ☃")
    assert found.code == 65
    assert "'ï' (U+00EF), '☃' (U+2603)" in found.err
    assert found.out == ""


def test_skip_unknown_leaves_it_out_and_says_so(shell):
    found = shell("sample", "--prompt", "naïve ", "--skip-unknown", "--length", "0", "--seed", "1")
    assert (found.out, found.err) == ("nave \n", "charrnn: left out of the prompt: 'ï'\n")


@pytest.mark.parametrize(
    "arguments, note",
    [
        (["--prompt", "The zyxes and qqq, "], "read as the unknown word: 'zyxes', 'qqq'"),
        (["--prompt", "The zyxes and th"], "read as the unknown word: 'zyxes'"),
        (["--prompt", "The king th"], None),
        (["--prompt", "The zyxes th", "--skip-unknown"], "left out of the prompt: 'zyxes'"),
    ],
    ids=str,
)
def test_unknown_words_of_a_prompt_are_named(word_shell, arguments, note):
    found = word_shell("sample", *arguments, "--length", "9", "--seed", "1")
    assert (found.code, found.err) == (0, f"charrnn: {note}\n" if note else "")


def test_unknown_words_are_left_out_and_the_last_is_completed(word_shell):
    options = ["--length", "9", "--seed", "1"]
    known = word_shell("sample", "--prompt", "The th", *options)
    found = word_shell("sample", "--prompt", "The zyxes th", "--skip-unknown", *options)
    assert found.out == known.out
    assert found.out.startswith("The th")
    assert not found.out.startswith("The th ")


def test_the_unknown_word_is_drawn_if_asked(word_shell):
    options = ["sample", "--length", "300", "--seed", "1", "--temperature", "1"]
    assert "<unk>" not in word_shell(*options).out
    assert " <unk> " in word_shell(*options, "--allow-unknown").out


def test_info_of_words(word_shell):
    known = [t for t, n in LEARNED.most_common() if n >= 3]
    out = word_shell("info").out
    assert f"{len(known):,} words" in out
    assert "level: word" in out
    facts = json.loads(word_shell("info", "--json").out)
    assert (facts["vocabulary"], facts["tokenizer"]) == (known, "words")


@pytest.mark.parametrize(
    "model", ["checkpoints/tales", "checkpoints/tales/step-000000015.safetensors"]
)
def test_model_by_option_and_by_environment(trained, shell, monkeypatch, model):
    arguments = ["sample", "--seed", "1", "--length", "50"]
    expected = shell(*arguments, "-m", model).out
    found = subprocess.run(
        [sys.executable, "-m", "charrnn", *arguments],
        cwd=trained[0],
        env=os.environ | {"CHARRNN_MODEL": model, "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == expected


def test_the_option_beats_the_environment(trained):
    found = subprocess.run(
        [sys.executable, "-m", "charrnn", "info", "-m", "checkpoints/tales"],
        cwd=trained[0],
        env=os.environ | {"CHARRNN_MODEL": "no such model", "PYTHONPATH": PYTHONPATH},
        capture_output=True,
    )
    assert found.returncode == 0


def test_info_shows_what_a_checkpoint_is(shell):
    out = shell("info").out
    for part in (
        "checkpoints/tales/best.safetensors",
        f"{len(set(TEXT))} characters",
        "hidden_size: 16",
        "steps: 30",
        "weight_hh_l0 64 x 16",
        "last-10%",
        "split:last-10%|lanes:8|state:carried",
        "seed: 1",
    ):
        assert part in out, part
    assert "None" not in out, "what was not given is left out"


def test_info_json_is_complete(shell, trained):
    facts = json.loads(shell("info", "--json").out)
    V = len(set(TEXT)) + 1
    assert facts["parameters"] == V * 16 + 2 * 64 * 16 + 2 * 64 + V * 16 + V
    assert facts["bytes"] == (trained[0] / facts["path"]).stat().st_size
    assert len(facts["sha256"]) == 64
    assert facts["vocabulary"] == "".join(sorted(set(TEXT)))
    assert facts["corpus"]["sources"] == [str(TALES)]
    assert facts["counters"]["step"] == 30


def test_training_on_a_terminal_shows_a_bar(tmp_path):
    seen = on_terminal(["train", str(TALES), *QUICK], tmp_path)
    assert re.search(BAR, seen)
    assert "done in" in seen


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_no_bar_where_none_is_wanted(tmp_path, environment):
    seen = on_terminal(["train", str(TALES), *QUICK], tmp_path, **environment)
    assert not re.search(BAR, seen)
    assert "done in" in seen


def test_control_characters_are_escaped_on_a_terminal_and_exact_in_a_pipe(tmp_path):
    text = "\x1b[31mred\x07 \u202egnidnim\u202c and tab\t.\n" * 200
    (tmp_path / "evil.txt").write_text(text, encoding="utf-8")
    charrnn("train", "evil.txt", *QUICK, cwd=tmp_path)
    arguments = ["sample", "--length", "300", "--seed", "1", "--prompt", "\x1b[31m"]
    piped = charrnn(*arguments, cwd=tmp_path).out
    assert piped.startswith("\x1b[31m") and "\u202e" in piped
    seen = on_terminal(arguments, tmp_path)
    assert seen.startswith(r"\x1b[31m") and r"\u202e" in seen
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202e]", seen)


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (
            NotSaved(20, "cannot write: run\x1b; No space left on device"),
            "warning: cannot write: run\\x1b; No space left on device; "
            "trying again at the next checkpoint",
        ),
        (Skipped(20), "step 20 skipped: its loss or gradient is not finite"),
        (
            RolledBack(20, 10, 0.25),
            "diverged: back from step 20 to 10, at 0.25 times the learning rate",
        ),
    ],
)
def test_what_goes_wrong_on_the_way_is_shown(capsys, event, shown):
    with Progress() as progress:
        progress.show(event)
    assert tuple(capsys.readouterr()) == ("", f"{shown}\n")


def test_there_are_no_more_validations_than_steps(tmp_path):
    found = charrnn("train", str(TALES), "--hidden", "8", "--steps", "3", cwd=tmp_path)
    assert "; 3 validations\n" in found.err
    assert len(re.findall(r"  valid [\d.]+ nats/char", found.err)) == 3
