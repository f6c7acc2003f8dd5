"""Vocabularies of words, and texts of words on disk."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import DataError
from charrnn.text import UNKNOWN
from charrnn.text.tokens import PRETOKENIZED, TOKENIZERS, WORDS
from charrnn.text.words import StoredWords, WordVocabulary
from tests.support.texts import known_characters

KNOWN = WordVocabulary(["the", "cat", "\n", ", ", ".", ' "', "cattle"], WORDS)
MARKED = WordVocabulary(["the", "cat", "\n", ","], PRETOKENIZED)

PIECES = ["the", "cat", "don't", "é", "你好", " ", " ", " ", "  ", "\n", ", ", ".", " (", "<unk>"]
texts = st.lists(st.sampled_from(PIECES), min_size=1).map("".join)
tokenizers = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)


@pytest.fixture(scope="module", params=[2, 1 << 20])
def part(request):
    """How many numbers are read at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charrnn.text.store._PART", request.param)
        yield


in_parts = pytest.mark.usefixtures("part")


def stored(*pieces, tokenizer=WORDS, **options):
    text = StoredWords(tokenizer, **options)
    for piece in pieces:
        text.append(piece)
    text.end()
    return text


def tokens_of(text):
    """All symbols of a stored text, in order."""
    numbers = text.numbers.read(range(len(text)))
    return [text.symbols[n] for n in numbers]


@given(texts | st.text(min_size=1))
def test_decode_undoes_encode(text):
    vocabulary = WordVocabulary(list(dict.fromkeys(WORDS.split(text))), WORDS)
    assert vocabulary.decode(vocabulary.encode(text)) == text


@given(st.lists(st.integers(0, len(KNOWN) - 1)), st.data())
def test_ids_are_decoded_alike_in_parts(ids, data):
    cut = data.draw(st.integers(0, len(ids)))
    after = ids[cut - 1] if cut else ""
    parts = KNOWN.decode(ids[:cut]) + KNOWN.decode(ids[cut:], after)
    assert parts == KNOWN.decode(ids)


@pytest.mark.parametrize(
    ("after", "text"),
    [
        ("", "cat"),
        ("the", " cat"),
        ("one zyx", " cat"),
        ("the ", "cat"),
        ("the ☃", "cat"),
        ("the ☃ ", "cat"),
        ("the,", "cat"),
        ("the\n", "cat"),
        ("<unk>", "cat"),
        (UNKNOWN, " cat"),
        (1, " cat"),
        (3, "cat"),
        (4, "cat"),
    ],
)
def test_a_word_has_its_space_by_what_stands_before(after, text):
    assert KNOWN.decode(KNOWN.encode("cat"), after) == text


@pytest.mark.parametrize("after", ["", "the", "the ", 1, 3, UNKNOWN])
def test_a_token_between_spaces_has_its_own(after):
    assert MARKED.decode(MARKED.encode("cat \n <unk>"), after) == " cat \n <unk>"


@pytest.mark.parametrize(
    ("vocabulary", "text", "expected"),
    [
        (KNOWN, "", []),
        (KNOWN, "the cat, cattle.\n", [1, 2, 4, 7, 5, 3]),
        (KNOWN, "the dog, the cats. ", [1, UNKNOWN, 4, 1, UNKNOWN, UNKNOWN]),
        (KNOWN, "The <unk>", [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]),
        (KNOWN, "cat\udc80", [2, UNKNOWN]),
        (MARKED, " the <unk> , cats \n", [1, UNKNOWN, 4, UNKNOWN, 3]),
    ],
)
def test_encode(vocabulary, text, expected):
    ids = vocabulary.encode(text)
    assert (ids.tolist(), ids.dtype) == (expected, np.int32)


def test_tokens_are_named_by_id():
    assert [KNOWN.tokens[n] for n in KNOWN.encode("the dog\n")] == ["the", "<unk>", "\n"]


def test_length_counts_the_unknown_symbol():
    assert len(KNOWN) == len(KNOWN.symbols) + 1 == 8


@pytest.mark.parametrize(("symbols", "start"), [(["a", "\n"], 2), (["b", "a"], 1)], ids=str)
@tokenizers
def test_texts_start_after_a_line_break_if_there_is_one(tokenizer, symbols, start):
    assert WordVocabulary(symbols, tokenizer).start == start


