"""Stored texts from strings, and back."""

from __future__ import annotations

import itertools
from collections.abc import Collection

from charrnn.text import CharVocabulary
from charrnn.text.store import StoredCharacters
from charrnn.text.tokens import Tokenizer


def stored(*pieces: str) -> StoredCharacters:
    """The text of ``pieces``, appended one after the other."""
    text = StoredCharacters()
    for piece in pieces:
        text.append(piece)
    return text


def known_characters(tokens: list[str], known: Collection[str], tokenizer: Tokenizer) -> int:
    """The characters of the known ones among tokens, with the spaces implied between such."""
    letters = sum(len(tokenizer.written(t)) for t in tokens if t in known)
    words = [t in known and tokenizer.is_word(t) for t in tokens]
    return letters + sum(a and b for a, b in itertools.pairwise(words))


def text_of(text: StoredCharacters) -> str:
    """All of a stored text."""
    vocabulary = CharVocabulary.of(text.symbols)
    return vocabulary.decode(text.encoded(vocabulary, 0, len(text))[:])
