"""The simulated typist: figures worked out by hand for suggestions that are known."""

from __future__ import annotations

import pytest

from charrnn import simulation
from charrnn.errors import DataError
from charrnn.simulation import SLOTS, Typing, simulate
from charrnn.text.tokens import PRETOKENIZED, WORDS


class Fake:
    """Suggests from a fixed list what begins as it is typed, and notes what it was asked."""

    def __init__(self, words: str) -> None:
        self.words = words.split()
        self.asked: list[tuple[str, str]] = []

    def __call__(self, before: str, typed: str, n: int) -> list[str]:
        self.asked.append((before, typed))
        return [w for w in self.words if w.lower().startswith(typed.lower())][:n]


@pytest.fixture
def typed():
    """Four words in two lines, 14 letters, with 6 suggestions in this order.

    went: the third, so 1 key with 3 slots; with one slot "w" brings it to the front: 2 keys.
    home: the sixth, so not among five; "h" leaves have, her, home: 2 keys, and with one slot 3.
    Now: "n" is all it takes with any number of slots: 2 keys; it is the fifth before: 1 key.
    zoo: is not known: 3 letters and a space.
    """
    suggest = Fake("have her went a now home")
    return simulate([["went home."], ["Now, zoo"]], suggest, WORDS), suggest


def test_keys_are_those_of_the_fewest_letters_that_bring_a_word_among_the_slots(typed):
    assert typed[0].keys == {1: 2 + 3 + 2 + 4, 3: 1 + 2 + 2 + 4, 5: 1 + 2 + 1 + 4}


def test_letters_and_words_are_counted_without_punctuation(typed):
    assert (typed[0].letters, typed[0].words) == (4 + 4 + 3 + 3, 4)


def test_ranks_are_those_before_the_first_letter(typed):
    assert typed[0].ranks == [3, 0, 5, 0]
    assert [typed[0].recall(k) for k in (1, 3, 5)] == [0, 1 / 4, 2 / 4]
    assert typed[0].mean_reciprocal_rank == pytest.approx((1 / 3 + 1 / 5) / 4)


def test_savings_are_of_the_keys_with_a_space_behind_each_word(typed):
    assert [typed[0].savings(s) for s in SLOTS] == pytest.approx(
        [1 - 11 / 18, 1 - 9 / 18, 1 - 8 / 18]
    )


def test_ceilings(typed):
    """One key a word, and two."""
    assert [typed[0].ceiling(keys) for keys in (1, 2)] == pytest.approx([1 - 4 / 18, 1 - 8 / 18])


def test_what_is_asked_is_the_line_up_to_there_and_what_is_typed_of_a_word(typed):
    """Not beyond the letter with which a single slot has the word; each line is alone."""
    assert typed[1].asked == [
        ("", ""),
        ("", "w"),
        ("went ", ""),
        ("went ", "h"),
        ("went ", "ho"),
        ("", ""),
        ("", "N"),
        ("Now, ", ""),
        ("Now, ", "z"),
        ("Now, ", "zo"),
    ]
    assert len(typed[0].seconds) == len(typed[1].asked)


def test_lines_above_are_context_within_a_text():
    suggest = Fake("")
    simulate([["go\n", "...\n", "up."], ["on"]], suggest, WORDS)
    assert [before for before, typed in suggest.asked if not typed] == ["", "go\n...\n", ""]


def test_of_a_long_text_the_end_is_context(monkeypatch):
    """It begins at the same place for a while, so that what was read of it is of use."""
    monkeypatch.setattr(simulation, "_ABOVE", 8)
    suggest = Fake("")
    simulate([["abc\n", "def\n", "ghi\n", "jkl\n"]], suggest, WORDS)
    befores = [before for before, typed in suggest.asked if not typed]
    assert befores == ["", "abc\n", "abc\ndef\n", "def\nghi\n"]


def test_every_suggestion_that_is_right_counts_whatever_its_case_or_apostrophe():
    typing = simulate([["DON'T don’t"]], lambda before, typed, n: ["Don't"], WORDS)
    assert (typing.ranks, typing.keys) == ([1, 1], dict.fromkeys(SLOTS, 2))


def test_a_word_that_is_never_suggested_takes_its_letters_and_a_space():
    typing = simulate([["one two"]], lambda before, typed, n: [], WORDS)
    assert typing.keys == dict.fromkeys(SLOTS, 8)
    assert [typing.savings(s) for s in SLOTS] == [0, 0, 0]
    assert (typing.recall(5), typing.mean_reciprocal_rank) == (0, 0)


def test_perfect_suggestions_reach_the_ceiling():
    line = "one two three"
    typing = simulate([[line]], lambda before, typed, n: line[len(before) :].split()[:1], WORDS)
    assert [typing.savings(s) for s in SLOTS] == [typing.ceiling(1)] * 3
    assert typing.recall(1) == typing.mean_reciprocal_rank == 1


def test_more_suggestions_than_slots_are_of_no_use():
    typing = simulate([["ab"]], lambda before, typed, n: ["x", "y", "z", "v", "w", "ab"], WORDS)
    assert typing.ranks == [6]
    assert typing.recall(5) == 0
    assert typing.keys == dict.fromkeys(SLOTS, 3)


def test_unknown_words_and_symbols_of_pretokenized_text_are_context_alone():
    suggest = Fake("")
    typing = simulate([["the <unk> , at @-@ n\n"]], suggest, PRETOKENIZED)
    assert typing.words == 3
    befores = dict.fromkeys(before for before, _ in suggest.asked)
    assert list(befores) == [" ", " the <unk> , ", " the <unk> , at @-@ "]


@pytest.mark.parametrize(
    "share, expected", [(0, 1), (0.05, 1), (0.5, 10), (0.51, 11), (0.95, 19), (0.99, 20), (1, 20)]
)
def test_latency_is_what_so_many_took_at_most(share, expected):
    typing = Typing(seconds=[n / 1000 for n in range(20, 0, -1)])
    assert typing.latency(share) == pytest.approx(expected)


def test_the_time_is_that_of_suggesting(monkeypatch):
    clock = iter([10.0, 10.25, 20.0, 20.5])
    monkeypatch.setattr(simulation.time, "perf_counter", lambda: next(clock))
    typing = simulate([["ab"]], lambda before, typed, n: ["ab"] if typed else [], WORDS)
    assert typing.seconds == [0.25, 0.5]


def test_a_text_without_words_is_refused():
    with pytest.raises(DataError, match="text without words"):
        simulate([["...", ""]], Fake("a"), WORDS)