@pytest.mark.parametrize(
    ("vocabulary", "text", "ids", "rest"),
    [
        (KNOWN, "", [], ""),
        (KNOWN, "ca", [], "ca"),
        (KNOWN, "the ca", [1], " ca"),
        (KNOWN, "the zyx ca", [1, UNKNOWN], " ca"),
        (KNOWN, "the ", [1], " "),
        (KNOWN, "the,", [1], ","),
        (KNOWN, "the, ", [1], ", "),
        (KNOWN, "the, ca", [1, 4], "ca"),
        (KNOWN, "the\n", [1], "\n"),
        (MARKED, " the ca", [1, UNKNOWN], ""),
        (MARKED, " the cat ", [1, 2], ""),
    ],
)
def test_what_a_prompt_ends_in_is_left_open(vocabulary, text, ids, rest):
    found, left, begin = vocabulary.prompt(text)
    assert (found.tolist(), left) == (ids, rest)
    texts = {s: vocabulary.decode(vocabulary.encode_symbols([s]), text[: len(text) - len(rest)])
             for s in vocabulary.symbols}  # fmt: skip
    fit = [s for s, written in texts.items() if rest and written.startswith(rest)]
    assert [vocabulary.tokens[n] for n in begin] == fit


@pytest.mark.parametrize(
    ("vocabulary", "text", "unknown"),
    [
        (KNOWN, "the cat", []),
        (KNOWN, "the dog saw the dog; cat", ["dog", "saw", "; "]),
        (KNOWN, "<unk>", ["<", "unk", ">"]),
        (MARKED, " the <unk> saw \n", ["saw"]),
    ],
)
def test_unknown_symbols_are_named_once_in_order(vocabulary, text, unknown):
    assert vocabulary.unknown_symbols(text) == unknown


@pytest.mark.parametrize(
    ("vocabulary", "text", "growing", "left"),
    [
        (KNOWN, "the zyx cat", False, "the cat"),
        (KNOWN, "the cat, zyx.", False, "the cat, ."),
        (KNOWN, "zyx the ca", False, "the"),
        (KNOWN, "zyx the ca", True, "the ca"),
        (KNOWN, "the, zyx ca", True, "the, ca"),
        (KNOWN, "zyx ca", True, "ca"),
        (KNOWN, "", True, ""),
        (MARKED, " the <unk> cat zyx", False, " the cat"),
    ],
)
def test_a_text_without_its_unknown_words(vocabulary, text, growing, left):
    assert vocabulary.without_unknown(text, growing) == left


@pytest.mark.parametrize(
    "symbols",
    [[], ["a", "b", "a"], [""], ["a", ""], ["a b"], ["a", " b"], ["a\n"], ["a", "\ud800"]],
    ids=ascii,
)
@tokenizers
def test_what_is_no_set_of_words_is_refused(tokenizer, symbols):
    with pytest.raises(DataError, match="not a set of words") as caught:
        WordVocabulary(symbols, tokenizer)
    assert caught.value.exit_code == 65


@tokenizers
def test_a_vocabulary_knows_its_tokenizer_by_name(tokenizer):
    made = WordVocabulary(["a", "b"], tokenizer)
    again = WordVocabulary.named(made.symbols, made.tokenizer)
    assert (again.symbols, again.tokenizer) == (("a", "b"), tokenizer.name)


@pytest.mark.parametrize("name", ["char", "", "WORDS"])
def test_a_vocabulary_of_an_unknown_kind_is_refused(name):
    with pytest.raises(DataError, match=f"unknown kind: '{name}'"):
        WordVocabulary.named(["a"], name)


@tokenizers
@given(texts, st.data())
def test_a_text_is_the_same_in_whatever_pieces_it_comes(tokenizer, text, data):
    cuts = data.draw(st.lists(st.integers(0, len(text))).map(sorted))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert tokens_of(stored(*pieces, tokenizer=tokenizer)) == tokenizer.split(text)


@tokenizers
def test_a_word_does_not_go_on_in_the_next_file(tokenizer):
    text = StoredWords(tokenizer)
    for piece in ("one two", "three"):
        text.append(piece)
        text.end()
    assert tokens_of(text) == ["one", "two", "three"]


@in_parts
@tokenizers
@given(texts, st.data())
def test_characters_are_those_of_the_decoded_text(tokenizer, text, data):
    kept = stored(text, tokenizer=tokenizer, min_count=1)
    tokens = tokens_of(kept)
    start = data.draw(st.integers(0, len(tokens)))
    stop = data.draw(st.integers(start, len(tokens)))
    known = [t for t in dict.fromkeys(tokens) if t != tokenizer.unknown]
    encoded = kept.encoded(WordVocabulary(known or ["a"], tokenizer), start, stop)
    expected = known_characters(tokens[start:stop], known, tokenizer)
    assert encoded.characters(stop - start) == expected
    if tokenizer.unknown not in tokens[start:stop]:
        assert expected == len(tokenizer.join(tokens[start:stop]))


def test_no_character_of_an_unknown_word_counts():
    kept = stored("the zyx, sat the cat", tokenizer=WORDS)
    vocabulary = WordVocabulary(["the", ", ", "sat"], WORDS)
    assert kept.encoded(vocabulary, 0, 6).characters(6) == len("the, sat the")
    assert kept.encoded(vocabulary, 0, 6).characters(2) == len("the")


