"""From text to words and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text.tokens import PRETOKENIZED, TOKENIZERS, WORDS, recognise

#: Words of the kinds that rules about words get wrong.
ODD_WORDS = [
    "a",
    "don't",
    "rock\u2019n\u2019roll",
    "1,000.50",
    "x2",
    "_",
    "\u0301",
    "e\u0301t\u0301",
]
ODD_WORDS += ["ı\u0307", "你好", "नमस्ते", "दुनिया", "\u0660\u0661", "\U0001d504", "ª"]
OTHER = [
    *"'\u2019.,;-!?()[]\"#@<>",
    "...",
    "..",
    "--",
    "---",
    "…",
    "—",
    "。",
    "\u200b",
    "😀",
    "㎏",
    "½",
    "<unk>",
]
SPACE = [
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    "\x0b",
    "\x1c",
    "\x85",
    "\xa0",
    "\u2028",
]

texts = st.lists(st.sampled_from(ODD_WORDS + OTHER + SPACE + [" "] * 20)).map("".join) | st.text()
tokenizers = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)


@given(texts)
def test_words_joined_again_are_the_text(text):
    assert WORDS.join(WORDS.split(text)) == text


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("one", ["one"]),
        ("one two", ["one", "two"]),
        (" one ", [" ", "one", " "]),
        ("one  two", ["one", "  ", "two"]),
        ("one\ttwo \t three", ["one", "\t", "two", " \t ", "three"]),
        ("one\xa0two", ["one", "\xa0", "two"]),
        ("one\ntwo\n\n three", ["one", "\n", "two", "\n", "\n", " ", "three"]),
        ("one \n two", ["one", " ", "\n", " ", "two"]),
        ("one.\r\ntwo", ["one", ".", "\r", "\n", "two"]),
        ("One, two. Three!", ["One", ", ", "two", ". ", "Three", "!"]),
        ("one (two) three", ["one", " (", "two", ") ", "three"]),
        ('"One," said two.', ['"', "One", ",", '" ', "said", "two", "."]),
        ("one ?! two", ["one", " ?", "! ", "two"]),
        ("one,  two", ["one", ", ", " ", "two"]),
        ("one - two -- three", ["one", " - ", "two", " -- ", "three"]),
        ("well-known--yes---no", ["well", "-", "known", "--", "yes", "--", "-", "no"]),
        ("so... what ...ever....", ["so", "... ", "what", " ...", "ever", "...", "."]),
        ("don't don\u2019t", ["don't", "don\u2019t"]),
        ("the cats' 'tis", ["the", "cats", "' ", "'", "tis"]),
        ("'quoted' o''clock", ["'", "quoted", "' ", "o", "'", "'", "clock"]),
        ("1,000.50, 2. and .5", ["1,000.50", ", ", "2", ". ", "and", " .", "5"]),
        ("1,,2 3.x x.3", ["1", ",", ",", "2", "3", ".", "x", "x", ".", "3"]),
        ("snake_case @x #y 50%", ["snake_case", " @", "x", " #", "y", "50", "%"]),
        ("e\u0301te\u0301 \u0301a", ["e\u0301te\u0301", "\u0301a"]),
        ("नमस्ते दुनिया।", ["नमस्ते", "दुनिया", "।"]),
        ("你好，世界。", ["你好", "，", "世界", "。"]),
        ("a\u200bb 😀😀", ["a", "\u200b", "b", " 😀", "😀"]),
        ("the <unk> one", ["the", " <", "unk", "> ", "one"]),
    ],
)
def test_words(text, tokens):
    assert WORDS.split(text) == tokens


@given(st.lists(st.sampled_from(ODD_WORDS)))
def test_a_single_space_between_two_words_is_no_token(words):
    assert WORDS.split(" ".join(words)) == words


@tokenizers
@given(texts)
def test_tokens_are_tokens(tokenizer, text):
    assert tokenizer.are_tokens(tokenizer.split(text))


@pytest.mark.parametrize("symbol", ["", "a b", " a", "a ", "a,", "1.", ".1", ",,", "  .", "\n\n"])
def test_what_words_are_not(symbol):
    assert not WORDS.are_tokens(["a", symbol])


@pytest.mark.parametrize("symbol", ["", " ", "a b", " a", "a ", "a\n", "\n\n", "\t", "\xa0"])
def test_what_tokens_between_spaces_are_not(symbol):
    assert not PRETOKENIZED.are_tokens(["a", symbol])


@tokenizers
@given(texts)
def test_the_parts_of_a_text_have_its_tokens(tokenizer, text):
    ready, rest = tokenizer.divide(text)
    assert tokenizer.split(ready) + tokenizer.split(rest) == tokenizer.split(text)


@tokenizers
@given(texts, texts)
def test_what_can_be_split_now_stays_as_it_is(tokenizer, text, more):
    """Where it stops being the end of the text."""
    tokens = tokenizer.split(tokenizer.divide(text)[0])
    assert tokenizer.split(text + more)[: len(tokens)] == tokens


@pytest.mark.parametrize(
    ("tokenizer", "text", "parts"),
    [
        (WORDS, "one two three", ("one two", "three")),
        (WORDS, "one two, ", ("one", "two, ")),
        (WORDS, "one\ntwo\nthree four", ("one\ntwo\n", "three four")),
        (WORDS, "one.\n two", ("one.\n", " two")),
        (WORDS, "one, two", ("", "one, two")),
        (WORDS, "one  two", ("", "one  two")),
        (WORDS, '{"one":"two', ('{"one":"', "two")),
        (WORDS, "一。二", ("一。", "二")),
        (WORDS, "one.two’s 1,000", ("one.two’s", "1,000")),
        (PRETOKENIZED, " one two", (" one ", "two")),
        (PRETOKENIZED, " one \n ", (" one \n ", "")),
        (PRETOKENIZED, "one", ("", "one")),
    ],
)
def test_a_text_is_divided_at_line_breaks_or_where_a_word_begins(tokenizer, text, parts):
    assert tokenizer.divide(text) == parts


@given(texts)
def test_all_words_but_the_last_are_settled(text):
    settled, tokens = WORDS.settled(text), WORDS.split(text)
    assert WORDS.split(text[:settled]) == tokens[:-1]
    assert text[settled:] in ("".join(tokens[-1:]), " " + "".join(tokens[-1:]))


@given(texts)
def test_all_tokens_between_spaces_are_settled(text):
    assert PRETOKENIZED.settled(text) == len(text)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["the", "<unk>", "sat", ", ", "<unk>", "."], "the <unk> sat, <unk>."),
        (['"', "<unk>", "<unk>", "\n"], '"<unk> <unk>\n'),
    ],
)
def test_an_unknown_token_stands_like_a_word(tokens, text):
    assert WORDS.join(tokens) == text


@pytest.mark.parametrize(("token", "text"), [("a", " a"), (",", ","), ("\n", "\n"), (" ", " ")])
def test_only_a_word_has_an_implied_space_after_a_word(token, text):
    assert WORDS.join([token], after_word=True) == text
    assert WORDS.join([token]) == token


between_spaces = st.sampled_from(
    ["a", "<unk>", "N", "@-@", ".", "don", "'t", "नमस्ते", "=", "\u0301"]
)


@given(st.lists(st.lists(between_spaces)))
def test_benchmark_text_comes_back_exactly(lines):
    text = "".join(f" {' '.join([*line, ''])}\n" if line else " \n" for line in lines)
    assert PRETOKENIZED.split(text) == [t for line in lines for t in [*line, "\n"]]
    assert PRETOKENIZED.join(PRETOKENIZED.split(text)) == text


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (" a b <unk> \n", ["a", "b", "<unk>", "\n"]),
        (" \n = A = \n \n", ["\n", "=", "A", "=", "\n", "\n"]),
        ("a  b\tc\r\nd\xa0e", ["a", "b", "c", "\n", "d", "e"]),
        ("don't stop, 1,000", ["don't", "stop,", "1,000"]),
        ("", []),
        (" ", []),
    ],
)
def test_tokens_between_spaces(text, tokens):
    assert PRETOKENIZED.split(text) == tokens


@pytest.mark.parametrize(
    ("text", "tokenizer"),
    [
        (" the <unk> sat \n", PRETOKENIZED),
        ("<unk> sat", PRETOKENIZED),
        ("the\n<unk>\nsat", PRETOKENIZED),
        ("the sat \n", WORDS),
        ("the <unk>", PRETOKENIZED),
        ("this is written <unk> here, " + "once only " * 200, WORDS),
        ("(<unk>) is HTML", WORDS),
        ("the <UNK> sat", WORDS),
        ("", WORDS),
    ],
)
def test_a_mark_for_rare_words_shows_benchmark_text(text, tokenizer):
    assert recognise(text) is tokenizer
