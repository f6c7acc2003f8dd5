"""Completing with characters: the search against an enumeration of all there is to find."""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.completion import Completer, chars, search
from charrnn.completion.request import is_word_character
from charrnn.config import MODES
from charrnn.text import CharVocabulary
from charrnn.text.tokens import WORDS
from tests.support.stacks import model_backends
from tests.support.tiny import completer, expected, probability, tiny_model

ONE_KIND, TWO_KINDS = "\n .aAb'", "\n .aA'’"
SCALES = {"flat": 0.1, "even": 2.0, "peaked": 6.0}
DEPTH = 5


@functools.cache
def completer_of(
    symbols: str, scale: str, seed: int, backend: str = "numpy", rare: str = ""
) -> Completer:
    """Ends of words are made likely, so that words are short, and some symbols rare."""
    vocabulary = CharVocabulary(symbols)
    model = tiny_model(vocabulary, seed, SCALES[scale], backend)
    model.params["decoder.bias"][1:4] += 3
    for symbol in rare:
        model.params["decoder.bias"][vocabulary.encode(symbol)] -= 7
    model.refresh()
    return Completer(model, vocabulary)


def may_go_on(text: str) -> bool:
    """Whether more of the same word may follow."""
    return re.fullmatch(r"[a-zA-Z]+(['’][a-zA-Z]+)*['’]?", text) is not None


def enumerated(found: Completer, context: str, typed: str) -> tuple[dict[str, float], float, float]:
    """What may follow a context that ends in ``typed``, up to ``DEPTH`` characters.

    The probability of the rest of each word, as the tokenizer reads it; that of any; and of the
    likeliest text that is left.
    """
    model, vocabulary = found._words.reader.model, found.vocabulary
    ids = [vocabulary.start, *vocabulary.encode(context)]
    words, total = defaultdict(float), 0.0
    texts, p = [""], np.ones(1)
    for _ in range(DEPTH):
        read = np.array([[*ids, *vocabulary.encode(text)] for text in texts]).T
        follows = expected(model, read)[-1] * p[:, None]
        longer, left = [], []
        for text, row in zip(texts, follows, strict=True):
            for symbol, q in zip(vocabulary.symbols, row[1:], strict=True):
                if may_go_on(typed + text + symbol):
                    longer.append(text + symbol)
                    left.append(q)
                else:
                    word = WORDS.split(typed + text + symbol)[0]
                    if is_word_character(word[0]) and len(word) > len(typed):
                        words[word[len(typed) :]] += q
        texts, p = longer, np.array(left)
        total = total or p.sum()
    return words, total, p.max()


@functools.cache
def by_enumeration(found: Completer, text: str, mode: str):
    """[(text, insert, p)], best first, and the most that may be missing from one of them."""
    tail = re.search(r"(\w[\w'’]*)?\Z", text).group()
    space_behind = text[-1:].isspace() or not text
    ways = {}
    if space_behind or mode != "next":
        ways[""] = (1.0, *enumerated(found, text, tail))
    if not space_behind and mode != "prefix":
        model, vocabulary = found._words.reader.model, found.vocabulary
        ids = [vocabulary.start, *vocabulary.encode(text)]
        space = expected(model, ids)[-1, vocabulary.encode(" ")[0]]
        ways[" "] = (space, *enumerated(found, text + " ", ""))
    total = sum(weight * any_word for weight, _, any_word, _ in ways.values())
    missing = max(6 * weight * left for weight, _, _, left in ways.values()) / total
    groups = defaultdict(dict)
    for lead, (weight, words, _, _) in ways.items():
        for word, p in words.items():
            small = word.lower()
            cases = (small, small.capitalize(), small.upper())
            merged = small if word in cases and (lead or not tail) else word
            groups[lead, merged][word] = weight * p / total
    prefixes = {"": tail, " ": ""}
    ranked = []
    for (lead, _), forms in groups.items():
        word = max(forms, key=forms.get)
        ranked.append((prefixes[lead] + word, lead + word, sum(forms.values())))
    return sorted(ranked, key=lambda r: -r[2]), missing


