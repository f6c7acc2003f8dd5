"""charrnn eval beyond figures: models compared, adapted, a typist helped, texts coloured."""

from __future__ import annotations

import os
import re
import shutil

import pytest

import charrnn as api
from charrnn.cli.console import escape
from charrnn.simulation import simulate, suggester
from charrnn.text import CharVocabulary
from charrnn.text.tokens import PRETOKENIZED, TOKENIZERS, WORDS
from charrnn.text.words import WordVocabulary
from tests.support.evaluated import (
    LEVELS,
    ONE,
    TWO,
    make_folder,
    read_json,
    save_model,
    squeezed,
)
from tests.support.html import parse
from tests.support.shell import charrnn, on_terminal

pytestmark = pytest.mark.usefixtures("compiled")

TINY, SECOND = "checkpoints/tiny/best.safetensors", "second.safetensors"
EVIL = "the </pre><script>alert('1')</script> \"cat\" & <b>car\x1b[31m \u202ea\x9b\r\tgoes\n"


@pytest.fixture(scope="module", params=LEVELS)
def folder(request, tmp_path_factory):
    """Texts, the model of a run, a second model, and one of the other level."""
    place = tmp_path_factory.mktemp(request.param)
    make_folder(place, LEVELS[request.param])
    save_model(place / SECOND, LEVELS[request.param], seed=1)
    save_model(place / "other.safetensors", LEVELS["char" if request.param == "word" else "word"])
    (place / "bad.txt").write_bytes(b"the cat\n" * 9000 + b"caf\xe9")
    (place / "evil.txt").write_text(EVIL, encoding="utf-8")
    return place


@pytest.fixture
def model(folder):
    return api.load(folder / TINY)


@pytest.fixture
def evaluate(folder):
    return lambda *arguments, **keywords: charrnn("eval", *arguments, cwd=folder, **keywords)


@pytest.fixture
def json_of(evaluate):
    """The object that --json prints, of a command that goes well and says nothing else."""

    def run(*arguments):
        found = evaluate("--json", *arguments)
        assert (found.code, found.err) == (0, "")
        return read_json(found.out)

    return run


# Two models


def test_a_comparison_is_a_table_and_a_sentence(evaluate, json_of):
    found = evaluate("--compare", SECOND, "one.txt", "two.txt")
    result = json_of("--compare", SECOND, "one.txt", "two.txt")
    d = result["difference"]
    rows = [
        f"{name} {t['tokens']} {100 * t['unknown_rate']:.2f} % {t['perplexity']:.2f} "
        f"{t['bits_per_byte_spelled']:.4f}"
        for name, t in zip(("first", "second"), (m["total"] for m in result["models"]), strict=True)
    ]
    assert found.code == 0
    assert squeezed(found.out) == [
        "model tokens unknown perplexity bits/byte, spelled",
        *rows,
        f"difference {d['bits_per_byte']:+.4f} bits/byte, 95 % from {d['low']:+.4f} to "
        f"{d['high']:+.4f} (6 lines): no difference is shown",
    ]
    assert [line.split()[-1] for line in found.err.splitlines()] == [
        model["checkpoint"] for model in result["models"]
    ]


def test_a_comparison_as_json_has_these_keys(json_of, model):
    found = json_of("--compare", SECOND, "one.txt", "two.txt")
    assert list(found) == ["models", "difference", "errors"]
    assert [list(m) for m in found["models"]] == [["signature", "checkpoint", "total"]] * 2
    assert list(found["difference"]) == [
        *("bits_per_byte", "low", "high", "lines", "seed", "resamples", "confidence", "better"),
    ]
    assert (found["difference"]["lines"], found["errors"]) == (6, [])
    assert found["models"][0]["checkpoint"] == model.checkpoint.sha256


