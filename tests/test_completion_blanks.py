"""Filling blanks: both models of a blank against their definitions."""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.completion import Completer
from charrnn.completion.request import Blank, fold, is_word_character
from charrnn.params import LEFT, RIGHT
from tests.support.devices import host
from tests.support.stacks import cells, model_backends
from tests.support.tiny import completer, expected, probability, softmax, tiny_model

TOKENS = ["\n", ".", ", ", ",", " (", ") ", ". ", "the", "cat", "car", "go", "goes", "don't"]
TOKENS += ["don", "I", "a", "at", "café"]
LETTERS = "\n .abc'"

models = pytest.mark.parametrize("seed, scale", [(0, 0.5), (1, 4.0), (2, 10.0)])
ways = pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])
sizes = pytest.mark.parametrize("n", [3, 100])


@functools.cache
def found_with(
    symbols: str = "words", bidirectional: bool = False, seed: int = 0, scale: float = 4.0, **extra
) -> Completer:
    tokens = TOKENS if symbols == "words" else symbols
    return completer(tokens, seed, scale, bidirectional=bidirectional, **extra)


def model_of(found: Completer):
    return found._words.reader.model


def likelihoods(found: Completer, left: list[int], right: list[int]) -> dict[str, float]:
    """P(w | left) P(right | left, w) of each word."""
    tokens = found.vocabulary.tokens
    words = [n for n, token in enumerate(tokens) if n and is_word_character(token[0])]
    p = probability(model_of(found), left, [[n, *right] for n in words])
    return {tokens[n]: q for n, q in zip(words, p, strict=True)}


def between(found: Completer, left: list[int], right: list[int]) -> dict[str, float]:
    """The softmax over what both sides say of each word, from the parameters."""
    model = model_of(found)
    before = np.array(model.window(len(left), 1).hidden(np.array(left)[:, None]))[-1]
    mirrored = np.array(right[::-1])[:, None]
    after = np.array(model.window(len(right), 1, RIGHT).hidden(mirrored))[-1]
    logits = (before + after) @ model.params["decoder.weight"].T + model.params["blank.bias"]
    tokens = enumerate(found.vocabulary.tokens)
    p = softmax(logits)
    return {token: p[n] for n, token in tokens if n and is_word_character(token[0])}


def check(answer, p: dict[str, float], prefix: str = "") -> None:
    """What is suggested are the likeliest of the words that are longer than a prefix."""
    fit = {w: q for w, q in p.items() if len(w) > len(prefix) and fold(w).startswith(fold(prefix))}
    best = sorted(fit, key=fit.get, reverse=True)[: len(answer.suggestions)]
    assert [s.text for s in answer.suggestions] == best
    assert [s.insert for s in answer.suggestions] == [w[len(prefix) :] for w in best]
    wanted = np.array([fit[w] for w in best]) / sum(fit.values())
    np.testing.assert_allclose([s.p for s in answer.suggestions], wanted, rtol=1e-9)
    assert answer.other == pytest.approx(1 - wanted.sum(), abs=1e-9)
    assert (answer.mode, answer.prefix) == ("blank", prefix)


