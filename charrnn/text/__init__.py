"""From files to ids: reading, storing, vocabulary, streams of windows."""

from charrnn.text.corpus import NO_SUCH_FILE, STDIN, read_corpus
from charrnn.text.dataset import Dataset
from charrnn.text.streams import TrainingStream, scoring_lanes
from charrnn.text.vocabulary import UNKNOWN, CharVocabulary, Ids, Vocabulary

__all__ = [
    "NO_SUCH_FILE",
    "STDIN",
    "UNKNOWN",
    "CharVocabulary",
    "Dataset",
    "Ids",
    "TrainingStream",
    "Vocabulary",
    "read_corpus",
    "scoring_lanes",
]
