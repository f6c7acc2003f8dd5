"""charrnn eval: what it prints of files, lines and tokens, and what of those it cannot read."""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import charrnn as api
from tests.golden.make_eval import FILE, answer
from tests.support.evaluated import LEVELS, ONE, TWO, make_folder, read_json, squeezed
from tests.support.readme import program
from tests.support.shell import PYTHONPATH, charrnn, on_terminal, popen

pytestmark = pytest.mark.usefixtures("compiled")

BEST = "7\tthe cat goes.\nx-1\tgoes the the cat.\n7\tthe zebra\tgoes\n\tI\n"

FIGURES = {
    "tokens", "unknown", "unknown_rate", "characters", "bytes", "text_bytes", "nats",
    "nats_per_token", "bits_per_token", "bits_per_character", "bits_per_byte",
    "bits_per_byte_spelled", "perplexity", "perplexity_known", "calibration_error", "accuracy",
    "reliability",
}  # fmt: skip


@pytest.fixture(scope="module", params=LEVELS)
def folder(request, tmp_path_factory):
    """A folder with texts and a small untrained model, as of a run."""
    place = tmp_path_factory.mktemp(request.param)
    make_folder(place, LEVELS[request.param])
    (place / "best.tsv").write_text(BEST, encoding="utf-8")
    return place


@pytest.fixture
def model(folder):
    return api.load(folder / "checkpoints/tiny")


@pytest.fixture
def evaluate(folder):
    return lambda *arguments, **keywords: charrnn("eval", *arguments, cwd=folder, **keywords)


@pytest.fixture
def records(evaluate):
    """What --per line or token prints, as objects, but for the first."""

    def run(*arguments, **keywords):
        found = evaluate(*arguments, **keywords)
        assert (found.code, found.err) == (0, "")
        return [read_json(line) for line in found.out.splitlines()[1:]]

    return run


def row_of(name, score):
    """As the table shows a score."""
    figures = f"{score.tokens:,} {100 * score.unknown_rate:.2f} % {score.nats_per_token:.4f}"
    figures += f" {score.bits_per_character:.4f} {score.bits_per_byte:.4f}"
    figures += f" {score.perplexity:.2f} {score.perplexity_known:.2f}"
    return f"{name} {figures} {100 * score.accuracy[1]:.1f} % {100 * score.accuracy[5]:.1f} %"


MANY_DIGITS = re.compile(r"-?\d+\.\d{5,}(?:e-?\d+)?")


def check_close(found, expected, tolerance):
    """The same to the letter, but for the last of many digits."""
    assert MANY_DIGITS.sub("#", found) == MANY_DIGITS.sub("#", expected)
    numbers = [list(map(float, MANY_DIGITS.findall(text))) for text in (found, expected)]
    np.testing.assert_allclose(*numbers, rtol=tolerance)


HEADER = "file tokens unknown nats/token bits/char bits/byte perplexity of known top-1 top-5"
SIGNATURE = r"charrnn: cell:lstm\|layers:1\|hidden:8\|level:\S+\|lanes:1\|state:carried\|v:\S+"

# Figures of files


def test_a_file_is_a_row_of_a_table(evaluate, model):
    found = evaluate("one.txt")
    assert found.code == 0
    assert squeezed(found.out) == [HEADER, row_of("one.txt", model.score(ONE))]


def test_several_files_have_a_total(evaluate, model):
    one, two = model.score(ONE), model.score(TWO)
    rows = [row_of("one.txt", one), row_of("two.txt", two), row_of("all", one + two)]
    assert squeezed(evaluate("one.txt", "two.txt").out) == [HEADER, *rows]


def test_the_signature_and_the_checkpoint_are_told_on_stderr(evaluate, model):
    end = rf", checkpoint {model.checkpoint.sha256}\n"
    assert re.fullmatch(SIGNATURE + end, evaluate("one.txt").err)


def test_columns_are_aligned(evaluate):
    lengths = {len(line) for line in evaluate("one.txt", "two.txt").out.splitlines()}
    assert len(lengths) == 1


