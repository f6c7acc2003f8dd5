"""Texts symbol by symbol: the same whatever pieces they come in, and places that are the file's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import DataError
from charrnn.text import UNKNOWN, CharVocabulary, words
from charrnn.text.segments import Segment, lines, segments
from charrnn.text.tokens import PRETOKENIZED, WORDS
from charrnn.text.words import WordVocabulary

CHARACTERS = CharVocabulary("\n abcé你😀")
KNOWN = WordVocabulary(["the", "cat", "\n", ", ", "é", "你好"], WORDS)
MARKED = WordVocabulary(["the", "cat", "\n", ",", "é"], PRETOKENIZED)
VOCABULARIES = {"char": CHARACTERS, "words": KNOWN, "pretokenized": MARKED}

PIECES = ["the", "cat", "don't", "e\u0301", "é", "你好", "😀", "1,0", ", ", ".", " (", "<unk>"]
PIECES += [" "] * 6 + ["  ", "\t", "\xa0", "\r\n", "\n", "\n", "\n\n"]

vocabularies = pytest.mark.parametrize("vocabulary", VOCABULARIES.values(), ids=VOCABULARIES)
cutters = pytest.mark.parametrize("cutter", [segments, lines])


@st.composite
def texts_in_pieces(draw):
    """A text, and the pieces that it comes in, of which some may be empty."""
    text = draw(st.lists(st.sampled_from(PIECES)).map("".join) | st.text())
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return text, [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]


def tokens_of(text, vocabulary):
    return list(text) if vocabulary is CHARACTERS else vocabulary._tokenizer.split(text)


def scored(text, vocabulary):
    """What of a text is in symbols: space at its end may be in none."""
    last = tokens_of(text, vocabulary)[-1:]
    return text[: text.rindex(last[0]) + len(last[0])] if last else ""


def in_pieces(test):
    """With either way to cut a text in pieces, and for every kind of symbols."""
    given_pieces = given(text_in_pieces=texts_in_pieces())
    return vocabularies(cutters(settings(max_examples=50)(given_pieces(test))))


@in_pieces
def test_ids_are_those_of_the_whole_text(cutter, vocabulary, text_in_pieces):
    text, pieces = text_in_pieces
    found = [n for segment in cutter(pieces, vocabulary) for n in segment.ids.tolist()]
    assert found == vocabulary.encode(text).tolist()


@in_pieces
def test_segments_joined_again_are_the_text(cutter, vocabulary, text_in_pieces):
    text, pieces = text_in_pieces
    found = "".join(segment.text for segment in cutter(pieces, vocabulary))
    assert found == scored(text, vocabulary)


@in_pieces
def test_symbols_joined_again_are_the_segment(cutter, vocabulary, text_in_pieces):
    for segment in cutter(text_in_pieces[1], vocabulary):
        assert "".join(map(segment.symbol, range(len(segment.ids)))) == segment.text


@in_pieces
def test_bytes_between_two_places_are_those_of_the_symbol(cutter, vocabulary, text_in_pieces):
    """In the file, from where the one before it ended."""
    text, pieces = text_in_pieces
    raw, end = text.encode(), 0
    for segment in cutter(pieces, vocabulary):
        assert segment.byte_start == end
        for n, place in enumerate(segment.byte_ends.tolist()):
            assert raw[end:place].decode() == segment.symbol(n)
            end = place
    assert end == len(scored(text, vocabulary).encode())


@in_pieces
def test_a_symbol_is_its_token_and_the_space_before_it(cutter, vocabulary, text_in_pieces):
    text, pieces = text_in_pieces
    tokens = tokens_of(text, vocabulary)
    symbols = [s.symbol(n) for s in cutter(pieces, vocabulary) for n in range(len(s.ids))]
    for symbol, token in zip(symbols, tokens, strict=True):
        assert symbol.endswith(token)
        space = symbol.removesuffix(token)
        if vocabulary is MARKED:
            assert tokens_of(space, vocabulary) == []
        else:
            assert space in (("", " ") if vocabulary is KNOWN else ("",))


@in_pieces
def test_characters_and_bytes_are_counted_symbol_by_symbol(cutter, vocabulary, text_in_pieces):
    for segment in cutter(text_in_pieces[1], vocabulary):
        symbols = [segment.symbol(n) for n in range(len(segment.ids))]
        assert segment.characters.tolist() == [len(s) for s in symbols]
        assert segment.bytes.tolist() == [len(s.encode()) for s in symbols]


@in_pieces
def test_no_segment_is_empty(cutter, vocabulary, text_in_pieces):
    assert all(len(segment.ids) for segment in cutter(text_in_pieces[1], vocabulary))


@vocabularies
@given(text_in_pieces=texts_in_pieces())
def test_lines_are_split_behind_line_breaks_alone(vocabulary, text_in_pieces):
    text, pieces = text_in_pieces
    *whole, rest = scored(text, vocabulary).split("\n")
    found = [segment.text for segment in lines(pieces, vocabulary)]
    assert found == [f"{line}\n" for line in whole] + [rest] * (rest != "")


@vocabularies
@given(text_in_pieces=texts_in_pieces(), data=st.data())
def test_a_part_is_as_if_the_rest_were_not_there(vocabulary, text_in_pieces, data):
    """But for where it begins in the file."""
    for whole in segments(text_in_pieces[1], vocabulary):
        start = data.draw(st.integers(0, len(whole.ids) - 1))
        stop = data.draw(st.integers(start + 1, len(whole.ids)))
        part = whole.part(start, stop)
        symbols = [whole.symbol(n) for n in range(start, stop)]
        assert [part.symbol(n) for n in range(len(part.ids))] == symbols
        assert part.text == "".join(symbols)
        np.testing.assert_array_equal(part.ids, whole.ids[start:stop])
        np.testing.assert_array_equal(part.byte_ends, whole.byte_ends[start:stop])
        np.testing.assert_array_equal(part.bytes, whole.bytes[start:stop])
        np.testing.assert_array_equal(part.characters, whole.characters[start:stop])


@pytest.mark.parametrize(
    ("vocabulary", "text", "symbols", "byte_ends"),
    [
        (CHARACTERS, "aé你😀\n", ["a", "é", "你", "😀", "\n"], [1, 3, 6, 10, 11]),
        (CHARACTERS, "\x7f\x80\u07ff\u0800\uffff\U00010000", None, [1, 3, 5, 8, 11, 15]),
        (KNOWN, "the é, cat 你好", ["the", " é", ", ", "cat", " 你好"], [3, 6, 8, 11, 18]),
        (KNOWN, "the  é", ["the", "  ", "é"], [3, 5, 7]),
        (MARKED, " the  é \n cat ", [" the", "  é", " \n", " cat"], [4, 8, 10, 14]),
    ],
)
def test_places_by_hand(vocabulary, text, symbols, byte_ends):
    found = [(segment.symbol(n), end) for segment in segments([text], vocabulary)
             for n, end in enumerate(segment.byte_ends.tolist())]  # fmt: skip
    assert found == list(zip(symbols or text, byte_ends, strict=True))


@pytest.mark.parametrize(
    ("vocabulary", "text", "known"),
    [
        (CHARACTERS, "axé\u0301", [True, False, True, False]),
        (KNOWN, "the dog, The", [True, False, True, False]),
        (MARKED, "the <unk> dog ,", [True, False, False, True]),
    ],
)
def test_what_is_not_in_the_vocabulary_is_not_known(vocabulary, text, known):
    [line] = lines([text], vocabulary)
    assert line.known.tolist() == known


@pytest.mark.parametrize(
    ("vocabulary", "text", "tokens", "ends"),
    [
        (CHARACTERS, "a\nx", "a\n�", [1, 2, 3]),
        (KNOWN, "the cat, zyx", ["the", "cat", ", ", "<unk>"], [3, 7, 9, 12]),
        (MARKED, " the zyx\n ", ["the", "<unk>", "\n"], [4, 8, 9]),
        (CHARACTERS, "", [], []),
        (KNOWN, "", [], []),
        (MARKED, "  ", [], []),
    ],
)
def test_the_last_of_a_text_is_used_up(vocabulary, text, tokens, ends):
    ids, found, used = vocabulary.located(text, last=True)
    assert [vocabulary.tokens[n] for n in ids] == list(tokens)
    assert (found.tolist(), used) == (ends, len(text))


@pytest.mark.parametrize(
    ("vocabulary", "text", "ends", "used"),
    [
        (CHARACTERS, "the ca", [1, 2, 3, 4, 5, 6], 6),
        (KNOWN, "the ca", [3], 4),
        (KNOWN, "the cat\nan", [3, 7, 8], 8),
        (KNOWN, "the", [], 0),
        (MARKED, "the ca", [3], 4),
        (MARKED, "the cat ", [3, 7], 8),
        (MARKED, "the\nca", [3, 4], 4),
    ],
)
def test_what_may_still_grow_is_left_for_later(vocabulary, text, ends, used):
    ids, found, count = vocabulary.located(text, last=False)
    assert (len(ids), found.tolist(), count) == (len(ends), ends, used)


def test_the_tokens_of_characters_are_named_by_id():
    assert [CHARACTERS.tokens[n] for n in CHARACTERS.encode("abx")] == ["a", "b", "\ufffd"]
    assert len(CHARACTERS.tokens) == len(CHARACTERS)


@vocabularies
@cutters
@pytest.mark.parametrize("pieces", [[], [""], ["", ""]], ids=str)
def test_an_empty_text_has_no_segments(cutter, vocabulary, pieces):
    assert list(cutter(pieces, vocabulary)) == []


@cutters
def test_space_alone_is_no_token_between_spaces(cutter):
    assert list(cutter([" ", "\t "], MARKED)) == []


@vocabularies
@cutters
def test_half_a_surrogate_does_no_harm(cutter, vocabulary):
    """No file has one, but a string may: it is unknown, and three bytes long."""
    [segment] = cutter(["\ud800"], vocabulary)
    assert (segment.ids.tolist(), segment.bytes.tolist()) == ([UNKNOWN], [3])


@vocabularies
@cutters
def test_a_text_is_not_read_ahead(cutter, vocabulary):
    """What is sure comes before the next piece is asked for."""
    pieces = iter(["the\n", "the\n", "the\n"])
    first = next(cutter(pieces, vocabulary))
    assert isinstance(first, Segment)
    assert list(pieces) == ["the\n", "the\n"]


@pytest.mark.parametrize("vocabulary", [KNOWN, MARKED], ids=["words", "pretokenized"])
@pytest.mark.parametrize("pieces", [["x" * 21], ["x" * 9] * 3], ids=["at-once", "in-pieces"])
def test_text_without_space_for_too_long_is_refused(vocabulary, pieces, monkeypatch):
    monkeypatch.setattr("charrnn.text.words._LONGEST", 20)
    with pytest.raises(DataError, match="text without words"):
        list(segments(pieces, vocabulary))


def test_a_line_as_long_as_can_be_waited_for_is_divided_between_words(monkeypatch):
    """Where a shorter one stands before it, too."""
    monkeypatch.setattr(words, "_LONGEST", 40)
    text = "a\n" + "b c " * 30 + "b\n"
    vocabulary = WordVocabulary(["\n", "a", "b", "c"], WORDS)
    found = [segment.text for segment in segments([text], vocabulary)]
    assert "".join(found) == text
