"""One checkpoint, one safetensors file: never half written, and read with distrust.

The file holds float32 tensors: the weights under PyTorch's names, the optimiser's moments as
``optim.SLOT.NAME`` and the carried recurrent state as ``state.LAYER.NAME``. Words, which may be
many, are one uint8 tensor ``vocabulary``: the UTF-8 of a JSON list. Everything else is one
canonical JSON document under the metadata key ``charrnn``, with the SHA-256 of the whole file,
taken with the digest's own field zeroed. That shows damage; it is no signature.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from charrnn.cells import CELLS
from charrnn.config import ModelConfig
from charrnn.errors import (
    CharrnnError,
    DataError,
    DivergedError,
    InputNotFoundError,
    InputOutputError,
)
from charrnn.files import write_atomically
from charrnn.params import parameter_shapes
from charrnn.text import NO_SUCH_FILE, CharVocabulary, Vocabulary

VERSION = 1
_KEY = "charrnn"
_NO_DIGEST = "0" * 64
_MAX_METADATA = 2**20
_MAX_HEADER = 4 * _MAX_METADATA  # the metadata, escaped, and a line for each tensor
_MAX_FILE = 2**36
_WORDS = "vocabulary"
_MAX_WORDS = 2**27  # bytes
_NOT_OURS = {
    b"PK\x03\x04": "a zip archive, as .pt and .npz files are",
    b"\x80": "a Python pickle",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
}
_ONLY_SAFETENSORS = "charrnn reads only the .safetensors files that it wrote"

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


def save(checkpoint: Checkpoint, *paths: Path) -> None:
    """Write the checkpoint to each path, atomically; sets its ``sha256``.

    Raises ``DivergedError`` for numbers that are not finite, ``OutputError`` where the file
    cannot be created and ``InputOutputError`` where writing fails midway; an older file of that
    name then stays as it was.
    """
    data = _to_bytes(checkpoint)
    for path in paths:
        write_atomically(path, [data])


def _to_bytes(checkpoint: Checkpoint) -> bytearray:
    tensors = dict(checkpoint.weights)
    tensors |= {f"optim.{name}": value for name, value in checkpoint.slots.items()}
    tensors |= {f"state.{name}": value for name, value in checkpoint.states.items()}
    for name, value in tensors.items():
        if not np.isfinite(value).all():
            raise DivergedError("numbers are not finite, not saved", name)
    # safetensors writes the memory as it lies: anything but C order would come out wrong.
    tensors = {name: np.ascontiguousarray(v, dtype=np.float32) for name, v in tensors.items()}
    vocabulary = checkpoint.vocabulary
    symbols: list[str] | None = list(vocabulary.symbols)
    if checkpoint.config.level == "word":
        listed = json.dumps(symbols, ensure_ascii=False, separators=(",", ":")).encode()
        tensors[_WORDS], symbols = np.frombuffer(listed, np.uint8), None
    document = {
        "format": _KEY,
        "version": VERSION,
        "sha256": _NO_DIGEST,
        "model": checkpoint.config.to_dict(),
        "tokenizer": vocabulary.tokenizer,
        "vocabulary": symbols,
        **{name: getattr(checkpoint, name) for name in _DOCUMENTS},
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    if len(text) > _MAX_METADATA:
        raise DataError("metadata too large for a checkpoint", f"{len(text)} bytes")
    data = bytearray(safetensors.numpy.save(tensors, metadata={_KEY: text}))
    checkpoint.sha256 = hashlib.sha256(data).hexdigest()
    _set_digest(data, _NO_DIGEST, checkpoint.sha256)
    return data


def _set_digest(data: bytearray, old: str, new: str) -> None:
    """Exchange the digest where it stands in the header, as JSON inside a JSON string."""
    before, after = (rf"\"sha256\":\"{digest}\"".encode() for digest in (old, new))
    at = data.find(before)
    if at < 0:
        raise DataError("damaged checkpoint", remedy="it has no SHA-256")
    data[at : at + len(before)] = after


def load(path: Path) -> Checkpoint:
    """Read and check a checkpoint.

    Raises ``InputNotFoundError`` where there is no such file and ``DataError`` for anything
    but a sound checkpoint of a version this program knows.
    """
    raw = _read(path)
    try:
        header = _header(raw)
        document = _document(header)
        _check_digest(raw, document["sha256"])
        config = ModelConfig.from_dict(document["model"])
        documents = _documents(document)
        _check_tensors(header, config, documents)
        tensors = safetensors.numpy.load(raw)
        vocabulary = _vocabulary(document, config, tensors.pop(_WORDS, None))
    except DataError as error:
        raise DataError(error.what, path, error.remedy) from None
    except CharrnnError as error:
        raise DataError("damaged checkpoint", path, str(error)) from None
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError("damaged checkpoint", path, f"{type(error).__name__}: {error}") from None
    checkpoint = Checkpoint(config, vocabulary, {}, **documents, sha256=document["sha256"])
    for name, value in tensors.items():
        if not np.isfinite(value).all():
            raise DataError("checkpoint with numbers that are not finite", path, name)
        kind, _, rest = name.partition(".")
        if kind == "optim":
            checkpoint.slots[rest] = value
        elif kind == "state":
            checkpoint.states[rest] = value
        else:
            checkpoint.weights[name] = value
    return checkpoint


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a FIFO would be waited for
            raise DataError("not a charrnn checkpoint", path, "it is not a regular file")
        if status.st_size > _MAX_FILE:
            raise DataError("not a charrnn checkpoint", path, f"{status.st_size} bytes")
        return path.read_bytes()
    except OSError as error:
        if error.errno in NO_SUCH_FILE:
            raise InputNotFoundError("no such checkpoint", path) from None
        raise InputOutputError("cannot read", path, error.strerror or str(error)) from None


def _header(raw: bytes) -> dict[str, Any]:
    length = int.from_bytes(raw[:8], "little")
    header = None
    if 2 <= length <= min(_MAX_HEADER, len(raw) - 8):
        with contextlib.suppress(ValueError):
            header = json.loads(raw[8 : 8 + length])
    if not isinstance(header, dict):
        kinds = [f"it is {kind}; " for magic, kind in _NOT_OURS.items() if raw.startswith(magic)]
        raise DataError("not a charrnn checkpoint", remedy="".join(kinds) + _ONLY_SAFETENSORS)
    return header


def _document(header: dict[str, Any]) -> dict[str, Any]:
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not isinstance(metadata.get(_KEY), str):
        raise DataError(
            "a safetensors file, but not a charrnn checkpoint", remedy="it lacks our metadata"
        )
    document = json.loads(metadata[_KEY])
    if document["format"] != _KEY:
        raise DataError("not a charrnn checkpoint")
    version = document["version"]
    if type(version) is not int or version < 1:
        raise DataError("damaged checkpoint", remedy=f"version {version!r}")
    if version > VERSION:
        raise DataError("checkpoint of a newer charrnn", remedy=f"version {version}; upgrade")
    # Fields that the first checkpoints did not have.
    document["model"] = {"bidirectional": False, **document["model"]}
    return document  # type: ignore[no-any-return]


def _check_digest(raw: bytes, digest: str) -> None:
    header = bytearray(raw[: 8 + int.from_bytes(raw[:8], "little")])
    _set_digest(header, digest, _NO_DIGEST)
    found = hashlib.sha256(header)
    found.update(memoryview(raw)[len(header) :])  # not copied: it is most of the file
    if found.hexdigest() != digest:
        raise DataError("damaged checkpoint", remedy="its SHA-256 does not match; use an older one")


def _documents(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    documents = {name: document[name] for name in _DOCUMENTS}
    if not all(isinstance(value, dict) for value in documents.values()):
        raise DataError("damaged checkpoint", remedy="its metadata is not as it should be")
    return documents


def _vocabulary(
    document: dict[str, Any], config: ModelConfig, words: np.ndarray[Any, Any] | None
) -> Vocabulary:
    vocabulary: Vocabulary
    if words is None:
        vocabulary = CharVocabulary(document["vocabulary"])
    else:
        from charrnn.text.words import WordVocabulary

        symbols = json.loads(words.tobytes())
        if not isinstance(symbols, list) or not all(isinstance(s, str) for s in symbols):
            raise DataError("vocabulary is not a list of words")
        vocabulary = WordVocabulary.named(symbols, document["tokenizer"])
    if len(vocabulary) != config.vocab_size:
        raise DataError("damaged checkpoint", remedy="vocabulary and model differ in size")
    return vocabulary


def _check_tensors(
    header: dict[str, Any], config: ModelConfig, documents: dict[str, dict[str, Any]]
) -> None:
    """Compare names, shapes and types with what the configuration implies, before any is made."""
    found: dict[str, tuple[Any, ...]] = {
        name: (entry["dtype"], *entry["shape"]) for name, entry in header.items()
    }
    shapes = parameter_shapes(config)
    slots = {name.split(".")[1] for name in found if name.startswith("optim.")}
    expected = dict(shapes)
    for slot in slots:
        expected |= {f"optim.{slot}.{name}": shape for name, shape in shapes.items()}
    if any(name.startswith("state.") for name in found):
        shape = (documents["training"]["config"]["batch_size"], config.hidden_size)
        for layer in range(config.layers):
            for state in CELLS[config.cell_name].states:
                expected[f"state.{layer}.{state}"] = shape
    exact: dict[str, tuple[Any, ...]] = {n: ("F32", *shape) for n, shape in expected.items()}
    if config.level == "word":
        _, *size = found.get(_WORDS, ("", 0))
        exact[_WORDS] = ("U8", size[0] if len(size) == 1 and size[0] <= _MAX_WORDS else 0)
    if found != exact:
        odd = sorted(n for n in found.keys() | exact if found.get(n) != exact.get(n))
        raise DataError("damaged checkpoint", remedy=f"missing, unexpected or misshapen: {odd[0]}")
