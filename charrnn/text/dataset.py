"""A corpus prepared for training: split, vocabulary, ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import DataError
from charrnn.text.corpus import Corpus, read_corpus
from charrnn.text.vocabulary import UNKNOWN, CharVocabulary, Ids

_MAX_SOURCES = 100  # as many are named in a checkpoint; the digest is of them all


@dataclass(frozen=True)
class Dataset:
    """A corpus, cut and encoded. The vocabulary is that of the training part alone.

    ``document`` is what a checkpoint says of it, ``notes`` what was done to the texts.
    """

    vocabulary: CharVocabulary
    train: Ids
    valid: Ids
    split: str
    notes: tuple[str, ...]
    document: dict[str, Any]

    @classmethod
    def read(
        cls, sources: Sequence[str | Path], valid: Path | None, valid_fraction: float
    ) -> Dataset:
        """Validate on the file ``valid``, or on the last part of the text.

        Raises the errors of ``read_corpus``, and ``DataError`` where there is nothing to learn.
        """
        corpus = read_corpus(sources)
        text, notes, document = corpus.text, corpus.notes, _described(corpus)
        where = f"{corpus.sources[0]}{' and more' if len(corpus.sources) > 1 else ''}"
        if valid is None:
            cut = len(text) - round(len(text) * valid_fraction)
            text, held_out, held_out_where = text[:cut], text[cut:], where
            split = f"last-{100 * valid_fraction:g}%"
        else:
            other = read_corpus([valid])
            held_out, held_out_where, split = other.text, str(valid), f"file:{valid.name}"
            notes += other.notes
            document["valid"] = _described(other)
        for part, place in ((text, where), (held_out, held_out_where)):
            if len(part) < 2:
                raise DataError("text shorter than one window", place, "use a longer text")
        vocabulary = CharVocabulary.of(text)
        if len(vocabulary.symbols) < 2:
            raise DataError("text of a single symbol", f"{where}, {text[0]!r}", "nothing to learn")
        train_ids, valid_ids = vocabulary.encode(text), vocabulary.encode(held_out)
        document |= {
            "split": split,
            "train_symbols": len(train_ids),
            "valid_symbols": len(valid_ids),
            "valid_unknown": int((valid_ids == UNKNOWN).sum()),
        }
        return cls(vocabulary, train_ids, valid_ids, split, notes, document)


def _described(corpus: Corpus) -> dict[str, Any]:
    names, more = corpus.sources[:_MAX_SOURCES], len(corpus.sources) - _MAX_SOURCES
    return {
        "sources": [*names, *([f"and {more} more"] if more > 0 else [])],
        "sha256": corpus.sha256,
        "bytes": corpus.bytes,
        "characters": len(corpus.text),
    }
