"""What is asked of a completion: where a text is to go on, its blanks, its case and form."""

from __future__ import annotations

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.completion.request import (
    Blank,
    Request,
    blanks,
    fold,
    in_case_of,
    is_word_character,
    recent,
    settle_form,
)
from charrnn.errors import UsageError
from charrnn.text import CharVocabulary
from charrnn.text.tokens import WORDS
from charrnn.text.words import WordVocabulary
from tests.support.tiny import completer

typing = st.text(alphabet="abA1é\u0301'’_.,( \n", max_size=12)


@pytest.mark.parametrize(
    "text, tail",
    [
        ("have a pleasant", "pleasant"),
        ("have a pleasant ", ""),
        ("", ""),
        ("a\n", ""),
        ("a\nb", "b"),
        ("a\r", ""),
        ("I don't", "don't"),
        ("I don’t", "don’t"),
        ("I don'", "don'"),
        ("'Tis", "Tis"),
        ("said '", ""),
        ("x''y", "x''y"),
        ("well-kno", "kno"),
        ("a,b", "b"),
        ("(wo", "wo"),
        ("snake_ca", "ca"),
        ("caf\u00e9", "caf\u00e9"),
        ("cafe\u0301", "cafe\u0301"),
        ("4th", "4th"),
        ("of 1,000.5", "1,000.5"),
        ("of 1,000.", ""),
        ("1,a", "a"),
        ("a,1", "1"),
        ("a1.2", "a1.2"),
        ("при", "при"),
        ("a☺", ""),
    ],
)
def test_the_tail_is_the_last_word_without_a_space_behind_it(text, tail):
    request = Request.of(text, "auto")
    assert (request.head, request.tail) == (text.removesuffix(tail), tail)


@pytest.mark.parametrize(
    "text, mode, whole, partial, named",
    [
        ("go", "auto", True, True, "auto"),
        ("go", "next", True, False, "next"),
        ("go", "prefix", False, True, "prefix"),
        ("go,", "auto", True, True, "auto"),
        ("go,", "next", True, False, "next"),
        ("go,", "prefix", False, True, "next"),
        *((text, mode, False, True, "next") for text in ("", "go ", "go\n", "go\t", "go\xa0")
          for mode in ("auto", "next", "prefix")),
    ],
)  # fmt: skip
def test_how_a_text_may_go_on(text, mode, whole, partial, named):
    request = Request.of(text, mode)
    assert (request.whole, request.partial, request.mode) == (whole, partial, named)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"mode": "word"}, "mode word; choose from auto, next, prefix"),
        ({"n": 0}, "-n 0; must be from 1 to 1000"),
        ({"min_p": 2.0}, "--min-p 2.0; must be from 0 to 1"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused_by_their_names(options, message):
    with pytest.raises(UsageError, match=message):
        completer("ab \n").complete("a", **options)


@given(typing)
def test_head_and_tail_are_the_text(text):
    request = Request.of(text, "auto")
    assert request.head + request.tail == text
    assert not request.tail or is_word_character(request.tail[0])
    assert not is_word_character(request.head[-1:] or " ")


@pytest.mark.parametrize(
    "text, found",
    [
        ("I ____ you", [("I ", "", " you")]),
        ("____ you", [("", "", " you")]),
        ("I ____", [("I ", "", "")]),
        ("____", [("", "", "")]),
        ("I ____.", [("I ", "", ".")]),
        ("I ___ you", [("I ", "", " you")]),
        ("I __________ you", [("I ", "", " you")]),
        ("I l____ you", [("I ", "l", " you")]),
        ("I don'____ you", [("I ", "don'", " you")]),
        ("'____'", [("'", "", "'")]),
        ("I ____ and ____ you", [("I ", "", " and "), (" and ", "", " you")]),
        ("a____ b____c", [("", "a", " "), (" ", "b", "c")]),
        ("____ ____", [("", "", " "), (" ", "", "")]),
        ("at 10.3____ you", [("at ", "10.3", " you")]),
        ("I __ you", []),
        ("_private_", []),
        ("", []),
    ],
)
def test_blanks_are_three_underscores_or_more(text, found):
    assert blanks(text) == [Blank(*parts) for parts in found]


@given(st.lists(typing.map(lambda text: text.replace("_", "")).filter(bool), min_size=1))
def test_blanks_and_what_is_between_them_are_the_text(parts):
    found = blanks("____".join(parts))
    assert [gap.left + gap.prefix for gap in found] == parts[:-1]
    assert [gap.right for gap in found[:-1]] == [gap.left for gap in found[1:]]
    assert not found or found[-1].right == parts[-1]


@given(st.text(max_size=8))
def test_fold_keeps_the_length_and_folding_again_changes_nothing(text):
    assert len(fold(text)) == len(text)
    assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("Don’t", "don't", True),
        ("ÉTÉ", "été", True),
        ("STRASSE", "straße", False),
        ("İ", "i", False),
        ("a", "b", False),
    ],
)
def test_fold(one, other, same):
    assert (fold(one) == fold(other)) == same