def test_both_totals_and_their_difference_are_those_of_the_python_api(json_of, folder, model):
    scores = [m.score(ONE) + m.score(TWO) for m in (model, api.load(folder / SECOND))]
    found = json_of("--compare", SECOND, "one.txt", "two.txt")
    first, second = (m["total"]["nats"] for m in found["models"])
    assert (first, second) == pytest.approx([s.nats for s in scores], rel=1e-12)
    apart = scores[0].bits_per_byte_spelled - scores[1].bits_per_byte_spelled
    assert found["difference"]["bits_per_byte"] == pytest.approx(apart, rel=1e-9)


def test_a_model_is_no_different_from_itself(json_of):
    d = json_of("--compare", TINY, "one.txt")["difference"]
    assert (d["bits_per_byte"], d["low"], d["high"], d["better"]) == (0, 0, 0, "neither")


def test_the_order_of_two_models_turns_the_sign(json_of):
    one = json_of("-m", TINY, "--compare", SECOND, "one.txt")["difference"]
    two = json_of("-m", SECOND, "--compare", TINY, "one.txt")["difference"]
    assert (one["bits_per_byte"], one["low"], one["high"]) == pytest.approx(
        (-two["bits_per_byte"], -two["high"], -two["low"]), rel=1e-9
    )


def test_models_of_characters_and_of_words_are_compared(json_of, folder, model):
    found = json_of("--compare", "other.safetensors", "one.txt")
    apart = [m.score(ONE).bits_per_byte_spelled
             for m in (model, api.load(folder / "other.safetensors"))]  # fmt: skip
    expected = pytest.approx(apart[0] - apart[1], rel=1e-9)
    assert found["difference"]["bits_per_byte"] == expected
    assert found["difference"]["lines"] == 4


def test_lines_without_a_context_are_compared(json_of, model):
    found = json_of("--compare", SECOND, "--reset", "line", "one.txt")
    expected = sum(model.score(line).nats for line in ONE.splitlines(keepends=True))
    assert found["models"][0]["total"]["nats"] == pytest.approx(expected, rel=1e-5)
    assert "|state:line|" in found["models"][0]["signature"]


@pytest.mark.parametrize("name, code", [("bad.txt", 65), ("none", 66)])
def test_a_comparison_leaves_out_what_cannot_be_read(evaluate, json_of, name, code):
    found = evaluate("--json", "--compare", SECOND, "one.txt", name, "two.txt")
    result, expected = read_json(found.out), json_of("--compare", SECOND, "one.txt", "two.txt")
    [error] = result.pop("errors")
    expected.pop("errors")
    assert (found.code, error["file"], result) == (code, name, expected)
    assert found.err == f"charrnn: error: {error['error']}\n"


NOTHING_TO_COMPARE = {
    "stdin": ("-", 2, "stdin can be read once: -; write the text to a file"),
    "a single line": ("line.txt", 65, "text of a single line; a comparison needs several"),
    "nothing": ("none", 66, "no such file: none"),
}
nothing_to_compare = pytest.mark.parametrize(
    "file, code, message", NOTHING_TO_COMPARE.values(), ids=NOTHING_TO_COMPARE
)


@nothing_to_compare
def test_where_nothing_can_be_compared_it_says_why_in_one_line(
    evaluate, folder, file, code, message
):
    (folder / "line.txt").write_text("the cat\n", encoding="utf-8")
    found = evaluate("--compare", SECOND, file, stdin=ONE.encode())
    assert (found.code, found.out, found.err) == (code, "", f"charrnn: error: {message}\n")


@nothing_to_compare
def test_where_nothing_can_be_compared_json_says_so_too(evaluate, folder, file, code, message):
    (folder / "line.txt").write_text("the cat\n", encoding="utf-8")
    found = evaluate("--json", "--compare", SECOND, file, stdin=ONE.encode())
    result = read_json(found.out)
    assert (found.code, result["difference"]) == (code, None)
    assert [error["error"] for error in result["errors"]] == [message]


def test_a_second_model_that_is_not_there_is_refused(evaluate):
    found = evaluate("--compare", "none", "one.txt")
    assert (found.code, found.out) == (66, "")
    assert len(found.err.splitlines()) == 1


# A model adapted to a text

