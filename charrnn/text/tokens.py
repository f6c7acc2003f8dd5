"""Tokenizers of the word level: from text to words, punctuation and space, and back.

``WORDS`` is lossless: joined again, the tokens of any text are that text. A single space between
two words is implied and no token of its own; all other space is part of the punctuation beside it,
or a token itself. So a sentence has about as many tokens as one would count, and still every quote
and bracket knows on which side its space is.

``PRETOKENIZED`` reads what research on language models is measured on (WikiText-2, the Penn
Treebank): tokens between spaces, ``<unk>`` for rare words, each line break one end-of-sentence.
"""

from __future__ import annotations

from collections.abc import Sequence

import regex

#: What words are made of: letters, digits, the underscore, and the marks that combine with them.
WORD_CHARACTER = r"[\w\p{M}]"

#: Apostrophes, as they are typed and as they are set.
APOSTROPHES = "'\u2019"

#: A word: "don't" and "1,000.50" are one, "well-known" is two.
WORD = (
    rf"{WORD_CHARACTER}"
    rf"(?:{WORD_CHARACTER}|[{APOSTROPHES}](?={WORD_CHARACTER})|(?<=\d)[.,](?=\d))*+"
)


class Tokenizer:
    """Splits text into tokens; see ``WORDS`` and ``PRETOKENIZED``."""

    name: str
    unknown = "<unk>"
    min_count: int
    """How often a token occurs at least that gets into a vocabulary by default."""
    _token: regex.Pattern[str]

    def split(self, text: str) -> list[str]:
        """The tokens of ``text``, in order."""
        found: list[str] = self._token.findall(text)
        return found

    def located(self, text: str) -> tuple[list[str], list[int]]:
        """As ``split``, and where each token ends."""
        found = list(self._token.finditer(text))
        return [match.group() for match in found], [match.end() for match in found]

    def divide(self, text: str) -> tuple[str, str]:
        """What of ``text``, of which there may be more, can be split now, and the rest.

        A space that is implied between the two is in neither.
        """
        raise NotImplementedError

    def settled(self, text: str) -> int:
        """How much of ``text`` is split already, whatever it goes on with.

        What then becomes one with the token before is not foreseen: "1," is read as the end of a
        number, not as the beginning of "1,000".
        """
        raise NotImplementedError

    def are_tokens(self, symbols: Sequence[str]) -> bool:
        """Whether each of ``symbols`` is one token."""
        lines = "".join(symbol + "\n" for symbol in symbols)  # no token goes across line breaks
        return self.split(lines) == [token for symbol in symbols for token in (symbol, "\n")]

    def is_word(self, token: str) -> bool:
        """Whether a single space between this token and another such one is implied."""
        raise NotImplementedError

    def written(self, token: str) -> str:
        """A token as it stands in a text, but for the implied space."""
        raise NotImplementedError

    def join(self, tokens: Sequence[str], *, after_word: bool = False) -> str:
        """The text of tokens; ``after_word``: which follow a word."""
        parts, spaced = [], after_word
        for token in tokens:
            word = self.is_word(token)
            parts.append((" " if word and spaced else "") + self.written(token))
            spaced = word
        return "".join(parts)


class _Words(Tokenizer):
    name = "words"
    min_count = 2  # the rest teach what an unknown word is like
    _token = regex.compile(
        rf"{WORD}"
        r"|\n"
        rf"| ?(?:\.\.\.|--|[^\s\w\p{{M}}]) ?"
        rf"|(?!(?<={WORD_CHARACTER}) (?={WORD_CHARACTER}))[^\S\n]++"
    )
    _word = regex.compile(WORD_CHARACTER)
    _open = regex.compile(rf"(?r)(?<={WORD_CHARACTER})[{APOSTROPHES}]\Z")
    _between_words = regex.compile(
        rf"(?r)(?<={WORD_CHARACTER}) (?={WORD_CHARACTER})"
        rf"|(?<=[^\s\w\p{{M}}{APOSTROPHES}.,])(?={WORD_CHARACTER})"
    )

    def divide(self, text: str) -> tuple[str, str]:
        """Behind the last line break, or else where the last word begins for sure.

        That is behind a single space and a word, or behind punctuation that is in no word.
        """
        newline = text.rfind("\n") + 1
        space = None if newline else self._between_words.search(text)
        if space:
            return text[: space.start()], text[space.end() :]
        return text[:newline], text[newline:]

    def settled(self, text: str) -> int:
        """All but the last token and the space that is implied before it.

        An apostrophe behind a word may be one within it.
        """
        growing = 2 if self._open.search(text) else 1
        return len(self.join(self.split(text)[:-growing]))

    def is_word(self, token: str) -> bool:
        return token == self.unknown or self._word.match(token) is not None

    def written(self, token: str) -> str:
        return token


class _Pretokenized(Tokenizer):
    name = "pretokenized"
    min_count = 1  # rare tokens are <unk> already
    _token = regex.compile(r"\n|\S+")
    _space = regex.compile(r"(?r)\s")

    def divide(self, text: str) -> tuple[str, str]:
        space = self._space.search(text)
        cut = space.end() if space else 0
        return text[:cut], text[cut:]

    def settled(self, text: str) -> int:
        return len(text)  # such a text is complete

    def is_word(self, token: str) -> bool:
        return False  # no space is implied: each token has its own

    def written(self, token: str) -> str:
        return " " + token


WORDS: Tokenizer = _Words()
PRETOKENIZED: Tokenizer = _Pretokenized()
TOKENIZERS = {t.name: t for t in (WORDS, PRETOKENIZED)}

_SHARE = 0.005  # of benchmark text that is <unk>, at least: a text may well speak of it


def recognise(text: str) -> Tokenizer:
    """The tokenizer for a text that begins so: ``<unk>`` again and again shows benchmark text."""
    tokens = PRETOKENIZED.split(text)
    return PRETOKENIZED if tokens.count(PRETOKENIZED.unknown) > _SHARE * len(tokens) else WORDS
