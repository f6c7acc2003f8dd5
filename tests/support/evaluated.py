"""What the tests of commands share: small untrained models, and texts for ``charrnn eval``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint import Checkpoint, save
from charrnn.config import ModelConfig
from charrnn.params import initial_values
from charrnn.text import CharVocabulary, Vocabulary
from charrnn.text.tokens import WORDS
from charrnn.text.words import WordVocabulary

WORD_LEVEL = ["\n", ".", ", ", "the", "The", "then", "cat", "car", "goes", "going", "I", "I'm", "a"]
LEVELS: dict[str, Vocabulary] = {
    "word": WordVocabulary(WORD_LEVEL, WORDS),
    "char": CharVocabulary("\n .,'ITacegnorst"),
}
ONE = "The cat goes.\nI'm going, then a car.\n\nthe zebra, naïve ☃ cat\n"
TWO = "a car, the cat goes\nthen the cat"  # without a last line break


def save_model(path: Path, vocabulary: Vocabulary, seed: int = 0, **extra: Any) -> None:
    """An untrained one; ``extra`` are fields of ``ModelConfig``."""
    level = "char" if vocabulary.tokenizer == "char" else "word"
    config = ModelConfig(len(vocabulary), level=level, hidden_size=8, embed_size=8, **extra)
    weights = initial_values(config, "uniform", np.random.default_rng(seed))
    weights["decoder.weight"] *= 4  # so that probabilities differ
    save(Checkpoint(config, vocabulary, weights), path)


def make_folder(place: Path, vocabulary: Vocabulary) -> None:
    """Texts and a model, as of a run."""
    (place / "checkpoints/tiny").mkdir(parents=True)
    save_model(place / "checkpoints/tiny/best.safetensors", vocabulary)
    (place / "one.txt").write_text(ONE, encoding="utf-8")
    (place / "two.txt").write_text(TWO, encoding="utf-8")


def read_json(text: str) -> Any:
    """Strictly: NaN and Infinity are no JSON."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def squeezed(text: str) -> list[str]:
    """Lines with single spaces."""
    return [" ".join(line.split()) for line in text.splitlines()]
