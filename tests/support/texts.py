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
    """The characters of the known ones among tokens, with the spaces implied before such."""
    letters = sum(len(tokenizer.written(t)) for t in tokens if t in known)
    pairs = [(a, b) for a, b in itertools.pairwise(tokens) if b in known]
    return letters + sum(tokenizer.is_word(a) and tokenizer.is_word(b) for a, b in pairs)


def text_of(text: StoredCharacters) -> str:
    """All of a stored text."""
    vocabulary = CharVocabulary.of(text.symbols)
    return vocabulary.decode(text.encoded(vocabulary, 0, len(text))[:])