BOTH = ["--dynamic", "--temperature-fit", "two.txt"]


def test_adapted_figures_are_rows_below_those_of_the_file(evaluate):
    plain, found = evaluate("one.txt", "two.txt"), evaluate(*BOTH, "one.txt", "two.txt")
    rows = squeezed(found.out)
    assert [row.split()[0] for row in rows] == [
        "file",
        *("one.txt", "temperature", "dynamic"),
        *("two.txt", "temperature", "dynamic"),
        *("all", "temperature", "dynamic"),
    ]
    assert [rows[0], *rows[1::3]] == squeezed(plain.out)
    temperature, dynamic, *rest = found.err.splitlines(keepends=True)
    assert re.fullmatch(r"charrnn: temperature \d\.\d{3}, fitted on two.txt\n", temperature)
    assert re.fullmatch(r"charrnn: dynamic evaluation, learning rate 0\.0?5\n", dynamic)
    assert "".join(rest) == plain.err


def test_adapted_figures_as_json(json_of):
    found, plain = json_of(*BOTH, "one.txt", "two.txt"), json_of("one.txt", "two.txt")
    assert list(found) == [
        *("signature", "checkpoint", "temperature", "dynamic", "files", "total", "errors"),
    ]
    assert list(found.pop("temperature")) == ["value", "fitted_on"]
    assert list(found.pop("dynamic")) == ["lr"]
    for row, bare in zip([*found["files"], found["total"]], [*plain["files"], plain["total"]],
                         strict=True):  # fmt: skip
        adapted = row.pop("adapted")
        assert list(adapted) == ["temperature", "dynamic"]
        assert all(set(score) == set(plain["total"]) for score in adapted.values())
        assert row == bare
    assert found == plain


def test_adapted_figures_add_up_and_are_those_of_the_python_api(json_of, model):
    found = json_of(*BOTH, "--dynamic-lr", "0.3", "one.txt", "two.txt")
    assert found["dynamic"] == {"lr": 0.3}
    scaled = model.scaled_evaluator(found["temperature"]["value"])
    for kind, evaluator in (("temperature", scaled), ("dynamic", model.dynamic_evaluator(0.3))):
        expected = [evaluator.score([text]).nats for text in (ONE, TWO)]
        rows = [row["adapted"][kind]["nats"] for row in (*found["files"], found["total"])]
        assert rows == pytest.approx([*expected, sum(expected)], rel=1e-9)


def test_the_temperature_is_the_best_for_its_file(json_of, folder, model):
    own = model.sample(length=500, temperature=0.7)
    (folder / "own.txt").write_text(own, encoding="utf-8")
    found = json_of("--temperature-fit", "own.txt", "own.txt")
    best = found["total"]["adapted"]["temperature"]["nats"]
    assert best <= found["total"]["nats"]
    fitted = found["temperature"]["value"]
    for other in (0.95, 1.05):
        assert best <= model.scaled_evaluator(fitted * other).score([own]).nats + 1e-6
    assert fitted == pytest.approx(0.7, rel=0.2)
    assert found["temperature"]["fitted_on"] == "own.txt"


def test_what_was_learned_from_a_file_is_forgotten_before_the_next(json_of):
    after = json_of("--dynamic", "one.txt", "two.txt")["files"][1]
    assert after == json_of("--dynamic", "two.txt")["files"][0]


UNFIT = {
    "missing": ("none", 66, "no such file: none"),
    "damaged": ("bad.txt", 65, "invalid UTF-8: bad.txt"),
    "empty": ("empty.txt", 65, "empty file: empty.txt"),
}


@pytest.mark.parametrize("name, code, message", UNFIT.values(), ids=UNFIT)
def test_a_file_that_no_temperature_can_be_fitted_on(evaluate, folder, name, code, message):
    (folder / "empty.txt").write_bytes(b"")
    found = evaluate("--temperature-fit", name, "one.txt")
    assert (found.code, found.out) == (code, "")
    [line] = found.err.splitlines()
    assert line.startswith(f"charrnn: error: {message}")