CASES = [("", "auto"), ("ab ", "auto"), ("ab.\n", "auto"), ("ab.", "auto"), ("ab.", "next")]
CASES += [(text, mode) for text in ("ab a", "ab a'", "b'a", "Ab") for mode in MODES]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("seed, batch", [(0, 1), (1, 3), (2, 64)])
@pytest.mark.parametrize("text, mode", CASES)
@pytest.mark.parametrize("symbols", [ONE_KIND, TWO_KINDS], ids=["one-apostrophe", "two"])
def test_the_best_are_those_of_an_enumeration(monkeypatch, symbols, text, mode, seed, scale, batch):
    """However few beginnings are read at once: one alone leaves the least to chance."""
    monkeypatch.setattr(search, "_BATCH", batch)
    if symbols == TWO_KINDS:
        text = text.replace("b", "a")
    found = completer_of(symbols, scale, seed)
    ranked, missing = by_enumeration(found, text, mode)
    for n in (1, 3, 8):
        answer, best = found.complete(text, n, mode=mode), ranked[:n]
        assert best[-1][2] > missing, "the enumeration is deep enough"
        assert [(s.text, s.insert) for s in answer.suggestions] == [r[:2] for r in best]
        np.testing.assert_allclose(
            [s.p for s in answer.suggestions], [r[2] for r in best], rtol=1e-9
        )
        assert sum(r[2] for r in ranked[n:]) <= answer.other + 1e-9
        assert sum(s.p for s in answer.suggestions) + answer.other == pytest.approx(1)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("seed, batch", [(0, 1), (1, 3), (2, 64)])
def test_forms_that_are_rare_and_begin_alike_are_counted_once(monkeypatch, seed, batch, scale):
    """As capitals are: nothing but the words that they are forms of leads to them."""
    monkeypatch.setattr(search, "_BATCH", batch)
    found = completer_of("\n .abAB", scale, seed, rare="AB")
    ranked, missing = by_enumeration(found, "ab ", "auto")
    assert ranked[7][2] > missing, "the enumeration is deep enough"
    for n in (1, 3, 8):
        answer = found.complete("ab ", n)
        assert [s.text for s in answer.suggestions] == [r[0] for r in ranked[:n]]
        np.testing.assert_allclose(
            [s.p for s in answer.suggestions], [r[2] for r in ranked[:n]], rtol=1e-9
        )


@model_backends
def test_every_backend_finds_the_same(backend):
    found = completer_of(ONE_KIND, "even", 0, backend)
    expected = completer_of(ONE_KIND, "even", 0).complete("ab a", 9)
    answer = found.complete("ab a", 9)
    assert [s.insert for s in answer.suggestions] == [s.insert for s in expected.suggestions]
    np.testing.assert_allclose(
        [s.p for s in answer.suggestions], [s.p for s in expected.suggestions], rtol=1e-9
    )


def blind(weights: dict[str, float]) -> Completer:
    """Expects each symbol as probable as its weight, whatever it has read."""
    vocabulary = CharVocabulary(list(weights))
    model = tiny_model(vocabulary)
    model.params.flat[...] = 0
    model.params["decoder.bias"][...] = np.log([1e-30, *weights.values()])
    model.refresh()
    return Completer(model, vocabulary)


def test_a_word_may_end_with_anything_but_a_letter():
    """Space, line break, punctuation, an underscore; or an apostrophe with none behind it."""
    found = blind({"a": 2, "b": 1, "B": 1, "'": 1, " ": 1, "\n": 1, ".": 1, "-": 1, "_": 1})
    end = 5 / 10 + 1 / 10 * (5 / 10 + 1 / 10)
    answer = found.complete("", 2)
    assert {s.text for s in answer.suggestions} == {"a", "b"}, "B and b are one"
    assert [s.p for s in answer.suggestions] == pytest.approx([end / 2, end / 2])
    assert answer.other == pytest.approx(1 - end)


def test_what_follows_is_weighed_against_what_a_word_becomes():
    """A space, and then any word; or any letter, or an apostrophe and then a letter."""
    found = blind({"a": 3, " ": 4, "'": 1, ".": 2})
    end = 6 / 10 + 1 / 10 * (6 / 10 + 1 / 10)
    p = {" a": 0.4 * 0.3 * end, "a": 0.3 * end, "'a": 0.1 * 0.3 * end, " aa": 0.4 * 0.3**2 * end}
    answer = found.complete("a", 4)
    any_word = 0.4 * 0.3 + 0.3 + 0.1
    expected = {insert: p[insert] / any_word for insert in ("a", " a", "aa", " aa") if insert in p}
    expected["aa"] = 0.3**2 * end / any_word
    assert {s.insert: s.p for s in answer.suggestions} == pytest.approx(expected)


