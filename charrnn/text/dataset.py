"""A corpus prepared for training: split, vocabulary, ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import DataError
from charrnn.text.corpus import Corpus, read_corpus
from charrnn.text.store import EncodedText, StoredText
from charrnn.text.vocabulary import Vocabulary

_MAX_SOURCES = 100  # as many are named in a checkpoint; the digest is of them all


@dataclass(frozen=True)
class Dataset:
    """A corpus, cut and encoded. The vocabulary is that of the training part.

    ``document`` is what a checkpoint says of it, ``notes`` what was done to the texts.
    """

    vocabulary: Vocabulary
    train: EncodedText
    valid: EncodedText
    split: str
    notes: tuple[str, ...]
    document: dict[str, Any]

    @classmethod
    def read(
        cls,
        sources: Sequence[str | Path],
        valid: Path | None,
        valid_fraction: float,
        text: StoredText | None = None,
        settle: Callable[[Vocabulary], Vocabulary] = lambda vocabulary: vocabulary,
    ) -> Dataset:
        """Validate on the file ``valid``, or on the last part of the text.

        The texts are added to ``text``, which is empty and by default of characters. ``settle``
        makes of the vocabulary of the training part the one that is used.
        Raises the errors of ``read_corpus``, and ``DataError`` where there is nothing to learn.
        """
        corpus = read_corpus(sources, text)
        text, document = corpus.text, _described(corpus)
        notes = corpus.notes + text.notes
        if valid is None:
            cut = len(text) - round(len(text) * valid_fraction)
            held_out, start = text, cut
            split = f"last-{100 * valid_fraction:g}%"
        else:
            other, cut = read_corpus([valid], text.like()), len(text)
            held_out, start = other.text, 0
            split = f"file:{valid.name}"
            notes += other.notes
            document["valid"] = _described(other)
        stop = len(held_out)
        for length, place in ((cut, text.name), (stop - start, held_out.name)):
            if length < 2:
                raise DataError("text shorter than one window", place, "use a longer text")
        vocabulary = text.vocabulary(cut)
        if len(vocabulary.symbols) < 2:
            where = f"{text.name}, {vocabulary.symbols[0]!r}"
            if vocabulary.tokenizer == "char" or len(text.symbols) == 1:
                raise DataError("text of a single symbol", where, "nothing to learn")
            remedy = "use a larger --vocab-size or a smaller --min-count"
            raise DataError("only one word is known", where, remedy)
        if not "".join(vocabulary.symbols).strip():
            raise DataError("text of white space alone", text.name, "nothing to learn")
        vocabulary = settle(vocabulary)
        train_ids = text.encoded(vocabulary, 0, cut)
        valid_ids = held_out.encoded(vocabulary, start, stop)
        document |= {
            "split": split,
            "train_symbols": len(train_ids),
            "train_unknown": train_ids.unknown(),
            "valid_symbols": len(valid_ids),
            "valid_unknown": valid_ids.unknown(),
        }
        return cls(vocabulary, train_ids, valid_ids, split, notes, document)


def _described(corpus: Corpus) -> dict[str, Any]:
    names, more = corpus.sources[:_MAX_SOURCES], len(corpus.sources) - _MAX_SOURCES
    return {
        "sources": [*names, *([f"and {more} more"] if more > 0 else [])],
        "sha256": corpus.sha256,
        "bytes": corpus.bytes,
        "characters": corpus.characters,
    }