@pytest.mark.parametrize("options", [["--dynamic"], ["--temperature-fit", "two.txt"]], ids=" ".join)
def test_stdin_cannot_be_read_again_for_adapted_figures(evaluate, options):
    found = evaluate("--json", *options, "-", "one.txt", stdin=TWO.encode())
    error = "stdin can be read once: -; write the text to a file"
    assert (found.code, found.err) == (2, f"charrnn: error: {error}\n")
    assert [row["file"] for row in read_json(found.out)["files"]] == ["one.txt"]


@pytest.mark.parametrize("name", ["bad.txt", "none"])
def test_adapted_figures_leave_out_what_cannot_be_read(evaluate, name):
    found = evaluate(*BOTH, "one.txt", name, "two.txt")
    assert found.code in (65, 66)
    assert found.out == evaluate(*BOTH, "one.txt", "two.txt").out


# A typist


@pytest.mark.parametrize("reset", ["file", "line"])
def test_a_typist_is_the_one_of_the_simulation(json_of, model, reset):
    texts = [text.splitlines(keepends=True) for text in (ONE, TWO)]
    if reset == "line":
        texts = [[line] for text in texts for line in text]
    tokenizer = TOKENIZERS.get(model.vocabulary.tokenizer, WORDS)
    expected = simulate(texts, suggester(model.completer()), tokenizer).to_dict()
    found = json_of("--completion", "--reset", reset, "one.txt", "two.txt")
    assert list(found) == ["signature", "checkpoint", "completion", "errors"]
    assert f"|state:{'carried' if reset == 'file' else 'line'}|" in found["signature"]
    spread = found["completion"].pop("latency_ms")
    assert list(spread) == list(expected.pop("latency_ms")) == ["p50", "p95", "p99"]
    assert found["completion"] == expected
    assert list(expected) == [
        *("words", "recall", "mean_reciprocal_rank", "keys_saved", "ceilings"),
    ]
    assert list(expected["recall"]) == list(expected["keys_saved"]) == ["1", "3", "5"]
    assert list(expected["ceilings"]) == ["at_once", "after_a_letter"]


def test_a_typist_can_have_a_cache_of_words(evaluate, json_of, model):
    """The figures are those of a completer that has one, and the signature says so."""
    found = evaluate("--json", "--completion", "--cache", "0.5", "one.txt")
    if model.config.level == "char":
        message = "charrnn: error: a cache is for models of words: --cache 0.5\n"
        assert (found.code, found.out, found.err) == (2, "", message)
        return
    texts, tokenizer = [ONE.splitlines(keepends=True)], TOKENIZERS[model.vocabulary.tokenizer]
    expected = simulate(texts, suggester(model.completer(0.5)), tokenizer).to_dict()
    result = read_json(found.out)
    assert "|state:carried|cache:0.5|" in result["signature"]
    for figure in ("recall", "mean_reciprocal_rank", "keys_saved"):
        assert result["completion"][figure] == expected[figure]
    assert "cache" not in json_of("--completion", "one.txt")["signature"]


def test_a_typist_is_a_table_and_a_sentence(evaluate, json_of):
    found = evaluate("--completion", "one.txt")
    c = json_of("--completion", "one.txt")["completion"]
    rows = [f"{k} {100 * c['recall'][k]:.1f} % {100 * c['keys_saved'][k]:.1f} %" for k in "135"]
    head, *table, sentence = squeezed(found.out)
    assert (found.code, head, table) == (0, "suggestions next word keys saved", rows)
    assert sentence.startswith(
        f"{c['words']} words, mean reciprocal rank {c['mean_reciprocal_rank']:.3f}; at most "
        f"{100 * c['ceilings']['at_once']:.1f} % of the keys could be saved, "
    )
    assert re.search(r"a keystroke takes p50 [\d.]+, p95 [\d.]+, p99 [\d.]+ ms$", sentence)


