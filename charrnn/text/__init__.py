"""From files to ids: reading, storing, vocabulary, streams of windows."""

from charrnn.text.vocabulary import UNKNOWN, CharVocabulary, Ids, Vocabulary

__all__ = ["UNKNOWN", "CharVocabulary", "Ids", "Vocabulary"]
