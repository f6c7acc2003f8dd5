"""Losses and what derives from them."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn import __version__, evaluation, scoring, verdicts
from charrnn.errors import DataError
from charrnn.evaluation import Evaluator, Judged, Line, Score, by_line, signature
from charrnn.model import Model
from charrnn.params import parameter_shapes
from charrnn.text import UNKNOWN, CharVocabulary
from charrnn.text.segments import lines, segments
from charrnn.text.tokens import PRETOKENIZED, WORDS
from charrnn.text.words import WordVocabulary
from charrnn.verdicts import Verdicts, judge
from tests.support.stacks import backend_of, cells, exact, model_backends, model_config
from tests.support.tiny import by_hand, expected, tiny_model


def test_score_by_hand():
    score = Score(nats=8 * math.log(2), tokens=4, unknown=1, characters=4, bytes=8)
    assert score.nats_per_token == pytest.approx(2 * math.log(2))
    assert score.bits_per_token == pytest.approx(2)
    assert score.bits_per_character == pytest.approx(2)
    assert score.bits_per_byte == pytest.approx(1)
    assert score.perplexity == pytest.approx(4)


# Texts of any kind

CHARACTERS = CharVocabulary("\n abcé你")
KNOWN = WordVocabulary(["a", "b", "\n", ", ", "é", "c"], WORDS)
MARKED = WordVocabulary(["a", "b", "\n", ",", "é", "c"], PRETOKENIZED)
VOCABULARIES = {"char": CHARACTERS, "words": KNOWN, "pretokenized": MARKED}
PIECES = ["a", "b", "c", "é", "你", "zyx", " ", " ", " ", ", ", "\n", "<unk>"]
TEXT = "".join(PIECES[n] for n in np.random.default_rng(0).integers(len(PIECES), size=300)) + "a\n"

vocabularies = pytest.mark.parametrize("vocabulary", VOCABULARIES.values(), ids=VOCABULARIES)
#: From a zero state in the text, in every line, in each of its parts.
ways = pytest.mark.parametrize("way", [{}, {"lines": True}, {"lanes": 3}], ids=str)
in_order = pytest.mark.parametrize("way", [{}, {"lines": True}], ids=str)


def cut(text, *places):
    return [text[a:b] for a, b in itertools.pairwise([0, *places, len(text)])]


@st.composite
def texts_in_pieces(draw):
    """A text, and the pieces that it comes in."""
    text = draw(st.lists(st.sampled_from(PIECES)).map("".join))
    return text, cut(text, *sorted(draw(st.lists(st.integers(0, len(text)), max_size=6))))


@functools.cache
def tiny(vocabulary, backend="numpy", cell="lstm"):
    return tiny_model(vocabulary, backend=backend, cell=cell)


def all_verdicts(judged):
    return Verdicts.joined(part.verdicts for part in judged)


def numbers_of(score):
    """All figures, one after the other."""
    figures = score.to_dict()
    rows = [value for row in figures.pop("reliability") for value in row.values()]
    return [*figures.pop("accuracy").values(), *rows, *figures.values()]


@model_backends
@cells
@vocabularies
def test_a_text_is_scored_symbol_by_symbol_without_cutting_its_context(backend, cell, vocabulary):
    model = tiny(vocabulary, backend, cell)
    ids = np.array([vocabulary.start, *vocabulary.encode(TEXT)])
    judged = Evaluator(model, vocabulary).judged(cut(TEXT, 100, 101))
    np.testing.assert_allclose(all_verdicts(judged).nats, by_hand(model, ids), rtol=1e-9)


@model_backends
@vocabularies
def test_lines_are_scored_each_on_its_own(backend, vocabulary):
    model, start = tiny(vocabulary, backend), vocabulary.start
    judged = Evaluator(model, vocabulary, lines=True).judged(cut(TEXT, 100, 101))
    wanted = [by_hand(model, np.array([start, *vocabulary.encode(line)]))
              for line in TEXT.splitlines(keepends=True)]  # fmt: skip
    np.testing.assert_allclose(all_verdicts(judged).nats, np.concatenate(wanted), rtol=1e-9)


@vocabularies
def test_lanes_are_scored_each_on_its_own(vocabulary):
    model = tiny(vocabulary)
    ids = np.array([vocabulary.start, *vocabulary.encode(TEXT)])
    N = len(ids) - 1
    wanted = [by_hand(model, ids[N * n // 3 : N * (n + 1) // 3 + 1]) for n in range(3)]
    score = Evaluator(model, vocabulary, lanes=3).score(cut(TEXT, 100, 101))
    assert score.nats == pytest.approx(sum(map(sum, wanted)), rel=1e-9)


@ways
@vocabularies
@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_no_figure_depends_on_internal_sizes(way, vocabulary, size, monkeypatch):
    def numbers():
        return numbers_of(Evaluator(tiny(vocabulary, "fused-2"), vocabulary, **way).score([TEXT]))

    usual = numbers()
    for name, value in {"_STEPS": (4 * size, size), "_LANES": size, "_LINE_STEPS": size + 1,
                        "CHUNK": size}.items():  # fmt: skip
        monkeypatch.setattr(scoring, name, value)
    monkeypatch.setattr(evaluation, "_AHEAD", size)
    monkeypatch.setattr(verdicts, "_BLOCK", size)
    np.testing.assert_allclose(numbers(), usual, rtol=1e-9)


@ways
@vocabularies
@settings(max_examples=25)
@given(texts_in_pieces())
def test_no_figure_depends_on_the_pieces_that_a_text_comes_in(way, vocabulary, text_in_pieces):
    text, pieces = text_in_pieces
    evaluator = Evaluator(tiny(vocabulary), vocabulary, **way)
    whole = numbers_of(evaluator.score([text]))
    np.testing.assert_allclose(
        np.array(numbers_of(evaluator.score(pieces)), float), np.array(whole, float), rtol=1e-9
    )


@in_order
@vocabularies
def test_what_is_known_of_symbols_adds_up(way, vocabulary):
    evaluator = Evaluator(tiny(vocabulary), vocabulary, **way)
    judged, score = list(evaluator.judged(cut(TEXT, 50))), evaluator.score([TEXT])
    verdicts, parts = all_verdicts(judged), [segment for segment, _ in judged]
    known = np.concatenate([segment.known for segment in parts])
    nats, ranks = verdicts.nats, verdicts.ranks
    assert (score.tokens, score.unknown) == (len(nats), (~known).sum())
    assert score.nats == pytest.approx(nats.sum(), rel=1e-12)
    assert score.unknown_nats == pytest.approx(nats[~known].sum(), rel=1e-12)
    assert score.characters == np.concatenate([s.characters for s in parts])[known].sum()
    assert score.bytes == np.concatenate([s.bytes for s in parts])[known].sum()
    assert score.text_bytes == len(TEXT.encode())
    assert list(score.accuracy.values()) == pytest.approx([(ranks <= k).mean() for k in (1, 3, 5)])


@vocabularies
@pytest.mark.parametrize("way", [{}, {"lines": True}], ids=str)
def test_alternatives_are_there_where_they_are_asked_for(way, vocabulary):
    model = tiny(vocabulary)
    [judged] = Evaluator(model, vocabulary, alternatives=3, **way).judged(["a\n"])
    p = expected(model, [vocabulary.start, *judged.segment.ids[:-1]])
    found = judged.verdicts
    np.testing.assert_array_equal(found.others, np.argsort(-p, axis=1)[:, :3])
    np.testing.assert_allclose(found.p, -np.sort(-p, axis=1)[:, :3], rtol=1e-9)
    np.testing.assert_allclose(found.entropies, -(p * np.log(p)).sum(axis=1), rtol=1e-9)


@ways
@vocabularies
def test_an_empty_text_has_no_figures(way, vocabulary):
    """None of them a number, and none an error."""
    score = Evaluator(tiny(vocabulary), vocabulary, **way).score([""])
    figures = score.to_dict()
    counts = ("tokens", "unknown", "characters", "bytes", "text_bytes", "nats")
    assert [figures.pop(name) for name in counts] == [0] * len(counts)
    assert (figures.pop("reliability"), set(figures.pop("accuracy").values())) == ([], {None})
    assert set(figures.values()) == {None}
    assert math.isnan(score.perplexity) and math.isnan(score.perplexity_known)


@ways
@vocabularies
def test_a_text_of_one_symbol_has_that_alone(way, vocabulary):
    model = tiny(vocabulary)
    score = Evaluator(model, vocabulary, **way).score(["a"])
    p = expected(model, [vocabulary.start])[0, vocabulary.encode("a")[0]]
    assert (score.tokens, score.nats) == (1, pytest.approx(-math.log(p), rel=1e-9))


@ways
@vocabularies
def test_texts_do_not_know_of_each_other(way, vocabulary):
    evaluator = Evaluator(tiny(vocabulary), vocabulary, **way)
    first = evaluator.score([TEXT])
    evaluator.score(["b, c\n"])
    assert numbers_of(evaluator.score([TEXT])) == numbers_of(first)


@ways
@vocabularies
def test_a_text_that_breaks_off_leaves_nothing_behind(way, vocabulary):
    """As where a file turns out not to be text."""

    def broken():
        yield TEXT
        raise DataError("not text")

    evaluator = Evaluator(tiny(vocabulary), vocabulary, **way)
    wanted = numbers_of(evaluator.score(["a, b\n"]))
    with pytest.raises(DataError, match="not text"):
        evaluator.score(broken())
    assert numbers_of(evaluator.score(["a, b\n"])) == wanted


# Models that can be reckoned by hand


def model_with(vocabulary, backend="numpy", **values):
    """One layer as wide as the vocabulary; what is not given is zero."""
    V, level = len(vocabulary), "char" if vocabulary.tokenizer == "char" else "word"
    config = model_config(
        "rnn_relu", vocab_size=V, hidden_size=V, embed_size=V, layers=1, level=level
    )
    model = Model(config, exact(backend))
    zeros = {name: np.zeros(shape) for name, shape in parameter_shapes(config).items()}
    model.load(zeros | {name.replace("__", "."): value for name, value in values.items()})
    return model


def blind(vocabulary, p, backend="numpy"):
    """Expects the symbols with these probabilities [V], whatever it has read."""
    return model_with(vocabulary, backend, decoder__bias=np.log(p))


def forgetful(vocabulary, p, backend="numpy"):
    """Expects after symbol i symbol j with the probability p[i, j]."""
    one = np.eye(len(vocabulary))
    return model_with(
        vocabulary, backend, encoder__weight=one, rnn__weight_ih_l0=one, decoder__weight=np.log(p).T
    )


LETTERS = CharVocabulary("\nab")  # with the unknown one, four
ODDS = np.array([0.1, 0.2, 0.3, 0.4])
FOLLOWS = np.array([
    [0.25, 0.25, 0.25, 0.25],
    [0.01, 0.02, 0.95, 0.02],
    [0.05, 0.10, 0.20, 0.65],
    [0.10, 0.20, 0.25, 0.45],
])  # fmt: skip


@ways
@vocabularies
@model_backends
def test_a_uniform_model_has_the_perplexity_of_its_vocabulary_in_any_text(backend, vocabulary, way):
    model = model_with(vocabulary, backend)
    score = Evaluator(model, vocabulary, **way).score([TEXT])
    assert score.perplexity == pytest.approx(len(vocabulary), rel=1e-12)
    assert score.perplexity_known == pytest.approx(len(vocabulary), rel=1e-12)
    assert score.bits_per_token == pytest.approx(math.log2(len(vocabulary)), rel=1e-12)


@ways
@model_backends
def test_the_perplexity_of_a_model_that_is_blind(backend, way):
    """The geometric mean of the reciprocals."""
    score = Evaluator(blind(LETTERS, ODDS, backend), LETTERS, **way).score(["abba\n"])
    assert score.perplexity == pytest.approx((0.3 * 0.4 * 0.4 * 0.3 * 0.2) ** (-1 / 5), rel=1e-12)


@in_order
@model_backends
def test_the_perplexity_of_a_model_that_knows_the_last_symbol(backend, way):
    """The first follows a line break."""
    model = forgetful(LETTERS, FOLLOWS, backend)
    score = Evaluator(model, LETTERS, **way).score(["aab", "\na"])
    p = 0.95 * 0.2 * 0.65 * 0.2 * 0.95
    assert score.perplexity == pytest.approx(p ** (-1 / 5), rel=1e-12)


@pytest.mark.parametrize("lanes", [2, 3, 5, 9])
def test_a_lane_begins_with_the_symbol_before_it(lanes):
    """To a model that knows no more than that, lanes make no difference."""
    model = forgetful(LETTERS, FOLLOWS)
    score = Evaluator(model, LETTERS, lanes=lanes).score(["aab\na"])
    assert score.nats == pytest.approx(-math.log(0.95 * 0.2 * 0.65 * 0.2 * 0.95), rel=1e-12)


@vocabularies
def test_the_probabilities_of_all_symbols_add_up_to_one(vocabulary):
    """Of those that are known, and the unknown one."""
    evaluator = Evaluator(tiny(vocabulary), vocabulary)
    [a] = vocabulary.encode("a")
    texts = ["aß" if vocabulary is CHARACTERS else "a zyx"]
    texts += [vocabulary.decode([a, n]) for n in range(1, len(vocabulary))]
    nats = [all_verdicts(evaluator.judged([text])).nats[1] for text in texts]
    assert sum(map(math.exp, np.negative(nats))) == pytest.approx(1, rel=1e-9)


def test_figures_by_hand():
    score = Evaluator(blind(LETTERS, ODDS), LETTERS).score(["ab你\n"])
    nats = -math.log(0.3 * 0.4 * 0.1 * 0.2)
    assert (score.tokens, score.unknown, score.characters, score.bytes) == (4, 1, 3, 3)
    assert score.text_bytes == 6
    assert score.nats == pytest.approx(nats)
    assert score.unknown_nats == pytest.approx(-math.log(0.1))
    assert score.unknown_rate == 0.25
    assert score.perplexity_known == pytest.approx((0.3 * 0.4 * 0.2) ** (-1 / 3))
    assert score.bits_per_character == pytest.approx(nats / 3 / math.log(2))
    assert score.bits_per_byte == pytest.approx(nats / 3 / math.log(2))
    spelled = nats + (3 + 1) * math.log(256)
    assert score.bits_per_byte_spelled == pytest.approx(spelled / 6 / math.log(2))


@pytest.mark.parametrize(
    ("vocabulary", "text", "unknown", "characters", "size", "spelled"),
    [
        (CHARACTERS, "a 你", 0, 3, 5, 0),
        (CHARACTERS, "axß你", 2, 2, 4, (1 + 1) + (2 + 1)),
        (CHARACTERS, "<b>", 2, 1, 1, 2 * (1 + 1)),
        (KNOWN, "a é, b", 0, 6, 7, 0),
        (KNOWN, "a zyx, b", 1, 4, 4, len(" zyx") + 1),
        (KNOWN, "zyx a", 1, 2, 2, len("zyx") + 1),
        (KNOWN, "a <unk>", 3, 1, 1, (2 + 1) + (3 + 1) + (1 + 1)),
        (MARKED, " a é \n b ", 0, 8, 9, 0),
        (MARKED, " a zyx \n", 1, 4, 4, len(" zyx") + 1),
        (MARKED, " a <unk> \n <unk>", 2, 4, 4, 0),
        (MARKED, " <unk> 你", 2, 0, 0, len(" 你".encode()) + 1),
        (MARKED, " <unk>, <UNK>", 2, 0, 0, len(" <unk>,") + 1 + len(" <UNK>") + 1),
    ],
)
def test_unknown_symbols_are_counted_and_their_letters_are_not(
    vocabulary, text, unknown, characters, size, spelled
):
    """What spells them is charged for: each byte as one of 256, and an end.

    Where a text says that a word is unknown, there is no more to spell.
    """
    score = Evaluator(model_with(vocabulary), vocabulary).score([text])
    assert (score.unknown, score.characters, score.bytes) == (unknown, characters, size)
    assert score.spelling == pytest.approx(spelled * math.log(256))


def test_a_text_of_unknown_symbols_alone_has_no_perplexity_of_known_ones():
    score = Evaluator(model_with(LETTERS), LETTERS).score(["xyz"])
    assert math.isnan(score.perplexity_known)
    assert score.perplexity == pytest.approx(4)
    assert score.to_dict()["bits_per_byte"] is None


def test_accuracy_by_hand():
    """Of symbols that are foreseen in the first, second, fourth and sixth place."""
    vocabulary = CharVocabulary("abcdef")
    model = blind(vocabulary, [0.01, 0.3, 0.25, 0.18, 0.14, 0.08, 0.04])
    score = Evaluator(model, vocabulary).score(["abdf"])
    assert score.accuracy == {1: 0.25, 3: 0.5, 5: 0.75}


def test_what_is_as_likely_counts_as_foreseen():
    assert Evaluator(model_with(LETTERS), LETTERS).score(["ab\n"]).accuracy == {1: 1, 3: 1, 5: 1}


@ways
def test_calibration_by_hand(way):
    """Foreseen are: a with 0.95, rightly; b with 0.65, wrongly; b with 0.65, rightly."""
    score = Evaluator(forgetful(LETTERS, FOLLOWS), LETTERS, **way).score(["aab"])
    wanted = [(0.6, 0.7, 2, 0.65, 0.5), (0.9, 1.0, 1, 0.95, 1.0)]
    assert [pytest.approx(row) for row in score.reliability] == wanted
    assert score.calibration_error == pytest.approx((2 * 0.15 + 0.05) / 3)


def test_those_that_are_certain_are_in_the_last_bin():
    model = model_with(LETTERS, decoder__bias=np.array([0, 0, 0, 1e3]))
    score = Evaluator(model, LETTERS).score(["bbb"])
    assert score.reliability == [(0.9, 1, 3, 1, 1)]
    assert (score.nats, score.calibration_error) == (0, 0)


@ways
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_that_is_infinitely_surprised_has_figures_all_the_same(way, dtype):
    exactly = model_with(LETTERS, decoder__bias=np.array([0, 0, 0, -1e30]))
    model = Model(exactly.config, backend_of("fused", dtype))
    model.load(dict(exactly.params))
    score = Evaluator(model, LETTERS, **way).score(["ab\n"])
    assert score.nats == pytest.approx(1e30)
    assert score.perplexity == score.perplexity_known == math.inf
    assert score.to_dict()["perplexity"] is None
    assert score.accuracy[3] == pytest.approx(2 / 3)


# Scores


@ways
def test_figures_are_json(way):
    """Without numbers that JSON has not."""
    for text in ("", "x", TEXT):
        score = Evaluator(tiny(KNOWN), KNOWN, **way).score([text])
        figures = score.to_dict()
        assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_scores_of_parts_add_up():
    evaluator = Evaluator(tiny(KNOWN), KNOWN, lines=True)
    texts = ["a b zyx\n", "c, é\n", "b\n"]
    total = sum(map(evaluator.score, [[text] for text in texts]), Score())
    np.testing.assert_allclose(numbers_of(total), numbers_of(evaluator.score(texts)), rtol=1e-12)


def test_verdicts_alone_count_no_tokens():
    """Those are known before, of all of a text."""
    ids = np.array([UNKNOWN, 2])
    score = Score.of_verdicts(ids, judge(np.zeros((2, 4)), ids))
    assert score.tokens == 0
    assert [score.nats, score.unknown_nats] == pytest.approx([2 * math.log(4), math.log(4)])


# Lines


def numbered(pieces, vocabulary, cutter=segments):
    """A text of which each symbol has cost one nat more than the one before it."""
    count = 0
    for segment in cutter(pieces, vocabulary):
        verdicts = judge(np.zeros((len(segment.ids), len(vocabulary))), segment.ids)
        nats = count + np.arange(len(segment.ids), dtype=float)
        count += len(nats)
        yield Judged(segment, verdicts._replace(nats=nats))


@vocabularies
@pytest.mark.parametrize("cutter", [segments, lines])
@settings(max_examples=50)
@given(texts_in_pieces())
def test_lines_are_those_of_the_text(cutter, vocabulary, text_in_pieces):
    """But for space at the end that is in no symbol."""
    text, pieces = text_in_pieces
    found = list(by_line(numbered(pieces, vocabulary, cutter)))
    if vocabulary is MARKED:
        text = text.rstrip(" ")
    assert [line.text for line in found] == text.splitlines(keepends=True)
    assert [line.number for line in found] == list(range(1, len(found) + 1))
    for line in found:
        assert text.encode()[line.offset :].decode().startswith(line.text)
    sizes = [line.score.text_bytes for line in found]
    assert [line.offset for line in found] == [sum(sizes[:n]) for n in range(len(sizes))]


@vocabularies
@pytest.mark.parametrize("cutter", [segments, lines])
@settings(max_examples=50)
@given(texts_in_pieces())
def test_each_line_has_the_score_of_its_symbols(cutter, vocabulary, text_in_pieces):
    count = 0
    for line in by_line(numbered(text_in_pieces[1], vocabulary, cutter)):
        ids = vocabulary.encode(line.text)
        nats = np.arange(count, count + len(ids))
        count += len(ids)
        assert (line.score.tokens, line.score.nats) == (len(ids), nats.sum())
        assert line.score.unknown == (ids == UNKNOWN).sum()
        assert line.score.unknown_nats == nats[ids == UNKNOWN].sum()


@in_order
@vocabularies
def test_lines_add_up_to_the_text(way, vocabulary):
    evaluator = Evaluator(tiny(vocabulary), vocabulary, **way)
    scores = [line.score for line in by_line(evaluator.judged(cut(TEXT, 100, 101)))]
    total = sum(scores, Score())
    np.testing.assert_allclose(
        numbers_of(total), numbers_of(evaluator.score([TEXT])), rtol=1e-12, atol=1e-15
    )


@vocabularies
def test_lines_that_are_scored_on_their_own_are_texts(vocabulary):
    evaluator = Evaluator(tiny(vocabulary), vocabulary, lines=True)
    for line in by_line(evaluator.judged([TEXT])):
        assert line.score.nats == pytest.approx(evaluator.score([line.text]).nats, rel=1e-9)


@vocabularies
def test_lines_are_numbered_from_one_and_empty_ones_count(vocabulary):
    found = by_line(numbered(["a\n\n", "\né", "\n b"], vocabulary))
    assert [(line.number, line.offset, line.text) for line in found] == [
        (1, 0, "a\n"), (2, 2, "\n"), (3, 3, "\n"), (4, 4, "é\n"), (5, 7, " b"),
    ]  # fmt: skip


def test_there_are_no_lines_in_an_empty_text():
    assert list(by_line([])) == []


def test_a_line_comes_as_soon_as_it_is_complete():
    """The rest of the text is not waited for."""
    judged = numbered(["a\n", "b\n", "a\n"], LETTERS)
    assert isinstance(next(by_line(judged)), Line)
    assert len(list(judged)) == 2


# What a figure is quoted with


@pytest.mark.parametrize(
    ("config", "vocabulary", "wanted"),
    [
        ({}, LETTERS, "cell:lstm|layers:2|hidden:6|level:char"),
        ({"cell": "gru", "layers": 3}, LETTERS, "cell:gru|layers:3|hidden:6|level:char"),
        ({"cell": "rnn_relu"}, LETTERS, "cell:rnn|activation:relu|layers:2|hidden:6|level:char"),
        ({"bidirectional": True}, LETTERS, "cell:lstm|layers:2|hidden:6|bidirectional|level:char"),
        ({"level": "word"}, MARKED,
         "cell:lstm|layers:2|hidden:6|level:word|tokenizer:pretokenized|vocab:7"),
    ],
)  # fmt: skip
def test_a_signature_says_what_was_measured(config, vocabulary, wanted):
    made = model_config(**({"cell": "lstm"} | config))
    found = signature(made, vocabulary, "lanes:1|state:carried")
    assert found == f"{wanted}|lanes:1|state:carried|v:{__version__}"


# PyTorch


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (charrnn[torch])"
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@in_order
@model_backends
@cells
def test_a_text_costs_what_it_does_in_torch(backend, cell, way, dtype):
    """Its modules, with our weights, and its cross-entropy of the whole text or of each line."""
    from tests.support.torch_oracle import language_model

    weights = {
        name: np.array(value) for name, value in tiny(CHARACTERS, "numpy", cell).params.items()
    }
    config = tiny(CHARACTERS, "numpy", cell).config
    model = Model(config, backend_of(backend, dtype))
    model.load(weights)
    found = all_verdicts(Evaluator(model, CHARACTERS, **way).judged([TEXT])).nats

    states = [[np.zeros(s.shape) for s in scan] for scan in model.window(1, 1).states]
    wanted = []
    for text in TEXT.splitlines(keepends=True) if way else [TEXT]:
        ids = np.array([CHARACTERS.start, *CHARACTERS.encode(text)])
        logits = language_model(config, weights, ids[:-1, None], ids[1:, None], states)["logits"]
        wanted.append(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(text)), ids[1:]])
    rtol = 1e-5 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(found, np.concatenate(wanted), rtol=rtol, atol=1e-6)


EIGHT = CharVocabulary("\nabcdefg")


def test_lines_before_an_error_are_scored(monkeypatch):
    monkeypatch.setattr(evaluation, "_AHEAD", 4)

    def pieces():
        yield "a\nb\nc\nd\ne\n"
        raise DataError("broken off")

    found = []
    with pytest.raises(DataError, match="broken off"):
        for judged in Evaluator(tiny_model(EIGHT), EIGHT, lines=True).judged(pieces()):
            found.append(judged.segment.text)
    assert found == ["a\n", "b\n", "c\n", "d\n", "e\n"]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_what_was_judged_can_be_had_in_pieces(size):
    [judged] = Evaluator(tiny_model(EIGHT), EIGHT).judged(["abcdefg\nab"])
    parts = list(judged.parts(size))
    assert [len(part.segment.ids) for part in parts][:-1] == [size] * (len(parts) - 1)
    assert "".join(part.segment.text for part in parts) == "abcdefg\nab"
    np.testing.assert_array_equal(
        np.concatenate([part.verdicts.nats for part in parts]), judged.verdicts.nats
    )
    assert [part.segment.byte_start for part in parts] == list(range(0, 10, size))
