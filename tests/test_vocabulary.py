import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import DataError
from charrnn.text import UNKNOWN, CharVocabulary

ASTRAL = "\U00010000\U0001f600\U0010ffff"


@given(st.text(min_size=1), st.randoms(use_true_random=False))
def test_decode_undoes_encode(text, random):
    shuffled = "".join(random.sample(text, len(text)))
    vocabulary = CharVocabulary.of(text)
    assert vocabulary.decode(vocabulary.encode(shuffled)) == shuffled


@given(st.text(min_size=1), st.text())
def test_unknown_symbols_and_they_alone_become_the_unknown_id(known, text):
    ids = CharVocabulary.of(known).encode(text)
    assert [i == UNKNOWN for i in ids] == [symbol not in known for symbol in text]


@given(st.text(min_size=1))
def test_ids_follow_the_code_points_from_1(text):
    symbols = sorted(set(text))
    ids = CharVocabulary.of(text).encode("".join(symbols))
    assert ids.tolist() == list(range(1, len(symbols) + 1))


def test_ids_follow_the_order_given():
    assert CharVocabulary("cab").encode("abc").tolist() == [2, 3, 1]


def test_length_counts_the_unknown_symbol():
    assert len(CharVocabulary("cab")) == 4


def test_ids_are_int32():
    assert CharVocabulary("ab").encode("ab").dtype == np.int32


def test_lone_surrogate_in_a_text_is_unknown():
    assert CharVocabulary("ab").encode("a\udc80b").tolist() == [1, UNKNOWN, 2]


@pytest.mark.parametrize(
    ("symbols", "text", "expected"),
    [
        (ASTRAL, ASTRAL, [1, 2, 3]),
        (ASTRAL, "a\U0001f601", [UNKNOWN, UNKNOWN]),
        ("ab", ASTRAL, [UNKNOWN, UNKNOWN, UNKNOWN]),
        ("\0\uffff", "\uffff\0", [2, 1]),
        ("ab", "", []),
    ],
)
def test_encode(symbols, text, expected):
    assert CharVocabulary(symbols).encode(text).tolist() == expected


def test_astral_symbols_are_one_symbol_each():
    vocabulary = CharVocabulary.of(ASTRAL)
    assert vocabulary.symbols == tuple(ASTRAL)
    assert vocabulary.decode(np.array([2, 2], np.int32)) == "\U0001f600" * 2


def test_unknown_id_is_decoded_as_the_replacement_character():
    assert CharVocabulary("ab").decode(np.array([2, UNKNOWN, 1], np.int32)) == "b\ufffda"


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("", []),
        ("abba", []),
        ("zaxbzx", ["z", "x"]),
        ("\U0001f600a\ufffd", ["\U0001f600", "\ufffd"]),
    ],
)
def test_unknown_symbols_are_named_once_in_order(text, unknown):
    assert CharVocabulary("ab").unknown_symbols(text) == unknown


@pytest.mark.parametrize(("symbols", "start"), [("\nab", 1), ("ab\n", 3), ("ba", 1)])
def test_texts_start_after_a_line_break_if_there_is_one(symbols, start):
    assert CharVocabulary(symbols).start == start


@pytest.mark.parametrize(
    "symbols",
    [[], [""], ["a", ""], ["ab"], ["a", "b", "a"], ["\ud800"], ["a", "\udfff"], ["e\u0301"]],
    ids=ascii,
)
def test_what_is_no_set_of_characters_is_refused(symbols):
    with pytest.raises(DataError, match="not a set of characters") as caught:
        CharVocabulary(symbols)
    assert caught.value.exit_code == 65


@pytest.mark.parametrize("symbol", ["\ud7ff", "\ue000"], ids=ascii)
def test_neighbours_of_the_surrogates_are_characters(symbol):
    assert CharVocabulary([symbol]).encode(symbol).tolist() == [1]
