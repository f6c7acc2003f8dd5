"""From files to ids: reading, vocabulary, streams of windows."""

from charrnn.text.corpus import STDIN, Corpus, is_folder, read_corpus
from charrnn.text.dataset import Dataset
from charrnn.text.streams import TrainingStream, scoring_lanes
from charrnn.text.vocabulary import UNKNOWN, CharVocabulary, Ids

__all__ = [
    "STDIN",
    "UNKNOWN",
    "CharVocabulary",
    "Corpus",
    "Dataset",
    "Ids",
    "TrainingStream",
    "is_folder",
    "read_corpus",
    "scoring_lanes",
]
