"""Stored texts from strings, and back."""

from __future__ import annotations

from charrnn.text import CharVocabulary
from charrnn.text.store import StoredCharacters


def stored(*pieces: str) -> StoredCharacters:
    """The text of ``pieces``, appended one after the other."""
    text = StoredCharacters()
    for piece in pieces:
        text.append(piece)
    return text


def text_of(text: StoredCharacters) -> str:
    """All of a stored text."""
    vocabulary = CharVocabulary.of(text.symbols)
    return vocabulary.decode(text.encoded(vocabulary, 0, len(text))[:])