def test_a_text_without_words_has_nothing_to_type(evaluate):
    found = evaluate("--completion", "-", stdin=b"...\n\n")
    message = "charrnn: error: text without words; there is nothing to type\n"
    assert (found.code, found.out, found.err) == (65, "", message)


def test_where_nothing_can_be_typed_json_says_so(evaluate):
    found = evaluate("--json", "--completion", "none")
    result = read_json(found.out)
    assert (found.code, result["completion"]) == (66, None)
    assert found.err == "charrnn: error: no such file: none\n"


def test_a_typist_leaves_out_what_cannot_be_read(evaluate, json_of):
    found = evaluate("--json", "--completion", "one.txt", "none", "two.txt")
    result, expected = (r["completion"] for r in (
        read_json(found.out), json_of("--completion", "one.txt", "two.txt")))  # fmt: skip
    del result["latency_ms"], expected["latency_ms"]
    assert (found.code, result) == (66, expected)


# Colours on a terminal


def test_without_colours_a_text_comes_out_as_it_is(evaluate):
    found = evaluate("--heat", "one.txt", "two.txt", "evil.txt")
    assert (found.code, found.out) == (0, ONE + TWO + EVIL)


@pytest.mark.parametrize("ending", ["the cat ", "the cat  ", " ", "\n\n"])
def test_space_that_ends_a_text_is_not_lost(evaluate, ending):
    assert evaluate("--heat", "-", stdin=ending.encode()).out == ending


COLOUR = re.compile(r"\x1b\[[\d;]*m")


@pytest.mark.parametrize("depth", ["truecolor", ""])
def test_on_a_terminal_there_are_colours(folder, depth):
    seen = on_terminal(["eval", "--heat", "one.txt"], folder, COLORTERM=depth)
    assert COLOUR.search(seen)
    text, signature = COLOUR.sub("", seen).replace("\r\n", "\n").rsplit("charrnn: ", 1)
    assert text.replace("↵", "") == ONE
    assert signature.startswith("cell:lstm")


def test_nothing_that_steers_it_gets_to_a_terminal(folder):
    for environment in ({}, {"NO_COLOR": "1"}):
        seen = on_terminal(["eval", "--heat", "evil.txt"], folder, **environment)
        bare = COLOUR.sub("", seen).replace("↵", "")
        assert r"\x1b[31m" in bare
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", bare)


def test_no_color_is_respected(folder):
    seen = on_terminal(["eval", "--heat", "one.txt"], folder, NO_COLOR="1")
    assert "\x1b" not in seen
    assert seen.replace("\r\n", "\n").startswith(ONE)


def test_heat_leaves_out_what_cannot_be_read(evaluate):
    found = evaluate("--heat", "one.txt", "none", "two.txt")
    assert (found.code, found.out) == (66, ONE + TWO)


# The page


@pytest.fixture
def page(evaluate, folder):
    """The page of some texts, parsed; its exit code is as expected."""

    def run(*arguments, code=0, **keywords):
        (folder / "page.html").unlink(missing_ok=True)
        found = evaluate("--html", "page.html", *arguments, **keywords)
        assert (found.code, found.out) == (code, "page.html\n")
        return parse((folder / "page.html").read_text(encoding="utf-8"))

    return run


def test_the_page_has_all_texts_by_symbol(page):
    found = page("one.txt", "two.txt")
    assert found.headings == ["Surprisal", "one.txt", "two.txt"]
    assert found.texts == [text.replace("\n", "↵\n") for text in (ONE, TWO)]


def test_the_page_shows_what_each_symbol_was_to_the_model(page, model):
    found = page("two.txt")
    parts = [judged.verdicts for judged in model.evaluator().judged([TWO])]
    expected = [(nats, rank) for v in parts for nats, rank in zip(v.nats, v.ranks, strict=True)]
    for value, (nats, rank) in zip(found.values, expected, strict=True):
        assert list(value) == ["p", "bits", "rank", "entropy", "known", "others"]
        assert value["rank"] == rank
        assert value["bits"] == pytest.approx(nats / 0.693147, rel=5e-3)
        assert len(value["others"]) == 3