@models
@sizes
@ways
@pytest.mark.parametrize(
    "text, left, prefix, right",
    [
        ("I ____ the cat", ["I"], "", ["the", "cat"]),
        ("____ the cat", [], "", ["the", "cat"]),
        ("I ____.", ["I"], "", ["."]),
        ("I ____. ", ["I"], "", [". "]),
        ("I ____ the ", ["I"], "", ["the"]),
        ("I ____\n", ["I"], "", ["\n"]),
        ("I ____  the", ["I"], "", ["the"]),
        ("I ____ zzz", ["I"], "", ["<unk>"]),
        ("zzz ____ I", ["<unk>"], "", ["I"]),
        ("a, ____, the", ["a", ", "], "", [", ", "the"]),
        ("a (____) the", ["a", " ("], "", [") ", "the"]),
        ("go. ____ cat", ["go", ". "], "", ["cat"]),
        ("the cat\n____ cat", ["the", "cat", "\n"], "", ["cat"]),
        ("the c____ goes", ["the"], "c", ["goes"]),
        ("the g____.", ["the"], "g", ["."]),
        ("I go____ at", ["I"], "go", ["at"]),
        ("I don'____ go", ["I"], "don'", ["go"]),
        ("I don’____ go", ["I"], "don'", ["go"]),
        ("a cafe\u0301 ____ I", ["a", "café"], "", ["I"]),
        ("a __________ at", ["a"], "", ["at"]),
    ],
)
def test_words_are_ranked_by_what_stands_on_both_sides(
    text, left, prefix, right, seed, scale, bidirectional, n
):
    found = found_with("words", bidirectional, seed, scale)
    encode = found.vocabulary.encode_symbols
    sides = [found.vocabulary.start, *encode(left)], encode(right).tolist()
    p = (between if bidirectional else likelihoods)(found, *sides)
    check(found.complete(text, n), p, prefix)


@ways
@pytest.mark.parametrize("symbols", ["words", LETTERS])
@pytest.mark.parametrize("left", ["a ", "", "a.\n", "a. ca", "(c"])
def test_a_blank_at_the_end_is_filled_from_the_left_alone(left, symbols, bidirectional):
    found = found_with(symbols, bidirectional)
    answer, plain = found.complete(left + "____"), found.complete(left, mode="prefix")
    found = [(s.text, s.insert) for s in answer.suggestions]
    assert found == [(s.text, s.insert) for s in plain.suggestions]
    assert [s.p for s in answer.suggestions] == pytest.approx([s.p for s in plain.suggestions])


@ways
@pytest.mark.parametrize("tokens", [TOKENS, [*TOKENS, " "]], ids=["", "known-space"])
@pytest.mark.parametrize("text", ["a ____", "a ____ the"])
def test_a_space_at_the_end_is_one_that_is_implied(text, tokens, bidirectional):
    """So the first of several blanks is filled as if there was a word in the next."""
    found = completer(tokens, bidirectional=bidirectional)
    assert found.complete(text + " ") == found.complete(text)


def test_of_a_long_right_side_what_is_near_decides():
    found = found_with()
    near = "the cat goes at a car I go don't a the cat"
    assert found.complete(f"I ____ {near} goes") == found.complete(f"I ____ {near} don't a")


@pytest.mark.parametrize("bidirectional", [False, True])
def test_words_that_differ_in_case_are_one(bidirectional):
    """With both sides their probabilities are added up; with one, the likeliest is judged."""
    found = completer(["\n", "the", "The", "THE", "a", "A"], 3, bidirectional=bidirectional)
    answer = found.complete("a ____ a", 9)
    assert sorted(fold(s.text) for s in answer.suggestions) == ["a", "the"]
    start, a = found.vocabulary.start, found.vocabulary.encode("a").tolist()
    rank = between if bidirectional else likelihoods
    p, left = rank(found, [start, *a], a), expected(model_of(found), [start, *a])[-1]
    totals = defaultdict(float)
    for word in p:
        forms = [w for w in p if fold(w) == fold(word)]
        alone = {w: left[found.vocabulary.encode(w)[0]] for w in forms}
        likeliest = max(forms, key=p.get if bidirectional else alone.get)
        judged = p[likeliest] / alone[likeliest]
        totals[likeliest] = sum(p[w] if bidirectional else alone[w] * judged for w in forms)
    assert {s.text: s.p for s in answer.suggestions} == pytest.approx(
        {w: q / sum(totals.values()) for w, q in totals.items()}
    )


@ways
@pytest.mark.parametrize("symbols", ["words", LETTERS])
@pytest.mark.parametrize("text", ["a __ the", "a_b", "_cat_ a", "the_"])
def test_fewer_than_three_underscores_are_no_blank(text, symbols, bidirectional):
    assert found_with(symbols, bidirectional).complete(text).mode != "blank"


