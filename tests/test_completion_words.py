"""Completing with words: the softmax over those that fit, and what a text is read as."""

from __future__ import annotations

import functools
import unicodedata
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.completion import Completer, chars, words
from charrnn.completion.request import fold, is_word_character
from charrnn.completion.words import Lexicon
from charrnn.config import MODES
from charrnn.text.tokens import PRETOKENIZED, WORDS
from charrnn.text.words import WordVocabulary
from tests.support.stacks import model_backends
from tests.support.tiny import completer, counter_of_steps, expected, probability, tiny_model

TOKENS = ["\n", ".", ", ", ",", " (", "(", ". ", "-", "' "]
TOKENS += ["the", "The", "THE", "then", "go", "Go", "goes", "going", "gone", "cat", "car", "Car"]
TOKENS += ["I", "I'm", "I'll", "don't", "done", "don", "a", "4th", "café", "cafés", "at", "NATO"]
TOKENS += ["1", "10", "10.30", "10.35", "30", "3,000"]


@functools.cache
def found_with(seed: int = 0, scale: float = 4.0, backend: str = "numpy") -> Completer:
    return completer(TOKENS, seed, scale, backend=backend)


def ids_of(found: Completer, tokens: list[str]) -> list[int]:
    return [found.vocabulary.start, *found.vocabulary.encode_symbols(tokens).tolist()]


def after(found: Completer, tokens: list[str]) -> dict[str, float]:
    """The probability of each token after others that begin a line."""
    p = expected(found._words.reader.model, ids_of(found, tokens))[-1]
    return dict(zip(found.vocabulary.tokens, p, strict=True))


def ranked(p: dict[str, float], prefix: str = "", weight: float = 1.0):
    """{the likeliest form: probability} of the words that go on from a prefix; case makes no
    difference.
    """
    groups = defaultdict(dict)
    for token, q in p.items():
        small = token.lower()
        if is_word_character(token[0]) and small.startswith(prefix.lower()):
            groups[small][token] = q * weight
    groups.pop(prefix.lower(), None)
    return {max(forms, key=forms.get): sum(forms.values()) for forms in groups.values()}


def check(answer, readings: list[tuple[str, str, dict[str, float]]]) -> None:
    """``readings``: what comes before a word, what is typed of it, and what it may be."""
    every = [
        (typed + word[len(typed) :], lead + word[len(typed) :], p)
        for lead, typed, words in readings
        for word, p in words.items()
    ]
    every.sort(key=lambda suggestion: -suggestion[2])
    total = sum(p for *_, p in every)
    n = len(answer.suggestions)
    assert [(s.text, s.insert) for s in answer.suggestions] == [(t, i) for t, i, _ in every[:n]]
    np.testing.assert_allclose(
        [s.p for s in answer.suggestions], [p / total for *_, p in every[:n]], rtol=1e-9
    )
    assert answer.other == pytest.approx(sum(p for *_, p in every[n:]) / total, abs=1e-9)


cases = pytest.mark.parametrize("n", [3, 1000])
models = pytest.mark.parametrize("seed, scale", [(0, 0.1), (1, 4.0), (2, 10.0)])


@models
@cases
@pytest.mark.parametrize(
    "text, tokens",
    [
        ("", []),
        ("the ", ["the"]),
        ("the cat ", ["the", "cat"]),
        ("the  ", ["the"]),
        ("  the ", ["the"]),
        ("the\t", ["the"]),
        ("the\xa0", ["the"]),
        ("the cat\n", ["the", "cat", "\n"]),
        ("the\n\n", ["the", "\n", "\n"]),
        ("\n", ["\n"]),
        ("a,  ", ["a", ", "]),
        ("a, ", ["a", ", "]),
        ("a-the ", ["a", "-", "the"]),
        ("zzz ", ["<unk>"]),
        ("I don't ", ["I", "don't"]),
        ("I don’t ", ["I", "don't"]),
        ("a cafe\u0301 ", ["a", "café"]),
        ("don' ", ["don", "' "]),
    ],
)
def test_behind_a_space_the_next_word_comes(text, tokens, seed, scale, n):
    found = found_with(seed, scale)
    answer = found.complete(text, n)
    check(answer, [("", "", ranked(after(found, tokens)))])
    assert (answer.mode, answer.prefix) == ("next", "")