def test_json_has_these_keys(evaluate):
    found = read_json(evaluate("--json", "one.txt").out)
    assert list(found) == ["signature", "checkpoint", "files", "total", "errors"]
    assert set(found["total"]) == FIGURES
    assert set(found["files"][0]) == FIGURES | {"file", "sha256"}
    assert set(found["total"]["accuracy"]) == {"1", "3", "5"}
    bins = ["from", "to", "tokens", "probability", "right"]
    assert all(list(row) == bins for row in found["total"]["reliability"])


def test_json_says_which_bytes_and_which_model(evaluate, model):
    found = read_json(evaluate("--json", "one.txt").out)
    assert found["files"][0]["sha256"] == hashlib.sha256(ONE.encode()).hexdigest()
    assert found["checkpoint"] == model.checkpoint.sha256
    assert re.fullmatch(SIGNATURE, "charrnn: " + found["signature"])


def test_figures_are_those_of_the_python_api(evaluate, model):
    one, two = model.score(ONE), model.score(TWO)
    found = read_json(evaluate("--json", "one.txt", "two.txt").out)
    for row in found["files"]:
        del row["file"], row["sha256"]
    expected = [score.to_dict() for score in (one, two, one + two)]
    check_close(json.dumps([*found["files"], found["total"]]), json.dumps(expected), 1e-9)


def test_json_keeps_stderr_for_what_went_wrong(evaluate):
    assert evaluate("--json", "one.txt").err == ""


def test_score_only_is_one_number(evaluate, model):
    found = evaluate("--score-only", "one.txt", "two.txt")
    assert found.out == f"{(model.score(ONE) + model.score(TWO)).bits_per_byte:.6f}\n"
    assert re.match(SIGNATURE, found.err)


def test_bins_have_all_tokens_each_where_it_belongs(evaluate):
    total = read_json(evaluate("--json", "one.txt").out)["total"]
    bins = total["reliability"]
    assert sum(row["tokens"] for row in bins) == total["tokens"]
    assert all(row["from"] <= row["probability"] <= row["to"] for row in bins)
    right = sum(row["tokens"] * row["right"] for row in bins)
    assert right == pytest.approx(total["accuracy"]["1"] * total["tokens"])


@pytest.mark.parametrize("options", [["--json"], ["--per", "token"], ["--lanes", "3"], ["--nbest"]])
def test_the_same_command_prints_the_same_bytes(evaluate, options):
    first, again = (evaluate(*options, "best.tsv") for _ in range(2))
    assert first == again


# How a text is read


def test_lanes_cut_a_text_and_say_so(evaluate, model):
    found = read_json(evaluate("--json", "--lanes", "3", "one.txt").out)
    expected = model.evaluator(lanes=3).score([ONE])
    assert found["total"]["nats"] == pytest.approx(expected.nats, rel=1e-12)
    assert abs(expected.nats - model.score(ONE).nats) > 0.1
    assert "|lanes:3|" in found["signature"]


def test_more_lanes_than_symbols_score_each_of_these(evaluate, model):
    found = read_json(evaluate("--json", "--lanes", "999", "one.txt").out)
    assert found["total"]["tokens"] == model.score(ONE).tokens


def test_reset_line_scores_each_line_for_itself(records, model):
    lines = records("--per", "line", "--reset", "line", "one.txt")
    expected = [model.score(line).nats for line in ONE.splitlines(keepends=True)]
    assert [line["nats"] for line in lines] == pytest.approx(expected, rel=1e-5)