def test_the_page_says_which_model(page, model):
    assert f", checkpoint {model.checkpoint.sha256}" in page("one.txt").source


def test_no_text_can_break_out_of_the_page(page):
    found = page("evil.txt", "-", stdin=b"</i></pre><img src=x onerror=alert(1)>&lt;\"'\n")
    first, second = found.texts
    assert first == escape(EVIL).replace("\n", "↵\n")
    assert second == "</i></pre><img src=x onerror=alert(1)>&lt;\"'↵\n"
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", found.source)


def test_no_name_can_break_out_of_the_page(page, folder):
    name = "<img src=x>&\x1b\u202e\n.txt"
    shutil.copy(folder / "two.txt", folder / name)
    assert page(name).headings[1] == r"<img src=x>&\x1b\u202e\n.txt"


EVIL_SYMBOLS = {
    "char": CharVocabulary("\n<>/\"'&\x1b\u202eprescit"),
    "word": WordVocabulary(["\n", "</pre><script>", "\"'&", "\x1b\u202e<i>", "cat"], PRETOKENIZED),
}


def test_no_vocabulary_can_break_out_of_the_page(page, folder):
    level = "word" if folder.name.startswith("word") else "char"
    save_model(folder / "evil.safetensors", EVIL_SYMBOLS[level])
    found = page("-m", "evil.safetensors", "two.txt")
    assert found.texts == [TWO.replace("\n", "↵\n")]
    shown = {text for value in found.values for text, _ in value["others"]}
    assert shown & {escape(symbol) for symbol in EVIL_SYMBOLS[level].symbols}
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", found.source)


def test_the_page_leaves_out_what_cannot_be_read(page):
    found = page("one.txt", "none", "two.txt", code=66)
    assert found.headings == ["Surprisal", "one.txt", "two.txt"]


def test_the_page_is_whole_if_a_text_breaks_off(page):
    found = page("bad.txt", "two.txt", code=65)
    assert found.headings[-1] == "two.txt"
    assert found.texts[-1] == TWO.replace("\n", "↵\n")


def test_where_nothing_can_be_read_there_is_no_page(evaluate, folder):
    (folder / "empty.txt").write_bytes(b"")
    (folder / "kept.html").write_text("older")
    before = sorted(folder.iterdir())
    found = evaluate("--html", "kept.html", "none", "empty.txt")
    assert (found.code, found.out) == (66, "")
    assert len(found.err.splitlines()) == 2
    assert (sorted(folder.iterdir()), (folder / "kept.html").read_text()) == (before, "older")


@pytest.mark.parametrize("path", ["nowhere/page.html", ".", "checkpoints", "one.txt/page.html", ""])
def test_a_page_that_cannot_be_created(evaluate, folder, path):
    before = sorted(folder.iterdir())
    found = evaluate("--html", path, "one.txt")
    assert (found.code, found.out) == (73, "")
    [line] = found.err.splitlines()
    assert line.startswith("charrnn: error: cannot create: ")
    assert sorted(folder.iterdir()) == before


# Options that exclude each other

VIEWS = {
    "--score-only": [], "--per": ["line"], "--nbest": [], "--compare": ["none"],
    "--completion": [], "--heat": [], "--html": ["page.html"],
}  # fmt: skip
EXTRAS = {"--json": [], "--lanes": ["2"], "--dynamic": [], "--temperature-fit": ["two.txt"]}
TOGETHER = {("--lanes", "--score-only"), ("--json", "--compare"), ("--json", "--completion")}
APART = [
    *((a, b) for n, a in enumerate(VIEWS) for b in [*VIEWS][n + 1 :]),
    *((a, b) for a in EXTRAS for b in VIEWS if (a, b) not in TOGETHER),
]


@pytest.mark.parametrize("first, second", APART)
def test_views_exclude_each_other_before_a_model_is_loaded(tmp_path, first, second):
    given = VIEWS | EXTRAS
    options = [first, *given[first], second, *given[second]]
    found = charrnn("eval", "-m", "none", *options, "text.txt", cwd=tmp_path)
    assert (found.code, found.out) == (2, "")
    [line] = found.err.splitlines()
    assert line.startswith("charrnn: error: ")
    assert first in line or second in line


