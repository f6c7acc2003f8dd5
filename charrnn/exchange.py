"""Weights for PyTorch and from it: a plain safetensors file, and JSON that says what they mean.

The names are those of a module with ``encoder``, an Embedding, ``rnn``, an LSTM, GRU or RNN, and
``decoder``, a Linear: its ``load_state_dict`` takes what ``export`` writes, and what
``safetensors.torch.save_file`` makes of its ``state_dict`` is what ``read`` takes. The JSON has
``model``, the fields of ``ModelConfig``, the name of the ``tokenizer`` and the ``vocabulary``, the
symbols of the ids 1 and up. Id 0 is the unknown symbol: it is in no vocabulary, but has its row.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np

from charrnn import container, strict_json
from charrnn.checkpoint import Arrays, Checkpoint, is_checkpoint, is_finite, vocabulary_of
from charrnn.config import ModelConfig
from charrnn.container import Container, Kind
from charrnn.errors import DataError, OutputError, UsageError
from charrnn.files import write_atomically
from charrnn.params import Shapes, parameter_shapes
from charrnn.text.vocabulary import CharVocabulary, Vocabulary

#: What fits no model is refused with these words.
_WEIGHTS = Kind("no such file", "not a safetensors file", "weights that do not fit")
_DESCRIPTION = Kind("no such file", "not a description of a model", "not a description of a model")
_FIELDS = {"model", "tokenizer", "vocabulary"}
_MAX_DESCRIPTION = 1 << 27  # bytes
_FROM: dict[str, Callable[[Any], Any]] = {
    "F64": lambda value: value.astype(np.float32),
    "F32": lambda value: value.astype(np.float32, copy=False),
    "F16": lambda value: value.astype(np.float32),
    "BF16": lambda value: (value.astype(np.uint32) << 16).view(np.float32),  # its upper half
}


def export(checkpoint: Checkpoint, path: Path) -> tuple[Path, Path]:
    """Write the parameters to ``path`` and what they mean beside it; returns both paths.

    A tied decoder's weight is written too. An earlier export is replaced; raises ``OutputError``
    where a checkpoint or another JSON file would be, and as ``write_atomically`` does.
    """
    if path.suffix != ".safetensors":
        raise UsageError("invalid value", f"--export {path}", "a name that ends in .safetensors")
    beside = path.with_suffix(".json")
    if is_checkpoint(path):
        raise OutputError("would replace a checkpoint", path, "give it another name")
    if beside.exists() and not _is_description(beside):
        raise OutputError("would replace another file", beside, "give it another name")
    tensors = dict(checkpoint.weights)
    if checkpoint.config.tie:
        tensors["decoder.weight"] = tensors["encoder.weight"]
    vocabulary = checkpoint.vocabulary
    description = {
        "model": checkpoint.config.to_dict(),
        "tokenizer": vocabulary.tokenizer,
        "vocabulary": vocabulary.symbols,
    }
    write_atomically(path, container.pack(tensors, {"format": "pt"}))
    write_atomically(beside, [json.dumps(description, ensure_ascii=False).encode(), b"\n"])
    return path, beside


def _is_description(path: Path) -> bool:
    try:
        _description(path)
    except DataError:
        return False
    return True


def read(weights: Path, description: Path) -> Checkpoint:
    """A checkpoint of weights that were made elsewhere, ready to be saved.

    The weights may be of 16 or 64 bits, bfloat16 included; those of a tied decoder may be left out.
    In the JSON may be left out what ``ModelConfig`` has defaults for, the size of the vocabulary,
    which follows from it, and the tokenizer of characters; these may be one string. Raises
    ``DataError`` for weights, names or shapes that are not those of the model, and the errors of
    ``container.opened``.
    """
    config, vocabulary = _description(description)
    with container.opened(weights, _WEIGHTS) as file:
        return Checkpoint(config, vocabulary, _weights(file, config))


def _description(path: Path) -> tuple[ModelConfig, Vocabulary]:
    text = container.read_text(path, _DESCRIPTION, _MAX_DESCRIPTION)
    with container.naming(path, _DESCRIPTION.damaged):
        found = strict_json.parse(text)
        if not isinstance(found, dict) or not {"model", "vocabulary"} <= found.keys() <= _FIELDS:
            remedy = 'it must be {"model": {...}, "tokenizer": "...", "vocabulary": [...]}'
            raise DataError(_DESCRIPTION.damaged, remedy=remedy)
        model, symbols = found["model"], found["vocabulary"]
        if not isinstance(symbols, str | list) or not all(isinstance(s, str) for s in symbols):
            raise DataError("vocabulary is not a list of strings")
        if not isinstance(model, dict):
            raise DataError(_DESCRIPTION.damaged, remedy="its model is not an object")
        defaults = {f.name: f.default for f in fields(ModelConfig) if f.default is not MISSING}
        config = ModelConfig.from_dict({**defaults, "vocab_size": len(symbols) + 1, **model})
        if isinstance(symbols, str) and config.level == "word":
            raise DataError("vocabulary is not a list of words")
        tokenizer = found.get("tokenizer", CharVocabulary.tokenizer)
        vocabulary = vocabulary_of(list(symbols), config.level, tokenizer)
        if len(vocabulary) != config.vocab_size:
            sizes = f"{config.vocab_size} symbols, {len(vocabulary)} with the unknown one are there"
            raise DataError("vocabulary and model differ in size", remedy=sizes)
        return config, vocabulary


def _weights(file: Container, config: ModelConfig) -> Arrays:
    """Of this model, as float32; a tied decoder's weight is not among them."""
    shapes = parameter_shapes(config)
    tied = config.tie and "decoder.weight" in file.entries
    expected = shapes | ({"decoder.weight": shapes["encoder.weight"]} if tied else {})
    _check(file.entries, expected)
    specs = {name: (file.entries[name]["dtype"], shape) for name, shape in expected.items()}
    file.check(specs, sorted(specs, key=lambda name: file.entries[name]["data_offsets"]))
    arrays = {}
    for name, value in file.read().items():
        with np.errstate(over="ignore"):  # of float64; said below
            arrays[name] = _FROM[specs[name][0]](value)
        if not is_finite(arrays[name]):
            raise DataError("weights that are not finite", remedy=name)
    if tied and not np.array_equal(arrays.pop("decoder.weight"), arrays["encoder.weight"]):
        remedy = 'decoder.weight is not encoder.weight; say "tie": false'
        raise DataError(_WEIGHTS.damaged, remedy=remedy)
    return arrays


def _check(entries: dict[str, Any], expected: Shapes) -> None:
    """Raise ``DataError`` for the first name that is odd, saying what is."""
    for name in sorted(entries.keys() | expected.keys()):
        entry = entries.get(name)
        if name not in expected:
            odd = f"{name} is not in this model"
        elif entry is None:
            odd = f"{name} is missing"
        elif not isinstance(entry, dict) or entry.get("dtype") not in _FROM:
            kind = entry.get("dtype") if isinstance(entry, dict) else entry
            odd = f"{name} is {kind}, must be one of {', '.join(_FROM)}"
        elif entry.get("shape") != list(expected[name]):
            odd = f"{name} has shape {entry.get('shape')} instead of {list(expected[name])}"
        else:
            continue
        raise DataError(_WEIGHTS.damaged, remedy=odd)