@model_backends
def test_every_backend_expects_the_same(backend):
    found = found_with(backend=backend)
    check(found.complete("the cat ", 9), [("", "", ranked(after(found_with(), ["the", "cat"])))])


@models
@cases
@pytest.mark.parametrize(
    "text, tokens, typed",
    [
        ("go", [], "go"),
        ("the go", ["the"], "go"),
        ("the\ngo", ["the", "\n"], "go"),
        ("a, th", ["a", ", "], "th"),
        ("a,th", ["a", ","], "th"),
        ("a (c", ["a", " ("], "c"),
        ("(c", ["("], "c"),
        ("I do", ["I"], "do"),
        ("I don", ["I"], "don"),
        ("I don'", ["I"], "don'"),
        ("I'", [], "I'"),
        ("4", [], "4"),
        ("at 10.3", ["at"], "10.3"),
        ("3,00", [], "3,00"),
        ("a caf", ["a"], "caf"),
        ("a café", ["a"], "café"),
        ("zzz c", ["<unk>"], "c"),
        ("don't g", ["don't"], "g"),
    ],
)
def test_the_rest_of_a_word_is_among_those_that_begin_so(text, tokens, typed, seed, scale, n):
    found = found_with(seed, scale)
    answer = found.complete(text, n, mode="prefix")
    check(answer, [("", typed, ranked(after(found, tokens), typed))])
    assert (answer.mode, answer.prefix) == ("prefix", typed)
    assert typed not in {s.text for s in answer.suggestions}


@models
@cases
@pytest.mark.parametrize("mode", ["auto", "next"])
@pytest.mark.parametrize(
    "text, tokens, typed, read",
    [
        ("the go", ["the"], "go", ["go"]),
        ("The", [], "The", ["The"]),
        ("Car", [], "Car", ["Car"]),
        ("a cat", ["a"], "cat", ["cat"]),
        ("at 10.30", ["at"], "10.30", ["10.30"]),
        ("a café", ["a"], "café", ["café"]),
        ("I don", ["I"], "don", ["don"]),
        ("I don'", ["I"], "don'", ["don", "' "]),
        ("(the", ["("], "the", ["the"]),
        ("I", [], "I", ["I"]),
    ],
)
def test_a_last_word_may_be_whole_or_not(text, tokens, typed, read, seed, scale, n, mode):
    """P(w | h) against P(typed | h) P(v | h, typed)."""
    found = found_with(seed, scale)
    context = ids_of(found, tokens)
    typed_ids = found.vocabulary.encode_symbols(read).tolist()
    [whole] = probability(found._words.reader.model, context, [typed_ids])
    next_words = ranked(after(found, tokens + read), weight=whole)
    readings = [("", typed, ranked(after(found, tokens), typed)), (" ", "", next_words)]
    answer = found.complete(text, n, mode=mode)
    check(answer, readings[mode == "next" :])
    assert (answer.mode, answer.prefix) == (mode, typed)


@models
@pytest.mark.parametrize(
    "text, tokens, read",
    [("zzz", [], "<unk>"), ("the zzz", ["the"], "<unk>"), ("nato", [], "NATO"), ("i", [], "I")],
)
def test_a_word_in_no_such_form_is_read_as_its_other_form_or_as_unknown(
    text, tokens, read, seed, scale
):
    found = found_with(seed, scale)
    next_words = ranked(after(found, [*tokens, read]))
    check(found.complete(text, 9, mode="next"), [(" ", "", next_words)])