def test_reset_line_is_in_the_signature_and_in_the_total(evaluate, model):
    found = read_json(evaluate("--json", "--reset", "line", "one.txt").out)
    assert "|state:line|" in found["signature"]
    expected = sum(model.score(line).nats for line in ONE.splitlines(keepends=True))
    assert found["total"]["nats"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("options", [["--per", "line"], ["--per", "token"], ["--json"]])
@pytest.mark.parametrize("how", ["stdin", "gz"])
def test_where_a_text_comes_from_does_not_matter(evaluate, folder, how, options):
    (folder / "one.gz").write_bytes(gzip.compress(ONE.encode()))
    expected = evaluate(*options, "one.txt").out
    found = evaluate(*options, "-" if how == "stdin" else "one.gz", stdin=ONE.encode())
    assert found.code == 0
    assert found.out.replace('"-"', '"one.txt"').replace("one.gz", "one.txt") == expected


def test_a_folder_is_its_texts_in_order(evaluate, folder):
    texts = folder / "texts/deeper"
    texts.mkdir(parents=True)
    shutil.copy(folder / "two.txt", texts / "a.txt")
    shutil.copy(folder / "one.txt", texts.parent / "z.txt")
    shutil.copy(folder / "best.tsv", texts)  # no *.txt
    files = read_json(evaluate("--json", "texts", "two.txt").out)["files"]
    assert [row["file"] for row in files] == ["texts/deeper/a.txt", "texts/z.txt", "two.txt"]


# Lines


def test_lines_have_these_keys_behind_a_record_of_the_model(evaluate):
    head, *lines = map(read_json, evaluate("--per", "line", "one.txt").out.splitlines())
    assert list(head) == ["record", "signature", "checkpoint"]
    assert head["record"] == "model"
    for line in lines:
        assert list(line) == [
            "record", "file", "line", "offset", "text", "tokens", "unknown", "nats",
            "bits_per_byte", "bits_per_byte_spelled", "perplexity",
        ]  # fmt: skip
        assert line["record"] == "line"


def test_lines_are_numbered_in_each_file(records):
    lines = records("--per", "line", "one.txt", "two.txt")
    assert [(line["file"], line["line"], line["text"]) for line in lines] == [
        (name, number, text)
        for name, whole in (("one.txt", ONE), ("two.txt", TWO))
        for number, text in enumerate(whole.splitlines(), 1)
    ]


@pytest.mark.parametrize("per", ["line", "token"])
@pytest.mark.parametrize("reset", ["file", "line"])
@pytest.mark.parametrize(
    "raw",
    [
        ONE.encode(),
        TWO.encode(),
        b"\xef\xbb\xbf" + ONE.encode(),
        TWO.replace("\n", "\r\n").encode(),
    ],
    ids=["plain", "no last line break", "byte-order mark", "CRLF"],
)
def test_offsets_point_at_the_text_in_the_bytes_of_the_file(evaluate, folder, per, reset, raw):
    (folder / "some.txt").write_bytes(raw)
    found = evaluate("--per", per, "--reset", reset, "some.txt").out.splitlines()[1:]
    end = 3 * raw.startswith(b"\xef\xbb\xbf")
    for record in map(read_json, found):
        text = record["text"].encode()
        assert raw[record["offset"] :].startswith(text)
        assert record["offset"] == end
        end += len(text) + (per == "line")
    assert end == len(raw) + (per == "line" and not raw.endswith(b"\n"))


@pytest.mark.parametrize("name, text", [("one.txt", ONE), ("two.txt", TWO)])
def test_the_nats_of_lines_add_up(records, model, name, text):
    nats = [line["nats"] for line in records("--per", "line", name)]
    assert sum(nats) == pytest.approx(model.score(text).nats, rel=1e-12)


ORDERS = {"surprisal": ("bits_per_byte_spelled", -1), "score": ("bits_per_byte_spelled", 1)}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("top", [0, 1, 3, 99])
def test_lines_are_sorted_over_all_files(records, order, top):
    key, sign = ORDERS[order]
    lines = records("--per", "line", "one.txt", "two.txt")
    found = records("--per", "line", "--sort", order, "--top", str(top), "one.txt", "two.txt")
    assert found == sorted(lines, key=lambda line: sign * line[key])[: top or None]


def test_top_lines_of_a_text_are_its_first(records):
    lines = records("--per", "line", "one.txt", "two.txt")
    assert records("--per", "line", "--top", "2", "one.txt", "two.txt") == lines[:2]


# Tokens


def test_tokens_have_these_keys_behind_a_record_of_the_model(evaluate):
    head, *tokens = map(read_json, evaluate("--per", "token", "one.txt").out.splitlines())
    assert list(head) == ["record", "signature", "checkpoint"]
    for token in tokens:
        assert list(token) == [
            "record", "file", "offset", "text", "known", "logprob", "rank", "entropy",
            "alternatives",
        ]  # fmt: skip
        assert (token["record"], token["file"]) == ("token", "one.txt")


def test_tokens_are_the_whole_text(records):
    assert "".join(t["text"] for t in records("--per", "token", "one.txt")) == ONE


def test_logprobs_are_those_of_the_python_api(records, model):
    found = [token["logprob"] for token in records("--per", "token", "one.txt")]
    np.testing.assert_array_equal(found, model.logprobs(ONE))


@pytest.mark.parametrize("reset", ["file", "line"])
def test_logprobs_of_tokens_add_up_to_the_nats_of_their_line(records, reset):
    options = ["--reset", reset, "one.txt"]
    tokens, lines = (records("--per", per, *options) for per in ("token", "line"))
    ends = [line["offset"] for line in lines[1:]] + [len(ONE.encode())]
    for line, end in zip(lines, ends, strict=True):
        own = [t["logprob"] for t in tokens if line["offset"] <= t["offset"] < end]
        assert -sum(own) == pytest.approx(line["nats"], rel=1e-9)
        assert len(own) == line["tokens"]


def test_unknown_symbols_are_marked_and_keep_their_text(records, folder):
    tokens = records("--per", "token", "one.txt")
    symbols = set(LEVELS["word" if folder.name.startswith("word") else "char"].symbols)
    unknown = {t["text"].strip() for t in tokens if not t["known"]}
    assert "☃" in unknown
    assert not unknown & symbols
    known = {t["text"] for t in tokens if t["known"]}
    assert known <= symbols | {f" {s}" for s in symbols}


@pytest.mark.parametrize("n", [1, 3, 1000])
def test_alternatives_are_the_likeliest_symbols(records, folder, n):
    vocabulary = LEVELS["word" if folder.name.startswith("word") else "char"]
    for token in records("--per", "token", "--alternatives", str(n), "one.txt"):
        found = [(other["text"], other["p"]) for other in token["alternatives"]]
        assert len(found) == min(n, len(vocabulary))
        assert [p for _, p in found] == sorted((p for _, p in found), reverse=True)
        if token["rank"] <= n and token["known"]:
            text, p = found[token["rank"] - 1]
            assert token["text"] in (text, f" {text}")
            assert np.log(p) == pytest.approx(token["logprob"], rel=1e-5)


def test_all_alternatives_together_have_the_entropy(records):
    for token in records("--per", "token", "--alternatives", "1000", "two.txt"):
        p = np.array([other["p"] for other in token["alternatives"]])
        assert p.sum() == pytest.approx(1)
        assert token["entropy"] == pytest.approx(-(p * np.log(p)).sum(), rel=1e-5)


# Hypotheses


def hypotheses(model):
    """Lines of BEST as they should come, with their log-probabilities."""
    found = []
    for line in BEST.splitlines():
        name, text = line.split("\t", 1)
        logprob = -model.score(f"{text}\n").nats
        found.append((logprob, f"{name}\t{logprob:.4f}\t{text}"))
    return found


def rounded(text):
    """With the second of the columns in four digits: others depend on the company of a line."""
    lines = [line.split("\t", 2) for line in text.splitlines()]
    assert all(re.fullmatch(r"-\d+\.\d{6}", logprob) for _, logprob, _ in lines)
    return [f"{name}\t{float(logprob):.4f}\t{text}" for name, logprob, text in lines]


def test_hypotheses_keep_their_order_their_names_and_their_text(evaluate, model):
    found = evaluate("--nbest", "best.tsv")
    assert found.code == 0
    assert rounded(found.out) == [line for _, line in hypotheses(model)]
    assert "|state:line|" in found.err


@pytest.mark.parametrize("order, sign", [("score", -1), ("surprisal", 1)])
@pytest.mark.parametrize("top", [0, 2])
def test_hypotheses_are_sorted_by_their_logprob(evaluate, model, order, sign, top):
    found = evaluate("--nbest", "--sort", order, "--top", str(top), "best.tsv")
    expected = sorted(hypotheses(model), key=lambda h: sign * h[0])
    assert rounded(found.out) == [line for _, line in expected][: top or None]


def test_hypotheses_come_through_a_pipe(evaluate):
    stdin = BEST.removesuffix("\n").encode()  # the last line needs no end
    assert evaluate("--nbest", "-", stdin=stdin).out == evaluate("--nbest", "best.tsv").out


@pytest.mark.parametrize("stdin, number", [(b"a\tb\nc\n", 2), (b"no tab", 1), (b"a\tb\n\n", 2)])
def test_a_hypothesis_without_a_tab_is_named(evaluate, stdin, number):
    found = evaluate("--nbest", "-", stdin=stdin)
    assert found.code == 65
    error = found.err.splitlines()[0]
    assert error == (f"charrnn: error: line without a tab: -, line {number}; lines are ID<tab>TEXT")


# What goes wrong

UNREADABLE = {
    "missing": (None, 66, "no such file: bad.txt"),
    "empty": (b"", 65, "empty file: bad.txt; there is nothing to score"),
    "only a byte-order mark": (b"\xef\xbb\xbf", 65, "empty file: bad.txt"),
    "binary": (b"cat\x00", 65, "binary file: bad.txt; NUL byte at offset 3"),
    "invalid UTF-8": (b"caf\xe9", 65, "invalid UTF-8: bad.txt; byte 0xe9 at offset 3"),
    "UTF-16": ("cat".encode("utf-16"), 65, "UTF-16 text: bad.txt"),
}
unreadable = pytest.mark.parametrize("raw, code, message", UNREADABLE.values(), ids=UNREADABLE)


@pytest.fixture
def batch(folder):
    """Makes a file that cannot be read, and names it among others that can."""

    def make(raw):
        (folder / "bad.txt").unlink(missing_ok=True)
        if raw is not None:
            (folder / "bad.txt").write_bytes(raw)
        return ["one.txt", "bad.txt", "two.txt"]

    return make


@unreadable
def test_a_file_that_cannot_be_read_is_reported_and_the_rest_is_done(
    evaluate, batch, raw, code, message
):
    found = evaluate(*batch(raw))
    errors = [line for line in found.err.splitlines() if "error" in line]
    assert (found.code, len(errors)) == (code, 1)
    assert errors[0].startswith(f"charrnn: error: {message}")
    assert found.out == evaluate("one.txt", "two.txt").out


@unreadable
def test_errors_are_in_the_json_too(evaluate, batch, raw, code, message):
    found = evaluate("--json", *batch(raw))
    result, expected = map(read_json, (found.out, evaluate("--json", "one.txt", "two.txt").out))
    [error] = result.pop("errors")
    assert list(error) == ["file", "error"]
    assert error["file"] == "bad.txt"
    assert error["error"].startswith(message)
    assert f"charrnn: error: {error['error']}\n" in found.err
    assert expected.pop("errors") == []
    assert (found.code, result) == (code, expected)


@pytest.mark.parametrize("options", [["--per", "line"], ["--per", "token"]], ids=" ".join)
def test_records_of_the_rest_are_all_there(evaluate, batch, options):
    found = evaluate(*options, *batch(b"caf\xe9"))
    assert (found.code, found.out) == (65, evaluate(*options, "one.txt", "two.txt").out)


def test_nothing_of_a_text_that_broke_off_is_in_the_next(evaluate, batch):
    found = evaluate("--lanes", "2", *batch(TWO.encode() * 9000 + b"\0"))
    assert (found.code, found.out) == (65, evaluate("--lanes", "2", "one.txt", "two.txt").out)


def test_records_before_the_fault_of_a_long_text_stand(evaluate, batch):
    line = "the cat, " * 18 + "the cat"
    _, bad, _ = batch(f"{line}\n".encode() * 2000 + b"\0")
    found = evaluate("--per", "line", "--reset", "line", bad)
    _, *texts = (read_json(record).get("text") for record in found.out.splitlines())
    assert (found.code, set(texts)) == (65, {line})


@pytest.mark.parametrize(
    "files, code", [(["none", "empty.txt", "one.txt"], 66), (["empty.txt", "none"], 65)]
)
def test_the_exit_code_is_that_of_the_first_error(evaluate, folder, files, code):
    (folder / "empty.txt").write_bytes(b"")
    assert evaluate(*files).code == code


def test_where_nothing_can_be_read_nothing_is_printed(evaluate):
    for options in ([], ["--score-only"]):
        assert evaluate(*options, "none", "nowhere").out == ""


def test_where_nothing_can_be_read_json_has_no_figures(evaluate):
    total = read_json(evaluate("--json", "none").out)["total"]
    assert (total["tokens"], total["bits_per_byte"], total["reliability"]) == (0, None, [])


def test_a_folder_without_texts_is_reported(evaluate, folder):
    (folder / "nothing").mkdir(exist_ok=True)
    found = evaluate("nothing", "one.txt")
    assert found.code == 66
    assert "error: folder without text files: nothing; it needs" in found.err


def test_an_error_that_is_found_in_the_text_names_the_file(evaluate, folder):
    if folder.name.startswith("char"):
        pytest.skip("any text has characters")
    (folder / "long.txt").write_text("x" * 1_200_000, encoding="utf-8")
    found = evaluate("long.txt", "one.txt")
    assert found.code == 65
    assert "error: text without words: long.txt: 1,048,576 characters without" in found.err


#: Options, and what is said of them, before a model is looked for.
SENSELESS = {
    "two forms": (["--json", "--score-only"], "--json and --score-only"),
    "JSON of lines": (["--json", "--per", "line"], "--json and --per"),
    "one number of each token": (["--score-only", "--per", "token"], "--score-only and --per"),
    "hypotheses as tokens": (["--nbest", "--per", "token"], "--per and --nbest"),
    "hypotheses as JSON": (["--nbest", "--json"], "--json and --nbest"),
    "no such unit": (["--per", "word"], "--per word; choose from file, line, token"),
    "no such reset": (["--reset", "token"], "--reset token; choose from file, line"),
    "no such order": (["--sort", "name"], "--sort name; choose from text, surprisal, score"),
    "no lane": (["--lanes", "0"], "--lanes 0; must be from 1 to 4096"),
    "too many lanes": (["--lanes", "4097"], "--lanes 4097; must be from 1 to 4096"),
    "lanes of lines": (["--lanes", "2", "--reset", "line"], "--lanes 2; only whole files"),
    "lanes with an order": (["--lanes", "2", "--per", "token"], "--lanes 2; only whole files"),
    "lanes of hypotheses": (["--lanes", "2", "--nbest"], "--lanes 2; only whole files"),
    "sorted files": (["--sort", "score"], "--sort score; it needs --per line or --nbest"),
    "sorted tokens": (["--per", "token", "--sort", "score"], "--sort score; it needs --per line"),
    "first files": (["--top", "3"], "--top 3; it needs --per line or --nbest"),
    "fewer than none": (["--per", "line", "--top", "-1"], "--top -1"),
    "no alternative": (["--per", "token", "--alternatives", "0"], "--alternatives 0; must be"),
    "alternatives of lines": (["--per", "line", "--alternatives", "5"], "it needs --per token"),
    "not a number": (["--lanes", "two"], "'two'"),
}


@pytest.mark.parametrize("options, message", SENSELESS.values(), ids=SENSELESS)
def test_senseless_options_are_refused_before_a_model_is_loaded(tmp_path, options, message):
    found = charrnn("eval", "-m", "none", *options, "text.txt", cwd=tmp_path)
    assert (found.code, found.out) == (2, "")
    [line] = found.err.splitlines()
    assert line.startswith("charrnn: error: ")
    assert message in line


def test_without_a_file_it_says_so(evaluate):
    assert (evaluate().code, "Missing argument 'FILE'" in evaluate().err) == (2, True)


def test_without_a_run_it_says_how_to_train_one(tmp_path):
    found = charrnn("eval", "text.txt", cwd=tmp_path)
    assert (found.code, found.out) == (66, "")
    assert "charrnn train" in found.err


def test_a_damaged_checkpoint_is_refused(evaluate, folder):
    data = bytearray((folder / "checkpoints/tiny/best.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "damaged.safetensors").write_bytes(data)
    found = evaluate("-m", "damaged.safetensors", "one.txt")
    assert (found.code, found.out) == (65, "")
    assert "damaged" in found.err


def test_a_reader_that_has_enough_ends_it_quietly(folder):
    (folder / "long.txt").write_text(TWO * 500, encoding="utf-8")
    with popen("eval", "--per", "token", "long.txt", cwd=folder) as process:
        assert process.stdout.readline().startswith(b'{"record": "model"')
        process.stdout.close()
        assert process.wait(30) == -signal.SIGPIPE
        assert process.stderr.read() == b""


# Names and terminals

EVIL = "\x1b[31m\u202ered\n.txt"
SPELLED = r"\x1b[31m\u202ered\n.txt"


def test_control_characters_in_a_name_are_escaped_in_the_table(evaluate, folder):
    (folder / EVIL).write_text(TWO, encoding="utf-8")
    _, row = evaluate(EVIL).out.splitlines()
    assert row.split()[0] == SPELLED


def test_control_characters_in_a_name_are_escaped_on_stderr(evaluate):
    assert evaluate("\x1b[31mnone").err.startswith(
        r"charrnn: error: no such file: \x1b[31mnone" + "\n"
    )


def test_a_name_that_is_not_utf8_makes_valid_json(evaluate, folder):
    name = os.fsdecode(b"caf\xe9.txt")
    (folder / name).write_text(TWO, encoding="utf-8")
    found = evaluate("--json", name).out
    found.encode()  # nothing in it stands for a byte that is not UTF-8
    assert read_json(found)["files"][0]["file"] == name


def test_a_long_name_stays_in_one_row(evaluate, folder):
    name = "x" * 240 + ".txt"
    (folder / name).write_text(TWO, encoding="utf-8")
    assert evaluate(name).out.splitlines()[1].startswith(f"{name}  ")


def test_nothing_that_steers_it_gets_to_a_terminal(folder):
    (folder / EVIL).write_text("the \x9b31m cat \u202e\x7f\n", encoding="utf-8")
    for options in ([], ["--per", "line"]):
        seen = on_terminal(["eval", *options, EVIL], folder)
        assert r"\u202ered" in seen
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", seen)


def test_figures_are_not_cut_off_on_a_narrow_terminal(folder):
    seen = on_terminal(["eval", "one.txt"], folder, COLUMNS="40")
    assert HEADER in squeezed(seen)


def test_it_runs_as_a_module_with_the_model_of_the_environment(folder, evaluate, tmp_path):
    found = subprocess.run(
        [sys.executable, "-m", "charrnn", "eval", "--json", "-"],
        cwd=tmp_path,
        input=ONE.encode(),
        env=os.environ
        | {"CHARRNN_MODEL": str(folder / "checkpoints/tiny"), "PYTHONPATH": PYTHONPATH},
        capture_output=True,
    )
    assert (found.returncode, found.stderr) == (0, b"")
    assert found.stdout.decode() == evaluate("--json", "-", stdin=ONE.encode()).out


# What it printed when this was written

GOLDEN = re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)+)", FILE.read_text(encoding="utf-8"), re.M)


def test_all_of_the_golden_file_is_tested():
    assert "".join(f"$ {c}\n{out}" for c, out in GOLDEN) == FILE.read_text(encoding="utf-8")


@pytest.mark.parametrize("command, expected", GOLDEN, ids=[command for command, _ in GOLDEN])
def test_it_prints_what_it_has_printed(command, expected):
    """``python -m tests.golden.make_eval`` makes it anew."""
    check_close(answer(command), expected, 1e-5)


# What it is good for


def test_strange_lines_of_a_log_are_found(tmp_path):
    """With the README's program, and a model of a few seconds."""
    code = program("logs.py")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    options = ["--hidden", "64", "--steps", "200", "--threads", "1", "--evals", "1"]
    assert charrnn("train", "monday.log", *options, cwd=tmp_path).code == 0
    options = ["--per", "line", "--reset", "line", "--sort", "surprisal", "--top", "20"]
    found = charrnn("eval", *options, "tuesday.log", cwd=tmp_path)
    texts = [read_json(line)["text"] for line in found.out.splitlines()[1:]]
    strange = re.search(r"STRANGE = (\[.+?^\])", code, re.MULTILINE | re.DOTALL)
    assert len(texts) == 20
    for event in ast.literal_eval(strange[1]):
        assert any(text.endswith(event) for text in texts), event


@pytest.mark.parametrize(
    ("options", "shown"),
    [(["--score-only"], True), (["--per", "line"], False), (["--heat"], False)],
    ids=str,
)
def test_a_bar_is_drawn_where_it_is_not_among_the_lines(tmp_path, options, shown):
    """On a terminal, of a text that takes more than a second to come."""
    make_folder(tmp_path, LEVELS["char"])
    os.mkfifo(tmp_path / "slow.txt")

    def write():
        with (tmp_path / "slow.txt").open("w", encoding="utf-8", buffering=1) as slow:
            slow.write(ONE)
            time.sleep(1.2)
            slow.write(TWO)

    writer = threading.Thread(target=write)
    writer.start()
    seen = on_terminal(["eval", *options, "slow.txt"], tmp_path)
    writer.join()
    assert ("B/s" in seen) == shown
