"""One checkpoint, one safetensors file: never half written, and read with distrust.

The file holds float32 tensors: the weights under PyTorch's names, the optimiser's moments as
``optim.SLOT.NAME`` and the carried recurrent state as ``state.LAYER.NAME``. Everything else is one
canonical JSON document under the metadata key ``charrnn``, with the SHA-256 of the whole file,
taken with the digest's own field zeroed. That shows damage; it is no signature. The vocabulary is
a list in the document; if it is long, one uint8 tensor ``vocabulary``, the UTF-8 of the list as
JSON, and null in the document.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from charrnn import container, strict_json
from charrnn.cells import CELLS
from charrnn.config import MAX_SIZE, ModelConfig
from charrnn.container import Container, Kind, Specs
from charrnn.errors import CharrnnError, DataError, DivergedError
from charrnn.files import write_atomically
from charrnn.params import count, parameter_shapes
from charrnn.text import CharVocabulary, Vocabulary

VERSION = 2
_KIND = Kind("no such checkpoint", "not a charrnn checkpoint", "damaged checkpoint")
_KEY = "charrnn"
_SYMBOLS = "vocabulary"
_MAX_INLINE = 1 << 16  # bytes of a vocabulary's list
_MAX_SYMBOLS = 1 << 27  # bytes of one that is a tensor
_SLOT = re.compile(r"optim\.([a-z_]+)\.")
_MAX_SLOTS = 4  # of an optimiser; none has more than two
#: A list of strings and nothing else, which might take thirty times the room when it is parsed.
_STRINGS = re.compile(rb'\[(?:"(?:[^"\\]++|\\.)*+"(?:, ?+(?=")|(?=\])))*+\]', re.DOTALL)

Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass
class Checkpoint:
    """What a checkpoint holds; ``sha256`` is known once it was written or read.

    weights   parameters by PyTorch's names; a tied decoder has none of its own
    slots     moments of the optimiser, ``SLOT.NAME``; empty where they were not saved
    states    carried state, ``LAYER.NAME`` [B, H]; empty where it was not saved
    training  recipe and budget; ``counters`` how far it came; ``validation`` the figures there
    corpus    sources, digest, sizes and split; ``origin`` command and environment
    """

    config: ModelConfig
    vocabulary: Vocabulary
    weights: Arrays
    slots: Arrays = field(default_factory=dict)
    states: Arrays = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    counters: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)
    corpus: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""


_DOCUMENTS = ("training", "counters", "validation", "corpus", "origin")
_FIELDS = {"format", "version", "sha256", "model", "tokenizer", _SYMBOLS, *_DOCUMENTS}


def save(checkpoint: Checkpoint, *paths: Path) -> None:
    """Write the checkpoint to each path, atomically; sets its ``sha256``.

    Raises ``DivergedError`` for numbers that are not finite, ``OutputError`` where the file
    cannot be created and ``InputOutputError`` where writing fails midway; an older file of that
    name then stays as it was.
    """
    pieces = _pieces(checkpoint)
    for path in paths:
        write_atomically(path, pieces)


def _pieces(checkpoint: Checkpoint) -> list[bytearray | memoryview]:
    """The bytes of the file; its arrays are not copied."""
    tensors: Arrays = {}
    for prefix, arrays in (
        ("", checkpoint.weights),
        ("optim.", checkpoint.slots),
        ("state.", checkpoint.states),
    ):
        for name, value in arrays.items():
            with np.errstate(over="ignore"):  # of float64; said below
                tensors[prefix + name] = np.asarray(value, np.float32)
    for name, value in tensors.items():
        if not is_finite(value):
            raise DivergedError("numbers are not finite, not saved", name)
    vocabulary = checkpoint.vocabulary
    symbols: list[str] | None = list(vocabulary.symbols)
    listed = json.dumps(symbols, ensure_ascii=False, separators=(",", ":")).encode()
    if len(listed) > _MAX_INLINE:
        tensors[_SYMBOLS], symbols = np.frombuffer(listed, np.uint8), None
    mark = os.urandom(32).hex()  # the same digits may stand elsewhere, but not these
    document = {
        "format": _KEY,
        "version": VERSION,
        "sha256": mark,
        "model": checkpoint.config.to_dict(),
        "tokenizer": vocabulary.tokenizer,
        "vocabulary": symbols,
        **{name: getattr(checkpoint, name) for name in _DOCUMENTS},
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    if len(text) > container.MAX_TEXT:
        raise DataError("metadata too large for a checkpoint", f"{len(text)} bytes")
    pieces = container.pack(tensors, {_KEY: text})
    checkpoint.sha256 = container.sign(pieces, mark)
    return pieces


def is_finite(value: np.ndarray[Any, Any]) -> bool:
    """Whether all numbers are, looked at while they are in the cache."""
    flat, step = value.reshape(-1), 1 << 16
    return all(np.isfinite(flat[n : n + step]).all() for n in range(0, flat.size, step))


def load(path: Path) -> Checkpoint:
    """Read and check a checkpoint.

    Raises ``InputNotFoundError`` where there is no such file, ``InputOutputError`` where reading
    fails, ``MemoryLimitError`` where it does not fit into memory, and ``DataError`` for anything
    but a sound checkpoint of a version this program knows. No data is read before its header is
    known to be what the configuration in it implies.
    """
    with container.opened(path, _KIND) as file:
        document = _document(file.metadata)
        config = ModelConfig.from_dict(document["model"])
        file.check(_specs(file, config, document))
        tensors = file.read(document["sha256"])
        vocabulary = _vocabulary(document, config, tensors.pop(_SYMBOLS, None))
        documents = {name: document[name] for name in _DOCUMENTS}
        checkpoint = Checkpoint(config, vocabulary, {}, **documents, sha256=document["sha256"])
        for name, value in tensors.items():
            if not is_finite(value):
                raise DataError("checkpoint with numbers that are not finite", remedy=name)
            kind, _, rest = name.partition(".")
            if kind == "optim":
                checkpoint.slots[rest] = value
            elif kind == "state":
                checkpoint.states[rest] = value
            else:
                checkpoint.weights[name] = value
        return checkpoint


def cannot_resume(reason: str) -> DataError:
    """The error of a checkpoint that lacks what a run needs to go on."""
    return DataError("checkpoint that a run cannot go on from", remedy=f"{reason}; use --init-from")


def is_checkpoint(path: Path) -> bool:
    """Whether there is a file that says it is one, sound or not."""
    try:
        with container.opened(path, _KIND) as file:
            return isinstance(file.metadata, dict) and _KEY in file.metadata
    except CharrnnError:
        return False


def _document(metadata: Any) -> dict[str, Any]:
    """The document of the present version, of the right fields and, apart from ``model``, types."""
    text = metadata.get(_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        what = "a safetensors file, but not a charrnn checkpoint"
        raise DataError(what, remedy="it lacks our metadata; for weights see charrnn import")
    if len(metadata) > 1 or len(text) > container.MAX_TEXT or not text.isascii():
        raise DataError("damaged checkpoint", remedy="metadata that charrnn does not write")
    document: dict[str, Any] = strict_json.parse(text)
    if not isinstance(document, dict) or document.get("format") != _KEY:
        raise DataError("not a charrnn checkpoint")
    version = document.get("version")
    if type(version) is not int or version < 1:
        raise DataError("damaged checkpoint", remedy=f"version {version!r}")
    if version > VERSION:
        raise DataError("checkpoint of a newer charrnn", remedy=f"version {version}; upgrade")
    for step in range(version, VERSION):
        document = _MIGRATIONS[step](document)
    _require(document.keys() == _FIELDS, ", ".join(sorted(document.keys() ^ _FIELDS)))
    for name in _DOCUMENTS:
        _require(isinstance(document[name], dict), name)
    for name in ("sha256", "tokenizer"):
        _require(isinstance(document[name], str), name)
    symbols = document[_SYMBOLS]
    listed = isinstance(symbols, list) and all(isinstance(s, str) for s in symbols)
    _require(symbols is None or listed, _SYMBOLS)
    return document


def _from_1(document: dict[str, Any]) -> dict[str, Any]:
    """Version 2 only moved vocabularies; the first files had neither words nor both directions."""
    model = document.get("model")
    if isinstance(model, dict):
        model = {"bidirectional": False, **model}
    return {"tokenizer": CharVocabulary.tokenizer, **document, "model": model, "version": 2}


#: From each earlier version to the next; pure.
_MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise DataError("damaged checkpoint", remedy=f"its metadata is not as it should be: {what}")


def _specs(file: Container, config: ModelConfig, document: dict[str, Any]) -> Specs:
    """The tensors that the configuration implies; optimiser and state may be there or not."""
    shapes = parameter_shapes(config)
    expected = dict(shapes)
    slots = {found[1] for name in file.entries if (found := _SLOT.match(name))}
    for slot in sorted(slots)[:_MAX_SLOTS]:
        expected |= {f"optim.{slot}.{name}": shape for name, shape in shapes.items()}
    if any(name.startswith("state.") for name in file.entries):
        recipe = document["training"].get("config")
        lanes: Any = recipe.get("batch_size") if isinstance(recipe, dict) else None
        _require(type(lanes) is int and 1 <= lanes <= MAX_SIZE, "batch_size")
        for layer in range(config.layers):
            for state in CELLS[config.cell_name].states:
                expected[f"state.{layer}.{state}"] = (lanes, config.hidden_size)
    specs: dict[str, tuple[str, tuple[int, ...]]] = {n: ("F32", s) for n, s in expected.items()}
    if document[_SYMBOLS] is None:  # it has what the others leave of the file
        specs[_SYMBOLS] = ("U8", (min(max(0, file.size - 4 * count(expected)), _MAX_SYMBOLS),))
    return specs


def _vocabulary(
    document: dict[str, Any], config: ModelConfig, tensor: np.ndarray[Any, Any] | None
) -> Vocabulary:
    symbols, tokenizer = document[_SYMBOLS], document["tokenizer"]
    if tensor is not None:
        symbols = _strings(tensor.tobytes(), config.vocab_size - 1)
    vocabulary = vocabulary_of(symbols, config.level, tokenizer)
    if len(vocabulary) != config.vocab_size:
        raise DataError("damaged checkpoint", remedy="vocabulary and model differ in size")
    return vocabulary


def vocabulary_of(symbols: list[str], level: str, tokenizer: str) -> Vocabulary:
    """Of these symbols, with the ids 1 and up; raises ``DataError``."""
    if level == "word":
        from charrnn.text.words import WordVocabulary  # what splits words takes long to load

        return WordVocabulary.named(symbols, tokenizer)
    if tokenizer != CharVocabulary.tokenizer:
        raise DataError("vocabulary of an unknown kind", repr(tokenizer))
    return CharVocabulary(symbols)


def _strings(listed: bytes, number: int) -> list[str]:
    """A list of about so many strings, made only if it is one."""
    quotes = listed.count(b'"') - listed.count(b'\\"')  # all but escaped ones and a few others
    if quotes > 2 * number or not _STRINGS.fullmatch(listed):
        raise DataError("vocabulary is not a list of so many strings")
    found: list[str] = json.loads(listed.decode())
    return found
