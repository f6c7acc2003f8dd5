"""charrnn complete: what it prints, and how it answers through a pipe."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys

import pytest

import charrnn as api
from tests.support.evaluated import LEVELS, save_model
from tests.support.shell import PYTHONPATH, charrnn

pytestmark = pytest.mark.usefixtures("compiled")


@pytest.fixture(scope="module", params=LEVELS)
def folder(request, tmp_path_factory):
    """A folder with a small untrained model in it, as of a run."""
    place = tmp_path_factory.mktemp(request.param)
    (place / "checkpoints/tiny").mkdir(parents=True)
    best = place / "checkpoints/tiny/best.safetensors"
    save_model(best, LEVELS[request.param], bidirectional=True)
    return place


@pytest.fixture
def model(folder):
    return api.load(folder / "checkpoints/tiny")


@pytest.fixture
def complete(folder):
    return lambda *arguments, **keywords: charrnn("complete", *arguments, cwd=folder, **keywords)


TEXTS = ["", "the ", "the ca", "The cat, ", "I", "a ____ cat", "a c____ the ____."]


def words_of(completion) -> str:
    return "".join(f"{s.text}\n" for s in completion.suggestions)


def note(model, *texts: str) -> str:
    """On stderr, of what the model does not know of some texts."""
    unknown = dict.fromkeys(s for text in texts for s in model.completer().unknown(text))
    kind = "character" if model.config.level == "char" else "word"
    named = ", ".join(map(repr, unknown))
    return f"charrnn: read as the unknown {kind}: {named}\n" if unknown else ""


@pytest.mark.parametrize("text", TEXTS)
def test_words_one_a_line_best_first(complete, model, text):
    found = complete(text)
    assert (found.code, found.err) == (0, note(model, text))
    assert found.out == words_of(model.complete(text))


@pytest.mark.parametrize("n", [1, 3])
def test_as_many_as_are_wanted_at_most(complete, model, n):
    assert complete("the ca", "-n", str(n)).out == words_of(model.complete("the ca", n))


@pytest.mark.parametrize("option", ["--next", "--prefix"])
@pytest.mark.parametrize("text", ["the ca", "a", "the "])
def test_one_reading_of_the_last_word(complete, model, option, text):
    expected = model.complete(text, mode=option[2:])
    assert complete(option, text).out == words_of(expected)


def test_scores_are_behind_a_tab(complete, model):
    expected = model.complete("the ca", 3)
    out = "".join(f"{s.text}\t{s.p:.4f}\n" for s in expected.suggestions)
    assert complete("--scores", "-n", "3", "the ca").out == out
    assert all(0 < float(line.split("\t")[1]) < 1 for line in out.splitlines())


@pytest.mark.parametrize("text", TEXTS)
def test_json_is_all_that_is_known(complete, model, text):
    [line] = complete("--json", text).out.splitlines()
    found, expected = json.loads(line), model.complete(text)
    assert list(found) == ["id", "input", "mode", "prefix", "suggestions", "other", "ms"]
    assert found.pop("ms") >= 0
    assert found == {
        "id": 1,
        "input": text,
        "mode": expected.mode,
        "prefix": expected.prefix,
        "suggestions": [
            {"text": s.text, "insert": s.insert, "p": pytest.approx(s.p)}
            for s in expected.suggestions
        ],
        "other": pytest.approx(expected.other),
    }


def test_json_is_written_as_it_is_read(complete):
    assert '"input": "naïve ☃ \\"a\\" "' in complete("--json", 'naïve ☃ "a" ').out


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "whole"])
def test_each_line_of_stdin_is_a_text(complete, model, end, last):
    """An empty one too, and a last one without its end."""
    given = end.join(TEXTS) + (end if last else "")
    expected = "".join(words_of(model.complete(text)) + "\n" for text in TEXTS)
    found = complete(stdin=given.encode())
    assert (found.code, found.out) == (0, expected)


def test_json_answers_have_the_number_and_the_text_of_their_line(complete):
    found = complete("--json", stdin=b"the \n\nI\n")
    records = [json.loads(line) for line in found.out.splitlines()]
    assert [(r["id"], r["input"]) for r in records] == [(1, "the "), (2, ""), (3, "I")]


def test_only_words_that_are_probable_enough(complete, model):
    first, second = model.complete("the ", 2).suggestions
    found = complete("--json", "--min-p", str((first.p + second.p) / 2), "the ")
    record = json.loads(found.out)
    assert [s["text"] for s in record["suggestions"]] == [first.text]
    assert record["other"] == pytest.approx(1 - first.p)


@pytest.mark.parametrize("arguments", [[], ["--scores"]])
def test_exit_code_1_where_there_is_nothing_to_suggest(complete, arguments):
    found = complete("--min-p", "1", *arguments, "a ")
    assert (found.code, found.out, found.err) == (1, "", "")


def test_exit_code_1_comes_with_an_answer_in_json_too(complete):
    found = complete("--json", "--min-p", "1", "the ")
    assert found.code == 1
    assert json.loads(found.out)["suggestions"] == []


@pytest.mark.parametrize("stdin, code", [(b"", 1), (b"zz____\n", 1), (b"zz____\na ____ a\n", 0)])
def test_of_several_texts_one_answer_is_enough(complete, folder, stdin, code):
    if folder.name.startswith("char") and stdin:
        pytest.skip("there is always something that a word may become")
    assert complete(stdin=stdin).code == code


def test_a_cache_of_words(complete, model):
    """Of a model of characters, one line that says so."""
    text = "cat cat the the cat cat "
    found = complete("--cache", "0.9", "--scores", text)
    if model.config.level == "char":
        message = "charrnn: error: a cache is for models of words: --cache 0.9\n"
        assert (found.code, found.out, found.err) == (2, "", message)
        return
    suggestions = model.complete(text, cache=0.9).suggestions
    assert found.out == "".join(f"{s.text}\t{s.p:.4f}\n" for s in suggestions)
    assert suggestions != model.complete(text).suggestions


def test_a_blank_is_filled_whatever_the_mode(complete):
    """A process that an editor keeps must not end because of one."""
    found = complete("--next", "--json", stdin=b"a ____ a\na\n")
    assert [json.loads(line)["mode"] for line in found.out.splitlines()] == ["blank", "next"]


BAD = {
    "both readings": (["--next", "--prefix", "a"], b"", 2, "--next and --prefix"),
    "none": (["-n", "0", "a"], b"", 2, "-n 0; must be from 1 to 1000"),
    "too many": (["-n", "1001", "a"], b"", 2, "-n 1001; must be from 1 to 1000"),
    "no number": (["-n", "x", "a"], b"", 2, "'x'"),
    "improbable": (["--min-p", "1.5", "a"], b"", 2, "--min-p 1.5; must be from 0 to 1"),
    "more than all": (["--cache", "1.5", "a"], b"", 2, "--cache 1.5; must be from 0 to 1"),
    "not a number": (["--min-p", "nan", "a"], b"", 2, "--min-p nan"),
    "no such model": (["-m", "none", "a"], b"", 66, "no such checkpoint: none"),
    "no such device": (["--device", "tpu", "a"], b"", 2, "--device tpu"),
    "invalid UTF-8": ([], b"caf\xe9\n", 65, "invalid UTF-8: line 1 of stdin; byte offset 3"),
}


@pytest.mark.parametrize("arguments, stdin, code, message", BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_its_exit_code(complete, arguments, stdin, code, message):
    found = complete(*arguments, stdin=stdin)
    assert (found.code, found.out) == (code, "")
    [line] = found.err.splitlines()
    assert line.startswith("charrnn: error: ")
    assert message in line


def test_without_a_run_it_says_how_to_train_one(tmp_path):
    found = charrnn("complete", "a", cwd=tmp_path)
    assert (found.code, found.out) == (66, "")
    assert "charrnn train" in found.err


def test_lines_before_one_that_is_not_utf8_are_answered(complete, model):
    found = complete(stdin=b"the \n\xff\nthe \n")
    assert (found.code, found.out) == (65, words_of(model.complete("the ")) + "\n")
    assert "line 2 of stdin; byte offset 0" in found.err


def test_an_argument_that_is_not_utf8_does_no_harm(complete):
    assert complete(os.fsdecode(b"caf\xe9 the ")).code == 0


def serve(folder, *arguments) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "charrnn", "complete", *arguments],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
    )


def read_until(process: subprocess.Popen, end: bytes) -> bytes:
    """What has come when the end has; fails where nothing comes for a minute."""
    received = b""
    while not received.endswith(end):
        assert select.select([process.stdout], [], [], 60)[0], f"only {received!r} came"
        block = os.read(process.stdout.fileno(), 65536)
        assert block, f"it ended: {process.stderr.read()!r}"
        received += block
    return received


def test_each_answer_comes_before_the_next_text_is_written(folder, model):
    """As an editor keeps one process open; what is left on stdin ends it."""
    with serve(folder) as process:
        for text in ("the ", "", "the ca", "a ____ the"):
            process.stdin.write(f"{text}\n".encode())
            answer = read_until(process, b"\n\n").decode()
            assert answer == words_of(model.complete(text)) + "\n"
        process.stdin.close()
        assert process.wait(30) == 0
        assert process.stdout.read() == b""
        noted = note(model, "the ", "the ca", "a ____ the")
        assert process.stderr.read().decode() == noted


def test_what_is_unknown_is_named_once_behind_all_answers(complete, model):
    expected = {
        "word": "word: 'zap', 'zip', 'zop', '; ', 'zup' and 2 more",
        "char": "character: 'z', 'p', 'i', ';', 'u' and 1 more",
    }[model.config.level]
    texts = "a zap zip a ca", "zap zop; ____ zup", "zep ____, zyp"
    found = complete(stdin="\n".join(texts).encode())
    assert (found.code, found.err) == (0, f"charrnn: read as the unknown {expected}\n")


def test_what_is_unknown_depends_on_the_mode(complete, model):
    """A word that is not whole is none of the model's yet."""
    expected = "charrnn: read as the unknown character: 'z', 'p'\n"
    assert complete("--prefix", "zap").err == (expected if model.config.level == "char" else "")


def test_a_reader_that_has_enough_ends_it_quietly(folder):
    with serve(folder, "--json") as process:
        process.stdin.write(b"the \n")
        assert read_until(process, b"}\n")
        process.stdout.close()
        process.stdin.write(b"the \n")
        assert process.wait(30) == -signal.SIGPIPE
        assert process.stderr.read() == b""
