"""Stored texts from strings, and back."""

from __future__ import annotations

from charrnn.text import CharVocabulary
from charrnn.text.store import StoredText


def stored(*pieces: str) -> StoredText:
    """The text of ``pieces``, appended one after the other."""
    text = StoredText()
    for piece in pieces:
        text.append(piece)
    return text


def text_of(text: StoredText) -> str:
    """All of a stored text."""
    vocabulary = CharVocabulary.of(text.symbols)
    return vocabulary.decode(text.encoded(vocabulary, 0, len(text))[:])
