"""From logits to symbols: filters against brute force, draws, stop strings, streaming."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn import sampling
from charrnn.config import ModelConfig, SampleConfig
from charrnn.model import Model
from charrnn.params import initial_values
from charrnn.reading import Reader
from charrnn.sampling import pick, probabilities, sample_ids, sample_text
from charrnn.text import UNKNOWN, CharVocabulary
from charrnn.text.tokens import PRETOKENIZED, WORDS
from charrnn.text.words import WordVocabulary
from tests.support.devices import GPU, host, put
from tests.support.stacks import backend_of

LOGITS = np.log(np.array([[0.9, 0.4, 0.3, 0.2, 0.1]]))  # the unknown symbol first
ALPHABET = CharVocabulary("\nabcdefg")


@pytest.fixture(scope="module", params=["numpy", "fused", "fused-2", GPU])
def model(request):
    config = ModelConfig(len(ALPHABET), layers=2, hidden_size=8, embed_size=5)
    model = Model(config, backend_of(request.param, np.float32))
    model.load(initial_values(config, "orthogonal", np.random.default_rng(0)))
    model.params["decoder.weight"][...] *= 10  # so that what was read makes a difference
    model.refresh()
    return model


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({}, [0, 4, 3, 2, 1]),
        ({"temperature": 0.5}, [0, 16, 9, 4, 1]),
        ({"temperature": 2}, [0, 2, np.sqrt(3), np.sqrt(2), 1]),
        ({"top_k": 2}, [0, 4, 3, 0, 0]),
        ({"top_k": 99}, [0, 4, 3, 2, 1]),
        ({"top_p": 0.4}, [0, 4, 0, 0, 0]),
        ({"top_p": 0.41}, [0, 4, 3, 0, 0]),
        ({"top_p": 1e-9}, [0, 4, 0, 0, 0]),
        ({"min_p": 0.5}, [0, 4, 3, 2, 0]),
        ({"min_p": 1.0}, [0, 4, 0, 0, 0]),
        ({"top_k": 3, "top_p": 0.5, "min_p": 0.1}, [0, 4, 3, 0, 0]),
    ],
)
def test_filters(settings, expected):
    config = SampleConfig(**{"temperature": 1.0} | settings)
    p = probabilities(LOGITS, config)
    np.testing.assert_allclose(p[0], np.array(expected) / np.sum(expected), rtol=1e-12)


@given(
    st.lists(st.integers(-300, 300).map(lambda n: n / 10), min_size=2, max_size=8),
    st.floats(0.05, 5),
    st.integers(0, 8),
    st.floats(0.01, 1),
    st.floats(0, 1),
)
def test_filters_keep_a_distribution_and_the_likeliest(values, temperature, top_k, top_p, min_p):
    config = SampleConfig(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    p = probabilities(np.array([values]), config)[0]
    assert p.sum() == pytest.approx(1)
    assert p[UNKNOWN] == 0
    assert p.argmax() == np.argmax(values[1:]) + 1
    assert not top_k or np.count_nonzero(p) <= top_k


def test_argmax_ignores_draws_and_the_unknown_symbol():
    config = SampleConfig(temperature=0)
    for draw in (0.0, 0.999):
        assert pick(LOGITS, config, np.array([draw])) == [1]


@pytest.mark.parametrize(
    "draw, symbol", [(0.0, 1), (0.399, 1), (0.401, 2), (0.699, 2), (0.701, 3), (1 - 1e-16, 4)]
)
def test_a_draw_picks_by_the_cumulative_distribution(draw, symbol):
    assert pick(LOGITS, SampleConfig(temperature=1), np.array([draw])) == [symbol]


def test_drawn_frequencies_are_the_probabilities():
    config, n = SampleConfig(temperature=1), 20_000
    draws = np.random.default_rng(0).random(n)
    ids = pick(np.repeat(LOGITS, n, axis=0), config, draws)
    found = np.bincount(ids, minlength=5) / n
    np.testing.assert_allclose(found, probabilities(LOGITS, config)[0], atol=0.01)


def test_extreme_logits_and_temperatures_are_borne():
    config = SampleConfig(temperature=1e-9)
    assert pick(np.array([[0.0, 1e9, -1e9]]), config, np.array([0.5])) == [1]


@pytest.mark.parametrize("length", [1, 127, 128, 129, 300])
def test_a_context_of_any_length_is_read_as_if_symbol_by_symbol(model, length):
    ids = np.random.default_rng(length).integers(1, len(ALPHABET), size=length)
    window = model.window(1, 1)
    for symbol in ids:
        logits = host(window.logits(symbol.reshape(1, 1)))
    states, found, _ = Reader(model).read(ids)
    np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(host(states[1][0]), host(window.states[1][0]), rtol=1e-4, atol=1e-5)


def test_drawing_equals_feeding_back_by_hand(model):
    config = SampleConfig(length=20, temperature=0)
    ids = [1]
    for _ in range(20):
        ids.append(int(pick(Reader(model).read(np.array(ids))[1], config, np.zeros(1))[0]))
    [drawn] = np.concatenate(list(sample_ids(model, np.array([1]), config))).T
    assert list(drawn) == ids[1:]


def text_of(model, prompt="", stop=(), **settings) -> list[str]:
    config = SampleConfig(**{"length": 60, "temperature": 1.0} | settings)
    pieces = list(sample_text(model, ALPHABET, prompt, config, stop))
    return ["".join(parts) for parts in zip(*pieces, strict=True)]


def test_same_seed_same_text_other_seed_other_text(model):
    assert text_of(model, seed=1) == text_of(model, seed=1) != text_of(model, seed=2)


def test_sequences_differ_and_the_first_is_that_of_count_one(model):
    texts = text_of(model, count=4)
    assert len(set(texts)) == 4
    assert texts[0] == text_of(model)[0]


def test_the_prompt_matters(model):
    assert text_of(model, "abc") != text_of(model, "gfe")


def test_length_counts_symbols(model):
    assert [len(t) for t in text_of(model, length=13, count=2)] == [13, 13]
    assert text_of(model, length=0) == [""]


def test_text_ends_before_the_first_stop_string(model):
    [whole] = text_of(model)
    stops = [whole[30:33], whole[20:22]]
    [cut] = text_of(model, stop=stops)
    assert cut == whole[: min(whole.index(s) for s in stops)]


@pytest.mark.parametrize("chunk", [1, 2, 7, 100])
def test_how_many_symbols_are_drawn_at_once_makes_no_difference(model, monkeypatch, chunk):
    whole, _ = expected = text_of(model, count=2)
    stop = whole[20:24]
    cut = text_of(model, stop=[stop], count=2)
    monkeypatch.setattr(sampling, "_CHUNK", chunk)
    assert text_of(model, count=2) == expected
    assert text_of(model, stop=[stop], count=2) == cut
    assert cut[0] == whole[: whole.index(stop)]


def test_a_beginning_of_a_stop_string_is_held_back_no_longer_than_needed(model, monkeypatch):
    monkeypatch.setattr(sampling, "_CHUNK", 1)
    [whole] = text_of(model)
    stop = whole[10:12] + "\0never"
    pieces = [p for [p] in sample_text(model, ALPHABET, "", SampleConfig(60, 1.0), [stop])]
    assert "".join(pieces) == whole
    assert "".join(pieces[:11]) == whole[:10], "the possible beginning is not printed yet"
    assert max(map(len, pieces)) <= 3


def test_nothing_is_drawn_once_all_have_stopped(model, monkeypatch):
    monkeypatch.setattr(sampling, "_CHUNK", 1)
    whole = text_of(model, count=2)
    stop = whole[0][5:7]
    pieces = list(sample_text(model, ALPHABET, "", SampleConfig(60, 1.0, count=2), [stop]))
    assert len(pieces) == max(text.index(stop) for text in whole) + len(stop) < 60


def test_empty_stop_strings_are_none(model):
    assert text_of(model, stop=[""]) == text_of(model)


def test_sequences_stop_each_at_its_own_place(model):
    whole = text_of(model, count=3)
    stop = whole[0][5:7]
    for cut, full in zip(text_of(model, count=3, stop=[stop]), whole, strict=True):
        assert cut == full.partition(stop)[0]


#: Whatever follows whatever of these, the text is split into just them again.
WORD_SYMBOLS = ["\n", "the", "cat", "cattle", "sat", ", ", " -- ", "don't"]
LEXICON = WordVocabulary(WORD_SYMBOLS, WORDS)
MARKED = WordVocabulary(["\n", "the", "cat", ","], PRETOKENIZED)


def random_model(vocabulary, backend="numpy", unknown=0.0):
    """``unknown`` is added to the logit of the unknown symbol."""
    config = ModelConfig(len(vocabulary), hidden_size=8, embed_size=5)
    model = Model(config, backend_of(backend, np.float32))
    model.load(initial_values(config, "orthogonal", np.random.default_rng(0)))
    model.params["decoder.weight"][...] *= 10
    put(model.params["decoder.bias"][:1], unknown)
    model.refresh()
    return model


@pytest.fixture(scope="module", params=["numpy", "fused", "fused-2", GPU])
def speaker(request):
    return random_model(LEXICON, request.param)


def words_of(model, prompt, vocabulary=LEXICON, **settings) -> list[str]:
    """The prompt and what follows."""
    config = SampleConfig(**{"length": 200, "temperature": 1.0} | settings)
    pieces = sample_text(model, vocabulary, prompt, config)
    return [prompt + "".join(parts) for parts in zip(*pieces, strict=True)]


@pytest.mark.parametrize("settings", [{"count": 3}, {"top_k": 6}, {"temperature": 0}], ids=str)
@pytest.mark.parametrize(
    "prompt, settled",
    [
        ("", []),
        ("\n", []),
        ("ca", []),
        ("the ca", ["the"]),
        ("the cat", ["the"]),
        ("the cattle", ["the"]),
        ("the ", ["the"]),
        ("the,", ["the"]),
        ("the, ", ["the"]),
        ("the, ca", ["the", ", "]),
        ("the -", ["the"]),
        ("the -- ca", ["the", " -- "]),
        ("the cat\n", ["the", "cat"]),
        ("the zyx", ["the", "zyx"]),
        ("the zyx ", ["the", "zyx"]),
        ("the zyx ca", ["the", "zyx"]),
        ("the zyx, ca", ["the", "zyx", ", "]),
        ("the ☃ ", ["the", " ☃ "]),
        ("the ☃ ca", ["the", " ☃ "]),
    ],
)
def test_text_is_what_is_settled_of_the_prompt_and_then_known_words(
    speaker, prompt, settled, settings
):
    for text in words_of(speaker, prompt, **settings):
        tokens = WORDS.split(text)
        assert tokens[: len(settled)] == settled
        assert set(tokens[len(settled) :]) <= set(WORD_SYMBOLS)
        assert len(tokens) == len(settled) + 200


def test_the_word_that_a_prompt_ends_in_is_completed_in_every_way(speaker):
    texts = words_of(speaker, "the ca", count=50, length=1)
    assert set(texts) == {"the cat", "the cattle"}


def test_the_first_draw_is_by_what_the_model_expects_there(speaker):
    """As often as the probabilities say, among the words that begin so."""
    window = speaker.window(1, 1)
    for symbol in (LEXICON.start, *LEXICON.encode("the")):
        logits = host(window.logits(np.array([[symbol]])))
    p = probabilities(logits, SampleConfig(temperature=1.0))[0]
    cat, cattle = (p[LEXICON.encode(word)[0]] for word in ("cat", "cattle"))
    texts = words_of(speaker, "the ca", count=1000, length=1)
    assert texts.count("the cat") / 1000 == pytest.approx(cat / (cat + cattle), abs=0.05)


@pytest.mark.parametrize("prompt", ["the zyx", "the zyx ", "zyx", "zyx "])
def test_a_word_after_an_unknown_one_has_its_space(speaker, prompt):
    texts = words_of(speaker, prompt, count=50, length=1)
    assert f"{prompt.strip()} cattle" in texts
    assert {WORDS.split(text)[-2] for text in texts} == {"zyx"}


def test_a_word_that_nothing_completes_is_read_as_unknown():
    context, rest, begins = sampling.read_prompt(LEXICON, "the zyx")
    assert (context.tolist(), rest, begins) == ([1, 2, UNKNOWN], "", None)


def test_ids_that_complete_a_prompt_are_those_that_begin_with_its_rest():
    context, rest, begins = sampling.read_prompt(LEXICON, "the, ca")
    assert (context.tolist(), rest) == ([1, 2, 6], "ca")
    assert [LEXICON.tokens[n] for n in begins] == ["cat", "cattle"]


@pytest.mark.parametrize("chunk", [1, 2, 7, 100])
def test_space_is_right_however_many_words_are_drawn_at_once(speaker, monkeypatch, chunk):
    expected = words_of(speaker, "the ca", count=2)
    monkeypatch.setattr(sampling, "_CHUNK", chunk)
    assert words_of(speaker, "the ca", count=2) == expected


def test_text_of_a_vocabulary_without_line_break_begins_without_space():
    vocabulary = WordVocabulary(["the", "cat", "cattle"], WORDS)
    model = random_model(vocabulary)
    for text in words_of(model, "", vocabulary, count=9):
        assert set(text.split(" ")) == set(vocabulary.symbols)
    assert set(words_of(model, "ca", vocabulary, count=50, length=1)) == {"cat", "cattle"}


@pytest.mark.parametrize("prompt", ["", " the", " the zyx", " \n", " the cat ,"])
def test_text_between_spaces_goes_on_with_a_space(prompt):
    [text] = words_of(random_model(MARKED), prompt, MARKED)
    tokens = PRETOKENIZED.split(text)
    assert PRETOKENIZED.join(tokens) == text
    assert len(tokens) == len(PRETOKENIZED.split(prompt)) + 200


@pytest.mark.parametrize("settings", [{}, {"top_p": 0.99}, {"temperature": 0}], ids=str)
@pytest.mark.parametrize("vocabulary", [ALPHABET, LEXICON], ids=["char", "word"])
def test_the_unknown_symbol_is_drawn_only_if_asked(vocabulary, settings):
    model = random_model(vocabulary, "fused", unknown=1e3)
    never, always = (
        SampleConfig(**{"length": 100, "unknown": unknown} | settings) for unknown in (False, True)
    )
    context = np.array([vocabulary.start])
    assert UNKNOWN not in np.concatenate(list(sample_ids(model, context, never)))
    assert not np.concatenate(list(sample_ids(model, context, always))).any()


def test_unknown_words_that_were_asked_for_have_their_space():
    model = random_model(LEXICON, unknown=1e3)
    assert words_of(model, "the", unknown=True, length=70) == ["the" + " <unk>" * 69]
