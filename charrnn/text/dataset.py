"""A corpus made ready: split, vocabulary, ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import DataError
from charrnn.text.corpus import Corpus, read_corpus
from charrnn.text.vocabulary import UNKNOWN, CharVocabulary, Ids


@dataclass(frozen=True)
class Dataset:
    """The corpus, cut and encoded, with what a checkpoint says of it in ``document``.

    The vocabulary is that of the training part alone.
    """

    corpus: Corpus
    vocabulary: CharVocabulary
    train: Ids
    valid: Ids
    split: str
    document: dict[str, Any]

    @classmethod
    def read(
        cls, sources: Sequence[str | Path], valid: Path | None, valid_fraction: float
    ) -> Dataset:
        """Validate on the file ``valid``, or on the last part of the text.

        Raises the errors of ``read_corpus``, and ``DataError`` where there is nothing to learn.
        """
        corpus = read_corpus(sources)
        if valid is None:
            cut = len(corpus.text) - round(len(corpus.text) * valid_fraction)
            texts = corpus.text[:cut], corpus.text[cut:]
            split = f"last-{100 * valid_fraction:g}%"
        else:
            texts = corpus.text, read_corpus([valid]).text
            split = f"file:{valid.name}"
        where = ", ".join(corpus.sources)
        if len(texts[0]) < 2 or len(texts[1]) < 2:
            raise DataError("text shorter than one window", where, "use a longer text")
        vocabulary = CharVocabulary.of(texts[0])
        if len(vocabulary.symbols) < 2:
            raise DataError(
                "text of a single symbol", f"{where}, {texts[0][0]!r}", "there is nothing to learn"
            )
        train, held_out = map(vocabulary.encode, texts)
        document = {
            "sources": list(corpus.sources),
            "sha256": corpus.sha256,
            "bytes": corpus.bytes,
            "characters": len(corpus.text),
            "split": split,
            "train_symbols": len(train),
            "valid_symbols": len(held_out),
            "valid_unknown": int((held_out == UNKNOWN).sum()),
        }
        return cls(corpus, vocabulary, train, held_out, split, document)
