"""Small checkpoints with everything in them, and files that are signed whatever is in them."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from charrnn.cells import CELLS
from charrnn.checkpoint import Checkpoint
from charrnn.config import ModelConfig
from charrnn.params import Shapes, parameter_shapes
from charrnn.text import CharVocabulary
from charrnn.text.tokens import PRETOKENIZED, WORDS, Tokenizer
from charrnn.text.words import WordVocabulary

SYMBOLS = '\n"\\a\x7f\u00e9\u2028\U0001f600'
BATCH = 2
DOCUMENTS = {
    "training": {"config": {"batch_size": BATCH, "lr": 4e-3}, "budget": {"steps": None}},
    "counters": {"step": 10, "elapsed_s": 0.1},
    "validation": {"nats": 2.5, "signature": "cell:lstm|\u00e9"},
    "corpus": {"sources": ["odd\udcff.txt"], "sha256": "ab" * 32},
    "origin": {"command": 'charrnn train "a b" \\"sha256\\":\\"' + "0" * 64},
}


def arrays(shapes: Shapes, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Random ones of these shapes."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def tiny(name: str = "lstm", tie: bool = False) -> Checkpoint:
    """Of characters, with optimiser, state and documents."""
    cell, _, activation = name.partition("_")
    config = ModelConfig(
        vocab_size=len(SYMBOLS) + 1,
        cell=cell,
        activation=activation or "tanh",
        layers=2,
        hidden_size=3,
        embed_size=3 if tie else 2,
        tie=tie,
    )
    shapes = parameter_shapes(config)
    slots = {
        f"{slot}.{name}": shape
        for slot in ("exp_avg", "exp_avg_sq")
        for name, shape in shapes.items()
    }
    states = {f"{i}.{state}": (BATCH, 3) for i in range(2) for state in CELLS[name].states}
    return Checkpoint(
        config,
        CharVocabulary(SYMBOLS),
        arrays(shapes, 1),
        arrays(slots, 2),
        arrays(states, 3),
        **copy.deepcopy(DOCUMENTS),
    )


WORD_SYMBOLS = {
    WORDS: ["\n", "don't", "\u00e9te\u0301", ", ", '" ', "\\", "\U0001f600", "\u4f60\u597d"],
    PRETOKENIZED: ["\n", "don't", "\u00e9te\u0301", "@,@", '"', "\\", "\U0001f600", "\u4f60."],
}


def tiny_of_words(tokenizer: Tokenizer = WORDS) -> Checkpoint:
    """The same with words for symbols."""
    checkpoint = tiny()
    config = replace(checkpoint.config, level="word")
    vocabulary = WordVocabulary(WORD_SYMBOLS[tokenizer], tokenizer)
    return replace(checkpoint, config=config, vocabulary=vocabulary)


#: Of each level, as the golden files have it.
SAVED = {"char": tiny, "word": tiny_of_words}


def write_signed(path: Path, tensors: Mapping[str, Any], document: dict[str, Any]) -> None:
    """A file with a valid digest, whatever is in it."""
    document = document | {"sha256": "0" * 64}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    sign(path, safetensors.numpy.save(tensors, metadata={"charrnn": text}))


def sign(path: Path, data: bytes) -> None:
    """Write ``data``, whose digest is zeroed."""
    field = r"\"sha256\":\"{}\"".format
    digest = hashlib.sha256(data).hexdigest()
    path.write_bytes(data.replace(field("0" * 64).encode(), field(digest).encode()))


def document(path: Path) -> dict[str, Any]:
    """The metadata of a sound checkpoint."""
    with safetensors.safe_open(path, "np") as file:
        return json.loads(file.metadata()["charrnn"])


def without(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """All but one."""
    return {n: value for n, value in values.items() if n != name}