@pytest.mark.parametrize(
    "character, is_one",
    [("a", True), ("7", True), ("é", True), ("\u0301", True), ("न", True),
     ("_", False), ("'", False), (" ", False), (".", False), ("\n", False), ("☺", False)],
)  # fmt: skip
def test_what_words_are_made_of(character, is_one):
    assert is_word_character(character) == is_one


@pytest.mark.parametrize(
    "prefix, rest",
    [("HA", "VE"), ("H", "ve"), ("Ha", "ve"), ("ha", "ve"), ("", "ve"), ("I'", "ve"),
     ("I’", "ve"), ("I'V", "VE"), ("DON'", "VE"), ("B2", "ve"), ("42", "ve"), ("ÉT", "VE")],
)  # fmt: skip
def test_the_rest_of_a_word_is_in_capitals_if_it_has_two_and_nothing_else(prefix, rest):
    assert in_case_of("ve", prefix) == rest


@given(st.integers(0, 100), st.integers(1, 10).map(lambda n: 2 * n))
def test_what_is_recent_begins_at_the_same_place_for_a_while(length, most):
    """It is the end, neither too long nor too short, and begins elsewhere now and then."""
    parts = [recent(list(range(n)), most) for n in range(1, length + 1)]
    for n, part in enumerate(parts, 1):
        assert part == list(range(n - len(part), n))
        assert min(n, most // 2) <= len(part) <= most
    moves = sum(a[0] != b[0] for a, b in itertools.pairwise(parts))
    assert moves <= max(0, length - most) / (most // 2) + 1


NFC, NFD = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))


@pytest.mark.parametrize("known", [NFC, NFD], ids=["composed", "decomposed"])
@pytest.mark.parametrize("typed", [NFC, NFD], ids=["from-composed", "from-decomposed"])
@pytest.mark.parametrize("level", ["characters", "words", "beginning-of-a-word"])
def test_accents_are_as_the_model_knows_them(known, typed, level):
    vocabulary = {
        "characters": CharVocabulary.of(known + " "),
        "words": WordVocabulary([known, "a"], WORDS),
        "beginning-of-a-word": WordVocabulary([known + "s", "a"], WORDS),
    }[level]
    characters = set("".join(vocabulary.symbols).lower())
    assert settle_form(f"a {typed}", vocabulary, characters) == f"a {known}"


@pytest.mark.parametrize("known", "'’")
@pytest.mark.parametrize("typed", "'’")
@pytest.mark.parametrize("text", ["I don{}t go", "I don{}", "I don{}t"])
def test_apostrophes_are_as_the_model_knows_them(known, typed, text):
    vocabulary = WordVocabulary(["I", f"don{known}t", "go"], WORDS)
    characters = set("".join(vocabulary.symbols).lower())
    assert settle_form(text.format(typed), vocabulary, characters) == text.format(known)


@pytest.mark.parametrize("text", ["I don't", "I don’t", NFC, NFD, "plain", ""])
def test_a_text_stays_as_it_is_where_its_form_makes_no_difference(text):
    vocabulary = CharVocabulary.of(f"I don't don’t plain {NFC}{NFD}")
    assert settle_form(text, vocabulary, set("".join(vocabulary.symbols).lower())) == text