@pytest.mark.parametrize("prefix", ["zz", "cats", "don't"])
@ways
def test_there_may_be_nothing_that_fits(prefix, bidirectional):
    answer = found_with("words", bidirectional).complete(f"a {prefix}____ the ____.")
    assert (answer.suggestions, answer.other) == ((), 1)


@pytest.mark.parametrize("text, word", [("the CA____ goes", "CAR"), ("Th____ cat", "The"),
                                        ("I D____ go", "Don't"), ("A____ cat", "At")])  # fmt: skip
@ways
def test_a_word_is_in_the_case_in_which_it_begins(text, word, bidirectional):
    answer = found_with("words", bidirectional).complete(text, 50)
    assert word in {s.text for s in answer.suggestions}


@models
@ways
def test_several_blanks_are_filled_one_after_the_other(seed, scale, bidirectional):
    """The first knows what comes before the second, which knows with what the first was filled."""
    found = found_with("words", bidirectional, seed, scale)
    pairs = {}
    for first in found.complete("a ____ the ", 100).suggestions:
        for second in found.complete(f"a {first.text} the c____ I go", 100).suggestions:
            pairs[f"{first.text} {second.text}"] = first.p * second.p
    best = sorted(pairs, key=pairs.get, reverse=True)
    answer = found.complete("a ____ the c____ I go", 20)
    assert [s.text for s in answer.suggestions] == best[:20]
    np.testing.assert_allclose([s.p for s in answer.suggestions], [pairs[t] for t in best[:20]])
    assert answer.other == pytest.approx(sum(pairs[t] for t in best[20:]))
    assert answer.suggestions[0].insert == answer.suggestions[0].text.replace(" c", " ")


def spellings(longest: int) -> list[str]:
    """All words of the letters; an apostrophe stands between two of them."""
    every = ("".join(t) for n in range(1, longest + 1) for t in itertools.product("abc'", repeat=n))
    return [w for w in every if not w.startswith("'") and not w.endswith("'") and "''" not in w]


@pytest.mark.parametrize("seed, scale", [(0, 0.5), (1, 4.0), (2, 8.0)])
@ways
@pytest.mark.parametrize(
    "left, prefix, right",
    [("a ", "", " b"), ("", "", " b"), ("b ", "", "."), ("b.\n", "", "\n"), ("b ", "c", " a"),
     ("a ", "b'", " a")],
)  # fmt: skip
def test_characters_are_ranked_by_the_probability_of_the_whole(
    left, prefix, right, seed, scale, bidirectional
):
    """Forwards; or by the geometric mean of that and of what is read backwards."""
    found = found_with(LETTERS, bidirectional, seed, scale)
    model, encode = model_of(found), lambda text: found.vocabulary.encode(text).tolist()
    start = [found.vocabulary.start]
    longest = 4 if not prefix else 5
    words = [w for w in spellings(longest) if w.startswith(prefix) and w != prefix]
    found_p = probability(model, start + encode(left), [encode(w + right) for w in words])
    if bidirectional:
        read = [encode(w)[::-1] + encode(left)[::-1] + start for w in words]
        found_p *= probability(model, encode(right)[::-1], read, RIGHT)
        found_p **= 0.5
    p = dict(zip(words, found_p, strict=True))
    best = sorted(p, key=p.get, reverse=True)
    answer = found.complete(f"{left}{prefix}____{right}", 5)
    assert [s.text for s in answer.suggestions] == best[:5]
    assert [s.insert for s in answer.suggestions] == [w[len(prefix) :] for w in best[:5]]
    ratios = [s.p / p[s.text] for s in answer.suggestions]
    assert ratios == pytest.approx([ratios[0]] * 5)


def test_the_right_side_proposes_words_too():
    """With a single candidate of each side, the better is one that the left alone would miss."""
    found = found_with(LETTERS, True, 5)
    blank = Blank("a ", "", " b")
    [from_left] = found.complete(blank.left, 1, mode="prefix").suggestions
    [(of_two, _)], [(of_many, _)] = (found._rank(blank, 1, candidates) for candidates in (1, 64))
    assert of_two == of_many != from_left.text