@pytest.mark.parametrize("text", ["ab AB", "ab Ab.AB", "AB"])
@pytest.mark.parametrize("mode", MODES)
def test_a_word_in_capitals_is_read_in_small_letters_and_goes_on_in_capitals(text, mode):
    found = completer_of(ONE_KIND, "even", 1)
    small = text.removesuffix("AB") + "ab"
    shouted, plain = found.complete(text, 9, mode=mode), found.complete(small, 50, mode=mode)
    expected = {(s.text, s.insert): s.p for s in plain.suggestions if " " in s.insert}
    expected |= {(s.text.upper(), s.insert.upper()): s.p for s in plain.suggestions
                 if " " not in s.insert and s.text.islower()}  # fmt: skip
    ratios = {s.p / expected[s.text, s.insert] for s in shouted.suggestions}
    assert max(ratios) == pytest.approx(min(ratios)), "of that, what may be in capitals"
    assert len({s.insert for s in shouted.suggestions}) == len(shouted.suggestions)
    assert all(s.text == s.text.upper() for s in shouted.suggestions if " " not in s.insert)


@pytest.mark.parametrize(
    "likely, typed, reading",
    [
        ("A", "a", "A"),
        ("A", "ab", "Ab"),
        ("a", "A", "a"),
        ("a", "Ab", "ab"),
        ("A", "AB", "Ab"),
        ("a", "AB", "ab"),
        ("A", "aB", "aB"),
        ("a", "AbB", "AbB"),
        ("A", "c", "c"),
        ("a", "C", "c"),
        ("a", "Cb", "cb"),
        ("A", "a" + 15 * "b", "A" + 15 * "b"),
        ("A", "a" + 16 * "b", "a" + 16 * "b"),
        ("A", "4", "4"),
        ("A", "", ""),
    ],
)
@pytest.mark.parametrize("times, switches", [(19, False), (21, True)])
def test_a_word_is_read_in_the_case_that_it_is_typed_in_unless_another_is_much_likelier(
    likely, typed, reading, times, switches
):
    weights = dict.fromkeys("\n .aAbBc4", 1.0) | {likely: float(times)}
    known = blind(weights)._words
    stays = "c" + typed[1:] if typed[:1] == "C" else "ab" if typed == "AB" else typed
    assert known.begun("ab ", typed)[0] == (reading if switches else stays)


@pytest.mark.parametrize("typed, other", [("a", "A"), ("A", "a"), ("ab", "Ab"), ("Ab", "ab")])
def test_what_is_read_in_another_case_goes_on_as_that_does(monkeypatch, typed, other):
    """Behind these contexts: some speak for what is typed."""
    switched = set()
    for seed, before in itertools.product(range(6), ("", "ab ", "B. ")):
        found = completer_of(ONE_KIND, "even", seed)
        ids = [found.vocabulary.start, *found.vocabulary.encode(before)]
        spelled = [found.vocabulary.encode(form).tolist() for form in (typed, other)]
        as_typed, in_the_other = probability(found._words.reader.model, ids, spelled)
        monkeypatch.setattr(chars, "_AS_TYPED", math.log(1.2))
        answer = found.complete(before + typed, 9)
        monkeypatch.setattr(chars, "_AS_TYPED", math.inf)
        read = other if in_the_other > 1.2 * as_typed else typed
        switched.add(read)
        expected = found.complete(before + read, 9)
        assert [(s.insert, s.p) for s in answer.suggestions] == [
            (s.insert, s.p) for s in expected.suggestions
        ]
        assert answer.prefix == typed
        assert all(s.text.startswith(typed) for s in answer.suggestions if s.insert[0] != " ")
    assert switched == {typed, other}


def test_a_form_that_is_longer_than_what_is_typed_is_none():
    assert completer("\n .iIİ\u0307")._words.begun("", "İİ")[0] == "İİ"


def test_the_case_of_a_blank_depends_on_what_stands_before_it(monkeypatch):
    asked = []
    begun = chars.CharCompleter.begun
    monkeypatch.setattr(
        chars.CharCompleter, "begun", lambda *given: asked.append(given[1:]) or begun(*given)
    )
    completer_of(ONE_KIND, "even", 0).complete("ab a____ b", 1)
    assert asked == [("ab ", "a")]


def test_a_model_without_small_letters_completes_capitals():
    answer = completer("\n .AB'").complete("AB", 5, mode="prefix")
    assert len(answer.suggestions) == 5
    assert all(s.text.startswith("AB") and s.text.isupper() for s in answer.suggestions)


@pytest.mark.parametrize("tail", ["I'", "I’", "A"])
def test_one_capital_says_nothing_about_the_rest(tail):
    answer = completer("\n .Iabm'’A", seed=2).complete(tail, 20, mode="prefix")
    assert any(s.insert.islower() for s in answer.suggestions)