@pytest.mark.parametrize("first, second", sorted(TOGETHER))
def test_these_go_together(tmp_path, first, second):
    given = VIEWS | EXTRAS
    options = [first, *given[first], second, *given[second]]
    assert charrnn("eval", "-m", "none", *options, "text.txt", cwd=tmp_path).code == 66


@pytest.mark.parametrize(
    "options, message",
    [
        (["--dynamic", "--lanes", "2"], "--dynamic; it is of whole files, read in one lane"),
        (["--dynamic", "--reset", "line"], "--dynamic; it is of whole files, read in one lane"),
        (["--temperature-fit", "x", "--lanes", "2"], "--temperature-fit; it is of whole files"),
        (["--temperature-fit", "x", "--reset", "line"], "--temperature-fit; it is of whole files"),
        (["--cache", "0.2"], "--cache 0.2; it needs --completion"),
        (["--completion", "--cache", "2"], "--cache 2.0; must be from 0 to 1"),
        (["--dynamic-lr", "0.1"], "--dynamic-lr 0.1; it needs --dynamic"),
        (["--dynamic", "--dynamic-lr", "-1"], "--dynamic-lr -1.0; must be from 0 to 100"),
        (["--dynamic", "--dynamic-lr", "nan"], "--dynamic-lr nan; must be from 0 to 100"),
    ],
)
def test_senseless_options_are_refused(tmp_path, options, message):
    found = charrnn("eval", "-m", "none", *options, "text.txt", cwd=tmp_path)
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith(f"charrnn: error: invalid value: {message}")


def test_the_page_never_takes_the_place_of_its_text(evaluate, folder):
    (folder / "text.html").write_text(TWO, encoding="utf-8")
    (folder / "link.html").symlink_to("text.html")
    for name in ("text.html", "link.html"):
        done = evaluate("--html", name, "text.html")
        assert done.code == 2
        assert "the page would replace its text" in done.err
    assert (folder / "text.html").read_text(encoding="utf-8") == TWO


def test_a_page_behind_a_link_is_written_there(evaluate, folder):
    (folder / "shown.html").symlink_to("elsewhere.html")
    assert evaluate("--html", "shown.html", "two.txt").code == 0
    assert (folder / "shown.html").is_symlink()
    assert "</html>" in (folder / "elsewhere.html").read_text(encoding="utf-8")


def test_a_page_is_not_written_over_what_is_no_file(evaluate, folder):
    os.mkfifo(folder / "pipe")
    done = evaluate("--html", "pipe", "two.txt")
    assert (done.code, done.out) == (73, "")
    assert (folder / "pipe").is_fifo()


def test_models_are_compared_whatever_is_a_line_to_them(evaluate, folder):
    """Space at the end of a text is no symbol of pretokenized text."""
    spaced = WordVocabulary(["\n", "a", "b"], PRETOKENIZED)
    save_model(folder / "spaced.safetensors", spaced)
    (folder / "spaces.txt").write_text("a b\na b\n   ", encoding="utf-8")
    for pair in (["-m", TINY, "--compare", "spaced.safetensors"],
                 ["-m", "spaced.safetensors", "--compare", TINY]):  # fmt: skip
        done = evaluate(*pair, "spaces.txt")
        assert (done.code, "3 lines" in done.out) == (0, True)


def test_a_text_without_symbols_is_an_error(evaluate, folder):
    save_model(folder / "spaced.safetensors", WordVocabulary(["\n", "a"], PRETOKENIZED))
    (folder / "blank.txt").write_text("   ", encoding="utf-8")
    for options in ([], ["--score-only"], ["--json"]):
        done = evaluate("-m", "spaced.safetensors", "blank.txt", *options)
        assert done.code == 65
        assert "nan" not in done.out
        assert "text without symbols: blank.txt" in done.err