@pytest.mark.parametrize("right", [" b", ".", " a"])
def test_what_was_asked_before_makes_no_difference(right):
    """The words that the right proposes are remembered, but not for another right."""
    used = completer(LETTERS, 1, bidirectional=True)
    for other in (" b", " c", "."):
        used.complete(f"a ____{other}")
    fresh = completer(LETTERS, 1, bidirectional=True)
    assert used.complete(f"a ____{right}") == fresh.complete(f"a ____{right}")


@ways
def test_a_word_in_capitals_goes_on_in_capitals(bidirectional):
    found = completer("\n .abAB", bidirectional=bidirectional)
    answer = found.complete("a AB____ b", 9)
    assert all(s.text.isupper() for s in answer.suggestions)
    assert len({s.text for s in answer.suggestions}) == 9


pieces = st.lists(st.text(alphabet="abc'A .,\n", max_size=6), min_size=2, max_size=4)


@ways
@pytest.mark.parametrize("symbols", ["words", "\n .,abcA'"])
@settings(max_examples=25)
@given(parts=pieces)
def test_what_is_inserted_fills_the_blanks(parts, symbols, bidirectional):
    found = found_with(symbols, bidirectional)
    inner = [part or " " for part in parts[1:-1]]
    text = "____".join([parts[0], *inner, parts[-1]])
    answer = found.complete(text, 3)
    for s in answer.suggestions:
        inserts, words = s.insert.split(" "), s.text.split(" ")
        assert len(inserts) == len(words) == len(inner) + 1
        assert all(inserts)
        for part, insert, word in zip([parts[0], *inner], inserts, words, strict=True):
            assert (part + insert).endswith(word)
    assert sum(s.p for s in answer.suggestions) + answer.other == pytest.approx(1)


@model_backends
@cells
@pytest.mark.parametrize("layers", [1, 3])
def test_what_is_between_is_not_seen(backend, cell, layers):
    """Of s_0 .. s_T a training window predicts s_k, for k from 1 to T - 1, from all others.

    What it predicts it from changes with every symbol but that one.
    """
    vocabulary = found_with("words").vocabulary
    model = tiny_model(
        vocabulary, backend=backend, cell=cell, layers=layers, bidirectional=True,
        learns=True, embed_size=6,
    )  # fmt: skip
    T, B = 6, 2
    s = np.random.default_rng(0).integers(1, 9, size=(T + 1, B))
    window = model.training_window(T, B)

    def inputs(s):
        window.reset()
        window.loss_and_grads(s[:-1], s[1:], None)
        return np.concatenate([host(part.both) for part in window.parts], axis=1)

    before = inputs(s)
    for k in range(T + 1):
        changed = s.copy()
        changed[k] = changed[k] % 9 + 1
        same = (inputs(changed) == before).all(axis=(1, 2))
        assert [n + 1 for n in np.flatnonzero(same)] == ([k] if 0 < k < T else [])


@model_backends
@cells
def test_the_prediction_is_the_one_that_was_trained(backend, cell):
    """``Model.between`` of a word's two contexts, and the input of the head in training."""
    vocabulary = found_with("words").vocabulary
    model = tiny_model(vocabulary, backend=backend, cell=cell, bidirectional=True, learns=True)
    s = np.random.default_rng(0).integers(1, 9, size=(7, 1))
    window = model.training_window(6, 1)
    window.loss_and_grads(s[:-1], s[1:], None)
    [part] = window.parts
    for k in range(1, 6):
        states = []
        for side, read in ((LEFT, s[:k]), (RIGHT, s[:k:-1])):
            reader = model.window(len(read), 1, side)
            reader.hidden(np.ascontiguousarray(read))
            states.append(reader.states)
        logits = host(model.between(*states))[0]
        h = host(part.both)[k - 1, 0]
        trained = h @ host(model.params["decoder.weight"]).T + host(model.params["blank.bias"])
        np.testing.assert_allclose(logits, trained, rtol=1e-9, atol=1e-12)