def test_no_letter_is_counted_twice_among_forms_of_one_word():
    """In capitals "ß" is "SS", which is a form of "ss"."""
    answer = completer("\n sSßİ").complete("", 9)
    assert len({s.text for s in answer.suggestions}) == 9
    assert "ß" in {s.text for s in answer.suggestions}


def test_there_is_no_next_word_without_a_space():
    answer = completer("\nab").complete("ab", 5, mode="next")
    assert (answer.suggestions, answer.other) == ((), 1)


@pytest.mark.parametrize("symbols", ["\n .", "7 \n"[1:], "_ "])
def test_there_is_nothing_to_suggest_without_letters(symbols):
    answer = completer(symbols).complete("", 5)
    assert (answer.suggestions, answer.other) == ((), 1)


@pytest.mark.parametrize("limit", ["_MAX_NODES", "_MAX_LENGTH"])
@pytest.mark.parametrize("text", ["", "ab a"])
def test_a_search_that_is_cut_short_keeps_its_promise(monkeypatch, limit, text):
    """Of the probability of all others: it is a bound whatever was found."""
    found = completer_of(ONE_KIND, "even", 0)
    ranked, _ = by_enumeration(found, text, "auto")
    monkeypatch.setattr(search, limit, 2)
    monkeypatch.setattr(search, "_BATCH", 1)
    answer = found.complete(text, 5)
    p = {insert: p for _, insert, p in ranked}
    assert answer.suggestions
    for suggestion in answer.suggestions:
        assert suggestion.p <= p[suggestion.insert] + 1e-9
    unlisted = sum(p.values()) - sum(p[s.insert] for s in answer.suggestions)
    assert unlisted <= answer.other + 1e-9


@pytest.mark.parametrize("text", ["☺", "é", "ab ☺", "☺ab", "\ud800 a", "e\u0301a"])
def test_characters_that_the_model_does_not_know_do_no_harm(text):
    answer = completer_of(ONE_KIND, "even", 0).complete(text, 5)
    assert len(answer.suggestions) == 5
    for s in answer.suggestions:
        assert (answer.prefix + s.insert == s.text) or s.insert == " " + s.text


@pytest.mark.parametrize("known", "'’")
@pytest.mark.parametrize("typed", "'’")
def test_either_apostrophe_may_be_typed(known, typed):
    found = completer(f"\n .aA{known}")
    assert found.complete(f"a{typed}a A{typed}", 5) == found.complete(f"a{known}a A{known}", 5)


@given(st.text("ab A'’.\n", max_size=8), st.sampled_from(MODES))
def test_what_is_inserted_makes_the_word(text, mode):
    answer = completer_of(TWO_KINDS + "b", "even", 0).complete(text, 9, mode=mode)
    for s in answer.suggestions:
        if answer.prefix and not s.insert.startswith(" "):
            assert answer.prefix + s.insert == s.text
            assert text.endswith(answer.prefix)
        else:
            assert s.insert in (s.text, " " + s.text)
        assert not s.insert.startswith(" ") or (text.strip() and not text[-1].isspace())


def test_only_the_end_of_a_long_text_is_read(monkeypatch):
    monkeypatch.setattr(chars, "MAX_CONTEXT", 20)
    found = completer_of(ONE_KIND, "even", 0)
    end = "ab.ab ab'a A b ab a'bAb a"
    assert found.complete("b" * 81 + end) == found.complete("." * 81 + end)


@pytest.mark.parametrize(
    "text", ["a" * 100_000, "a" * 100_000 + ".", "ab'a " * 20_000, "'" * 100_000, " " * 100_000,
             "e\u0301’" * 33_000],
    ids=["letters", "letters-and-a-dot", "words", "apostrophes", "spaces", "accents"],
)  # fmt: skip
def test_a_very_long_line(text):
    assert completer_of(ONE_KIND, "even", 0).complete(text).suggestions


@pytest.mark.parametrize(
    "text, unknown",
    [("ab é☺a ☺", ["é", "☺"]), ("é ____\t☺b____", ["é", "☺"]), ("é" + "a" * 9000, []), ("", [])],
)
def test_what_is_read_as_unknown(text, unknown):
    assert completer_of(ONE_KIND, "even", 0).unknown(text) == unknown


@pytest.mark.parametrize("text", ["a Ab", "a ABB", "AB", "a____ AB____"])
def test_a_capital_that_is_read_as_a_small_letter_is_not_unknown(text):
    assert completer("\n ab").unknown(text) == []