@pytest.mark.parametrize("count", [254, 255, 256, 257, 65535, 65536, 65537])
def test_numbers_get_wider_when_words_get_too_many(count, monkeypatch):
    monkeypatch.setattr("charrnn.text.store._PART", 4096)
    words = [f"w{n}" for n in range(count)]
    text = stored(" ".join(words[:200]) + "\n", " ".join(words) + "\n", words[-1])
    assert tokens_of(text) == [*words[:200], "\n", *words, "\n", words[-1]]


@in_parts
@pytest.mark.parametrize(
    ("tokenizer", "options", "symbols"),
    [
        (WORDS, {"min_count": 1}, ["b", "a", "c", "d", "e"]),
        (WORDS, {"min_count": 2}, ["b", "a", "c"]),
        (WORDS, {"min_count": 3}, ["b", "a"]),
        (WORDS, {"min_count": 4}, ["b"]),
        (WORDS, {}, ["b", "a", "c"]),
        (WORDS, {"vocab_size": 3}, ["b", "a"]),
        (WORDS, {"vocab_size": 99}, ["b", "a", "c"]),
        (WORDS, {"min_count": 1, "vocab_size": 5}, ["b", "a", "c", "d"]),
        (PRETOKENIZED, {}, ["b", "a", "c", "d", "e"]),
        (PRETOKENIZED, {"min_count": 3, "vocab_size": 2}, ["b"]),
    ],
)
def test_the_vocabulary_has_the_most_frequent_words_first(tokenizer, options, symbols):
    """Those that are as frequent in the order that they come in."""
    text = stored("a b c b d a b c a e b", tokenizer=tokenizer, **options)
    assert text.vocabulary(len(text)).symbols == tuple(symbols)


@in_parts
def test_the_vocabulary_is_that_of_the_beginning():
    text = stored("a b b c c c", min_count=1)
    assert text.vocabulary(4).symbols == ("b", "a", "c")
    assert text.vocabulary(3).symbols == ("b", "a")


@pytest.mark.parametrize("vocab_size", [3, None])
def test_marks_for_rare_words_take_no_place_in_the_vocabulary(vocab_size, monkeypatch):
    monkeypatch.setattr("charrnn.text.words.DEFAULT_VOCAB_SIZE", 3)
    text = stored("<unk> a <unk> b <unk> b c", tokenizer=PRETOKENIZED, vocab_size=vocab_size)
    vocabulary = text.vocabulary(len(text))
    assert vocabulary.symbols == ("b", "a")
    assert text.encoded(vocabulary, 1, 7)[:].tolist() == [2, 0, 1, 0, 1, 0]


@tokenizers
def test_text_without_a_frequent_word_is_refused(tokenizer):
    text = stored("a b a b c", tokenizer=tokenizer, min_count=3)
    with pytest.raises(DataError, match="no word occurs often enough; use a smaller --min-count"):
        text.vocabulary(len(text))


@in_parts
@tokenizers
@given(texts)
def test_ids_are_those_that_the_vocabulary_gives(tokenizer, text):
    kept = stored("a", text, tokenizer=tokenizer, vocab_size=4, min_count=1)
    vocabulary = kept.vocabulary(len(kept))
    ids = kept.encoded(vocabulary, 0, len(kept))
    np.testing.assert_array_equal(ids[:], vocabulary.encode("a" + text))
    assert ids.unknown() == (ids[:] == UNKNOWN).sum()


@pytest.mark.parametrize(
    ("text", "tokenizer"), [("the <unk> sat", PRETOKENIZED), ("the cat sat", WORDS)]
)
def test_the_beginning_of_a_text_decides_how_it_is_split(text, tokenizer):
    kept = stored(text, " on <unk> mats", tokenizer=None, min_count=1)
    assert kept.tokenizer is tokenizer
    assert kept.vocabulary(3).tokenizer == tokenizer.name


def test_another_text_is_split_alike_whatever_it_begins_with():
    other = stored("the <unk> sat", tokenizer=None, vocab_size=9, min_count=1).like()
    other.append("it's")
    other.end()
    assert (other.vocab_size, other.min_count, tokens_of(other)) == (9, 1, ["it's"])


@tokenizers
@pytest.mark.parametrize("pieces", [["x" * 21], ["x" * 20, "x"], ["one two\n", "x" * 21]], ids=str)
def test_text_without_space_for_too_long_is_refused(tokenizer, pieces, monkeypatch):
    monkeypatch.setattr("charrnn.text.words._LONGEST", 20)
    with pytest.raises(
        DataError,
        match="20 characters without a line break or a space between words; use a model of char",
    ):
        stored(*pieces, tokenizer=tokenizer)


@tokenizers
@pytest.mark.parametrize("text", ["x" * 20, "one two " * 20 + "x" * 20, "x" * 40 + "\n"], ids=str)
def test_a_long_text_with_some_space_is_not(tokenizer, text, monkeypatch):
    monkeypatch.setattr("charrnn.text.words._LONGEST", 20)
    assert tokens_of(stored(text, tokenizer=tokenizer)) == tokenizer.split(text)