@pytest.mark.parametrize(
    "text, mode, unknown",
    [
        ("", "auto", []),
        ("the  cat\tgo", "auto", []),
        ("zzz the yyy, zzz ", "auto", ["zzz", "yyy"]),
        ("the ca", "auto", []),
        ("nato", "auto", []),
        ("zzz", "auto", ["zzz"]),
        ("zzz", "next", ["zzz"]),
        ("zzz", "prefix", []),
        ("I don’t cafe\u0301", "auto", []),
        ("zzz y____ yyy ____ zzz. the", "auto", ["zzz", "yyy"]),
        ("zzz " + "the " * 5000, "auto", []),
        ("zz" * 5000 + "z the ", "auto", []),
        ("z" * 20_000, "prefix", []),
        (" " * 20_000, "auto", []),
        ("the ca", "next", ["ca"]),  # others begin so, but it is said to be whole
        ("the cat", "next", []),
        ("nato", "next", []),
        ("the -", "auto", [" -"]),
        ("the -", "next", [" - "]),
        ("the.", "auto", []),
        ("go;", "auto", [";"]),
        ("go;", "next", ["; "]),
        ("zzz'", "auto", ["zzz"]),  # with a space behind it, as it is read, "' " is known
        ("____ the zzz", "auto", ["zzz"]),
    ],
)
def test_what_is_read_as_unknown(text, mode, unknown):
    assert found_with().unknown(text, mode=mode) == unknown


def test_the_unknown_word_itself_is_not_named():
    vocabulary = WordVocabulary(["\n", "the"], PRETOKENIZED)
    found = Completer(tiny_model(vocabulary), vocabulary)
    assert found.unknown("<unk> the zzz, the.") == ["zzz,", "the."]


@pytest.mark.parametrize("symbols", [("; ",), (";",)])
@pytest.mark.parametrize("mode", ["auto", "next", "prefix"])
def test_behind_a_word_it_is_unknown_as_it_is_read_alone(symbols, mode):
    """With a space behind it or without one; if either may be, as the model knows it."""
    read = {"auto": symbols, "next": ("; ",), "prefix": (";",)}[mode]
    found = completer(["\n", "the", *symbols]).unknown("the;", mode=mode)
    assert found == [s for s in read if s not in symbols]


def test_an_unknown_word_with_more_behind_it_is_not_whole():
    found = found_with()
    assert found.complete("the ca", 9).suggestions == (
        found.complete("the ca", 9, mode="prefix").suggestions
    )


def test_where_nothing_begins_so_the_next_word_comes_or_nothing():
    found = found_with()
    assert all(s.insert.startswith(" ") for s in found.complete("the zz", 9).suggestions)
    answer = found.complete("the zz", 9, mode="prefix")
    assert (answer.suggestions, answer.other) == ((), 1)


@models
@cases
def test_behind_a_comma_the_space_is_weighed(seed, scale, n):
    """It may be that of a number or a smiley, and is part of the token if there is one."""
    found = found_with(seed, scale)
    p = after(found, ["a"])
    glued = ranked(after(found, ["a", ","]), weight=p[","])
    apart = ranked(after(found, ["a", ", "]), weight=p[", "])
    check(found.complete("a,", n), [("", "", glued), (" ", "", apart)])
    check(found.complete("a,", n, mode="next"), [(" ", "", apart)])
    check(found.complete("a,", n, mode="prefix"), [("", "", glued)])


@pytest.mark.parametrize(
    "text, read, lead",
    [
        ("a (", " (", ""),  # never with a space behind it
        ("a-", "-", ""),
        ("a☺", "<unk>", " "),
        ("a ☺", "<unk>", " "),  # an emoji opens nothing
        ("☺", "<unk>", " "),
        ("a !", "<unk>", " "),
        ("a ]", "<unk>", " "),
        ("a .", "<unk>", " "),
        ("a %", "<unk>", " "),
        ("a $", "<unk>", ""),
        ("a$", "<unk>", " "),
        ("a...", "<unk>", " "),
        ("a [", "<unk>", ""),
    ],
)
def test_behind_other_symbols_a_space_comes_unless_they_open_something(text, read, lead):
    found = found_with()
    before = ["a"] if text.startswith("a") else []
    check(found.complete(text, 9), [(lead, "", ranked(after(found, [*before, read])))])
    assert all(s.insert.startswith(" ") for s in found.complete(text, 9, mode="next").suggestions)


