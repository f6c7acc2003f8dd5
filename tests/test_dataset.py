"""A corpus prepared for training."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from charrnn.errors import DataError
from charrnn.text import UNKNOWN
from charrnn.text.dataset import Dataset
from charrnn.text.tokens import PRETOKENIZED, TOKENIZERS, WORDS
from charrnn.text.words import StoredWords
from tests.support.texts import known_characters

tokenizers = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)


@pytest.fixture
def file(tmp_path):
    """Writes a text into a new file and gives its path."""

    def write(text: str, name: str = "text.txt"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8", newline="")
        return path

    return write


def test_split_is_at_the_end_and_contiguous(file):
    data = Dataset.read([file("abcdefghij" * 10)], None, 0.2)
    assert data.vocabulary.decode(data.train[:]) == "abcdefghij" * 8
    assert data.vocabulary.decode(data.valid[:]) == "abcdefghij" * 2
    assert data.split == "last-20%"


def test_a_symbol_of_the_held_out_part_alone_is_unknown(file):
    """The vocabulary that knew it would have seen the validation text."""
    data = Dataset.read([file("ab" * 45 + "abXbababab")], None, 0.1)
    assert set(data.vocabulary.symbols) == {"a", "b"}
    np.testing.assert_array_equal(data.valid[:] == UNKNOWN, [s == "X" for s in "abXbababab"])
    assert data.document["valid_unknown"] == 1


def test_a_file_to_validate_on_leaves_the_whole_text_to_train_on(file):
    data = Dataset.read([file("ab" * 50)], file("ba\r\n", "held.txt"), 0.1)
    assert len(data.train) == 100
    assert data.vocabulary.decode(data.valid[:]) == "ba\ufffd\ufffd"
    assert data.split == "file:held.txt"
    assert data.document["valid"]["sha256"] == hashlib.sha256(b"ba\r\n").hexdigest()
    assert ["CRLF" in note for note in data.notes] == [True]


@pytest.mark.parametrize("text", ["ab\U0001f600é" * 40, "".join(map(chr, range(99, 700)))])
@pytest.mark.parametrize("valid_fraction", [0.1, 0.33, 0.5])
def test_ids_are_those_that_the_vocabulary_gives(file, text, valid_fraction):
    data = Dataset.read([file(text)], None, valid_fraction)
    cut = len(text) - round(len(text) * valid_fraction)
    assert data.vocabulary.symbols == tuple(sorted(set(text[:cut])))
    np.testing.assert_array_equal(data.train[:], data.vocabulary.encode(text[:cut]))
    np.testing.assert_array_equal(data.valid[:], data.vocabulary.encode(text[cut:]))
    assert data.document["valid_unknown"] == len(set(text[cut:]) - set(text[:cut]))


def test_text_of_a_single_symbol_is_refused(file):
    with pytest.raises(DataError, match=r"text of a single symbol: .*, 'a'; nothing to learn"):
        Dataset.read([file("a" * 90 + "b" * 10)], None, 0.1)


def test_document_identifies_the_text(file):
    path = file("ab" * 50)
    document = Dataset.read([path], None, 0.1).document
    assert document["sources"] == [str(path)]
    assert document["sha256"] == hashlib.sha256(b"ab" * 50).hexdigest()
    assert (document["train_symbols"], document["valid_symbols"]) == (90, 10)


def test_a_file_too_short_to_validate_on_is_named(file):
    with pytest.raises(DataError, match=r"held\.txt"):
        Dataset.read([file("ab" * 50)], file("b", "held.txt"), 0.1)


def test_only_so_many_files_are_named(file):
    sources = Dataset.read([file("ab" * 50)] * 150, None, 0.1).document["sources"]
    assert (len(sources), sources[-1]) == (101, "and 50 more")


@tokenizers
@pytest.mark.parametrize("valid_fraction", [0.1, 0.33, 0.5])
def test_words_are_cut_between_tokens_and_encoded_as_the_vocabulary_says(
    file, tokenizer, valid_fraction
):
    tokens = tokenizer.split("".join(f"The cat-{n % 7} sat, on\n{n}. " for n in range(20)))
    text = tokenizer.join(tokens)
    data = Dataset.read([file(text)], None, valid_fraction, StoredWords(tokenizer, min_count=2))
    cut = len(tokens) - round(len(tokens) * valid_fraction)
    assert set(data.vocabulary.symbols) == {t for t in tokens[:cut] if tokens[:cut].count(t) > 1}
    np.testing.assert_array_equal(data.train[:], data.vocabulary.encode_symbols(tokens[:cut]))
    np.testing.assert_array_equal(data.valid[:], data.vocabulary.encode_symbols(tokens[cut:]))
    assert data.document["train_unknown"] == (data.train[:] == UNKNOWN).sum() > 0
    assert data.document["valid_unknown"] == (data.valid[:] == UNKNOWN).sum()
    expected = known_characters(tokens[cut:], data.vocabulary.symbols, tokenizer)
    assert data.valid.characters(len(data.valid)) == expected < len(tokenizer.join(tokens[cut:]))


def test_every_symbol_of_characters_is_one(file):
    assert Dataset.read([file("ab" * 50)], None, 0.1).valid.characters(7) == 7


@tokenizers
def test_a_word_of_the_held_out_part_alone_is_unknown(file, tokenizer):
    path = file("a b " * 45 + "a b zyx b zyx b a b a b")
    data = Dataset.read([path], None, 0.1, StoredWords(tokenizer, min_count=1))
    assert data.vocabulary.symbols == ("a", "b")
    assert data.vocabulary.decode(data.valid[:]).strip() == "a b <unk> b <unk> b a b a b"
    assert (data.document["train_unknown"], data.document["valid_unknown"]) == (0, 2)


@pytest.mark.parametrize(
    ("text", "tokenizer"), [(" it 's <unk> , \n", PRETOKENIZED), (" it 's odd , \n", WORDS)]
)
def test_a_file_to_validate_on_is_split_as_the_text_is(file, text, tokenizer):
    held = file("it's odd", "held.txt")
    data = Dataset.read([file(text * 9)], held, 0.1, StoredWords())
    assert data.vocabulary.tokenizer == tokenizer.name
    assert data.document["valid_symbols"] == len(tokenizer.split("it's odd"))


def test_text_of_a_single_frequent_word_is_refused(file):
    with pytest.raises(DataError, match=r"only one word is known: .*, 'a'; use a larger --vocab"):
        Dataset.read(
            [file("a b a c a d a e a f a a a a a a a a a a")], None, 0.1, StoredWords(WORDS)
        )
