"""The word level: its vocabulary, and texts of words on disk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charrnn.errors import DataError
from charrnn.text.store import Numbers, StoredText
from charrnn.text.tokens import PRETOKENIZED, TOKENIZERS, Tokenizer, recognise
from charrnn.text.vocabulary import UNKNOWN, Ids, Places

#: Symbols of a vocabulary, the unknown one included, where the text has more.
DEFAULT_VOCAB_SIZE = 50_000

_LONGEST = 1 << 20  # characters that a tokenizer waits for


class WordVocabulary:
    """Words, punctuation and space, as a tokenizer splits them; see ``Vocabulary``."""

    def __init__(self, symbols: Sequence[str], tokenizer: Tokenizer) -> None:
        """Raises ``DataError`` unless ``symbols`` are distinct tokens of the tokenizer."""
        distinct = len(set(symbols)) == len(symbols)
        whole = "".join(symbols).encode(errors="replace").decode() == "".join(symbols)
        if not symbols or not distinct or not whole or not tokenizer.are_tokens(symbols):
            raise DataError("vocabulary is not a set of words")
        self.symbols, self.tokenizer = tuple(symbols), tokenizer.name
        self.tokens = [tokenizer.unknown, *symbols]
        self._tokenizer = tokenizer
        self._ids = {symbol: n for n, symbol in enumerate(symbols, 1)}

    @classmethod
    def named(cls, symbols: Sequence[str], tokenizer: str) -> WordVocabulary:
        """With a tokenizer by its name; raises ``DataError``."""
        if tokenizer not in TOKENIZERS:
            raise DataError("vocabulary of an unknown kind", repr(tokenizer))
        return cls(symbols, TOKENIZERS[tokenizer])

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def start(self) -> int:
        return self._ids.get("\n", 1)

    def extended(self, symbols: Sequence[str]) -> WordVocabulary:
        return WordVocabulary(list(dict.fromkeys([*self.symbols, *symbols])), self._tokenizer)

    def encode(self, text: str) -> Ids:
        return self.encode_symbols(self._tokenizer.split(text))

    def encode_symbols(self, symbols: Sequence[str]) -> Ids:
        find = self._ids.get
        return np.array([find(s, UNKNOWN) for s in symbols], dtype=np.int32)

    def located(self, text: str, *, last: bool) -> tuple[Ids, Places, int]:
        """Raises ``DataError`` where the text has no words in it."""
        head, rest = (text, "") if last else divided(text, self._tokenizer)
        tokens, ends = self._tokenizer.located(head)
        return self.encode_symbols(tokens), np.array(ends, np.int64), len(text) - len(rest)

    def decode(self, ids: Ids, after: int | str = "") -> str:
        before = self._tokenizer.split(after) if isinstance(after, str) else [self.tokens[after]]
        return self._join([self.tokens[n] for n in ids], before)

    def prompt(self, text: str) -> tuple[Ids, str, Ids]:
        settled = self._tokenizer.settled(text)
        before, rest = self._tokenizer.split(text[:settled]), text[settled:]
        begin = [s for s in self.symbols if rest and self._join([s], before).startswith(rest)]
        return self.encode_symbols(before), rest, self.encode_symbols(begin)

    def _join(self, tokens: Sequence[str], before: Sequence[str]) -> str:
        """The text of tokens that follow others."""
        after_word = bool(before) and self._tokenizer.is_word(before[-1])
        return self._tokenizer.join(tokens, after_word=after_word)

    def unknown_symbols(self, text: str) -> list[str]:
        tokens = dict.fromkeys(self._tokenizer.split(text))
        return [t for t in tokens if t not in self._ids and t != self._tokenizer.unknown]

    def without_unknown(self, text: str, growing: bool = False) -> str:
        tokens = self._tokenizer.split(text)
        last = tokens[-1:] if growing else []
        known = [t for t in tokens[: len(tokens) - len(last)] if t in self._ids]
        return self._tokenizer.join([*known, *last])


def divided(text: str, tokenizer: Tokenizer) -> tuple[str, str]:
    """As ``Tokenizer.divide``; raises ``DataError`` where the text has no words in it."""
    head, rest = tokenizer.divide(text)
    if len(rest) > _LONGEST:  # a line as long as that is divided between words
        more, rest = tokenizer.divide(rest)
        head += more
    if len(rest) > _LONGEST:
        raise DataError(
            "text without words",
            f"{_LONGEST:,} characters without a line break or a space between words",
            "use a model of characters",
        )
    return head, rest


class StoredWords(StoredText):
    """A text whose symbols are tokens of the word level.

    The vocabulary has the tokens that occur at least ``min_count`` times, and of these the
    ``vocab_size`` - 1 most frequent, the unknown symbol being one too. Without a ``tokenizer`` the
    beginning of the text decides, and without a ``min_count`` the tokenizer.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | None = None,
        vocab_size: int | None = None,
        min_count: int | None = None,
    ) -> None:
        super().__init__()
        self.tokenizer, self.vocab_size, self.min_count = tokenizer, vocab_size, min_count
        self.symbols: list[str] = []
        self._number_of: dict[str, int] = {}
        self._rest = ""

    def like(self) -> StoredWords:
        return StoredWords(self.tokenizer, self.vocab_size, self.min_count)

    def append(self, text: str) -> None:
        """As ``StoredText``; raises ``DataError`` where the text has no words in it."""
        if self.tokenizer is None:
            self.tokenizer = recognise(text)
            if self.tokenizer is PRETOKENIZED:
                self.notes = (
                    "split at spaces, as <unk> shows; --no-pretokenized if that is wrong",
                )
        text, self._rest = divided(self._rest + text, self.tokenizer)
        self._add(text)

    def end(self) -> None:
        self._add(self._rest)
        self._rest = ""

    def _add(self, text: str) -> None:
        assert self.tokenizer is not None or not text
        tokens = self.tokenizer.split(text) if self.tokenizer else []
        for new in dict.fromkeys(t for t in tokens if t not in self._number_of):
            self._number_of[new] = len(self.symbols)
            self.symbols.append(new)
        self.make_room()
        numbers = map(self._number_of.__getitem__, tokens)
        self.numbers.append(np.fromiter(numbers, self.numbers.dtype, len(tokens)))

    def widths(self) -> Numbers:
        assert self.tokenizer is not None
        return np.array([len(self.tokenizer.written(s)) for s in self.symbols], np.int64)

    def words(self) -> Numbers:
        assert self.tokenizer is not None
        return np.array([self.tokenizer.is_word(s) for s in self.symbols], bool)

    def vocabulary(self, length: int) -> WordVocabulary:
        """The most frequent symbols, in that order; raises ``DataError`` where there is none."""
        assert self.tokenizer is not None
        counts = np.zeros(len(self.symbols), np.int64)
        for part in self.numbers.parts(range(length)):
            counts += np.bincount(part, minlength=len(counts))
        if self.tokenizer.unknown in self._number_of:
            counts[self._number_of[self.tokenizer.unknown]] = 0
        least = self.tokenizer.min_count if self.min_count is None else self.min_count
        most = (self.vocab_size or DEFAULT_VOCAB_SIZE) - 1
        order = np.argsort(-counts, kind="stable")[:most]
        kept = [self.symbols[n] for n in order if counts[n] >= max(1, least)]
        if not kept:
            raise DataError("no word occurs often enough", self.name, "use a smaller --min-count")
        return WordVocabulary(kept, self.tokenizer)