@pytest.mark.parametrize(
    "text, word, insert",
    [
        ("Th", "Then", "en"),
        ("a. Th", "Then", "en"),
        ("TH", "THEN", "EN"),
        ("the CA", "CAR", "R"),
        ("I DON", "DON'T", "'T"),
        ("I'", "I'm", "m"),
        ("I’", "I'm", "m"),
        ("I'L", "I'LL", "L"),
        ("i'", "i'm", "m"),
        ("I don'", "don't", "t"),
        ("I don’", "don't", "t"),
        ("Don", "Don't", "'t"),
        ("NA", "NATO", "TO"),
        ("na", "naTO", "TO"),
        ("CAF", "CAFÉ", "É"),
        ("a cafe\u0301", "cafés", "s"),
        ("a CAFE\u0301", "CAFÉS", "S"),
        ("g", "go", "o"),
    ],
)
def test_the_word_is_in_the_case_and_form_in_which_it_is_typed(text, word, insert):
    answer = found_with().complete(text, 1000, mode="prefix")
    assert (word, insert) in {(s.text, s.insert) for s in answer.suggestions}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("apostrophe", "'’")
def test_a_vocabulary_may_have_either_form(form, apostrophe):
    tokens = ["\n", *(unicodedata.normalize(form, w) for w in ("café", "cafés", "a"))]
    found = completer([*tokens, f"don{apostrophe}t"])
    for typed in ("NFC", "NFD"):
        answer = found.complete(unicodedata.normalize(typed, "a café"), 9, mode="prefix")
        assert [s.insert for s in answer.suggestions] == ["s"]
    for typed in "'’":
        answer = found.complete(f"a don{typed}", 9, mode="prefix")
        assert [s.insert for s in answer.suggestions] == ["t"]
        assert found.complete(f"don{typed}t a ", 9) == found.complete(f"don{apostrophe}t a ", 9)


keyboard = st.text(alphabet="athegocTHE'’I.,( \n☺", max_size=10)


@given(keyboard, st.sampled_from(MODES))
def test_what_is_inserted_makes_the_word(text, mode):
    answer = found_with().complete(text, 1000, mode=mode)
    apart = bool(text.strip()) and not text[-1].isspace()
    for s in answer.suggestions:
        if s.insert in (s.text, " " + s.text):
            assert apart or s.insert == s.text
        else:
            assert answer.prefix + s.insert == s.text
            assert fold(text).endswith(fold(answer.prefix))
    assert len({(s.text, s.insert) for s in answer.suggestions}) == len(answer.suggestions)
    assert sum(s.p for s in answer.suggestions) + answer.other == pytest.approx(1)


@pytest.mark.parametrize("tokenizer", [WORDS, PRETOKENIZED], ids=lambda t: t.name)
def test_only_words_are_suggested(tokenizer):
    tokens = ["\n", ".", ",", "@-@", "...", "<eos>", "☺", "_", "___", "'s", "the", "The", "N", "é"]
    vocabulary = WordVocabulary([t for t in tokens if tokenizer.are_tokens([t])], tokenizer)
    found = Completer(tiny_model(vocabulary), vocabulary)
    for text in ("", "the ", "the", "the.", "é the"):
        answer = found.complete(text, 1000)
        assert {fold(s.text) for s in answer.suggestions} == {"the", "n", "é"}


def test_there_may_be_no_words_at_all():
    answer = completer(["\n", "."]).complete("a", 5)
    assert (answer.suggestions, answer.other) == ((), 1)


@models
@pytest.mark.parametrize(
    "text, tokens, typed, lead",
    [
        ("", [], "", ""),
        ("the cat ", ["the", "cat"], "", ""),
        ("the <unk> cat ", ["the", "<unk>", "cat"], "", ""),
        (" the , ", ["the", ","], "", ""),
        ("the ,", ["the", ","], "", " "),
        ("the <unk>", ["the", "<unk>"], "", " "),
        ("the @-@ c", ["the", "@-@"], "c", ""),
        ("the \n c", ["the", "\n"], "c", ""),
    ],
)
def test_pretokenized_text(text, tokens, typed, lead, seed, scale):
    vocabulary = WordVocabulary(["\n", ",", "@-@", "the", "The", "cat", "can"], PRETOKENIZED)
    found = Completer(tiny_model(vocabulary, seed, scale), vocabulary)
    check(found.complete(text, 9), [(lead, typed, ranked(after(found, tokens), typed))])


word_lists = st.lists(
    st.text(alphabet="abABéÉ'’ß", min_size=1, max_size=4).filter(
        lambda word: WORDS.split(word) == [word] and is_word_character(word[0])
    ),
    min_size=1,
    max_size=30,
    unique=True,
)


@given(word_lists, st.text(alphabet="abAé'’ß", max_size=3), st.randoms(use_true_random=False))
def test_a_prefix_is_a_range_of_words_as_a_plain_scan_finds_it(words, prefix, random):
    vocabulary = WordVocabulary(words, WORDS)
    lexicon = Lexicon(vocabulary)
    p = np.array([random.random() for _ in vocabulary.tokens])
    scanned = defaultdict(dict)
    for word, q in zip(vocabulary.tokens[1:], p[1:], strict=True):
        if fold(word).startswith(fold(prefix)):
            scanned[fold(word)][word] = q
    groups = lexicon.groups(prefix)
    assert [lexicon.keys[g] for g in groups] == sorted(scanned)
    wanted = [sum(scanned[key].values()) for key in sorted(scanned)]
    np.testing.assert_allclose(lexicon.totals(p, groups), wanted)
    for g in groups:
        forms = scanned[lexicon.keys[g]]
        assert vocabulary.tokens[lexicon.likeliest(g, p)] == max(forms, key=forms.get)
    longer = [lexicon.keys[g] for g in lexicon.longer(prefix)]
    assert longer == sorted(key for key in scanned if key != fold(prefix) or not prefix)


@pytest.fixture
def steps(monkeypatch):
    return counter_of_steps(monkeypatch)


@pytest.mark.parametrize("level", ["words", "characters"])
def test_a_long_text_that_grows_is_mostly_not_read_again(steps, monkeypatch, level):
    """Where it is too long, half of what is read at most is left out at once."""
    for module in (words, chars):
        monkeypatch.setattr(module, "MAX_CONTEXT", 40)
    monkeypatch.setattr(words, "_MAX_CHARACTERS", 400)
    found = found_with() if level == "words" else completer("\n .Iadegmnort'")
    text, costs = "I'm at. " * 30, []
    for _ in range(10):
        for more in ("don't", " go ", "a cat", ". "):
            text += more
            found.complete(text, mode="next")
            costs.append(steps())
    assert max(costs) <= 42
    assert sum(cost <= 6 for cost in costs) > 0.75 * len(costs)


@pytest.mark.parametrize(
    "text",
    ["a" * 100_000, "a" * 100_000 + ".", "I don't know. " * 7_000, "'" * 100_000, " " * 100_000,
     "cafe\u0301 d’" * 12_000, "." * 100_000 + "go", "1,0" * 33_000],
    ids=["letters", "letters-and-a-dot", "sentences", "apostrophes", "spaces", "accents", "dots",
         "digits"],
)  # fmt: skip
def test_a_very_long_line(steps, text):
    found = found_with()
    assert found.complete(text).suggestions
    assert steps() <= words.MAX_CONTEXT + 10


def test_the_end_of_a_long_line_decides():
    found = found_with()
    end = "the cat goes at " * 2000
    assert found.complete("go. " * 9000 + end) == found.complete("a I " * 9000 + end)
