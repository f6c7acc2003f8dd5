"""Small models with random weights in float64, and what they expect, read in one go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from charrnn.completion import Completer
from charrnn.model import Model, Window
from charrnn.params import LEFT, initial_values
from charrnn.text import Vocabulary
from charrnn.text.tokens import WORDS
from charrnn.text.vocabulary import CharVocabulary
from charrnn.text.words import WordVocabulary
from tests.support.devices import host
from tests.support.stacks import exact, model_config

Array = np.ndarray[Any, Any]


def tiny_model(
    vocabulary: Vocabulary,
    seed: int = 0,
    scale: float = 4.0,
    backend: str = "numpy",
    cell: str = "lstm",
    learns: bool = False,
    **extra: Any,
) -> Model:
    """``scale``: how peaked its predictions are. Biases are random too."""
    level = "char" if vocabulary.tokenizer == "char" else "word"
    sizes = {"vocab_size": len(vocabulary), "hidden_size": 6, "embed_size": 4, "level": level}
    config = model_config(cell, **(sizes | extra))
    rng = np.random.default_rng(seed)
    values = initial_values(config, "uniform", rng)
    for name, value in values.items():
        if name == "decoder.weight":
            value *= scale
        elif "bias" in name:
            value += rng.normal(size=value.shape) * min(scale, 1) / 2
    return Model(config, exact(backend), values, learns=learns)


def completer(symbols: Sequence[str], seed: int = 0, scale: float = 4.0, **extra: Any) -> Completer:
    """Of a tiny model: of characters if ``symbols`` are one string, else of words."""
    vocabulary: Vocabulary
    if isinstance(symbols, str):
        vocabulary = CharVocabulary(symbols)
    else:
        vocabulary = WordVocabulary(symbols, WORDS)
    return Completer(tiny_model(vocabulary, seed, scale, **extra), vocabulary)


def softmax(logits: Array) -> Array:
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(p / p.sum(axis=-1, keepdims=True))


def expected(model: Model, ids: Sequence[int] | Array, side: str = LEFT) -> Array:
    """The probability of what follows each of ids [T] or [T, B], read at once: [T, V], [T, B, V].

    In the order of reading: from the right, ``ids`` are given from their end on.
    """
    given = np.array(ids, np.int32)
    lanes = given.reshape(len(given), -1)
    p = softmax(host(model.window(*lanes.shape, side).logits(lanes)).astype(np.float64))
    return p.reshape(*given.shape, -1)


def by_hand(model: Model, ids: Array) -> list[float]:
    """The loss of each of ids but the first, symbol by symbol, the plainest way there is."""
    window = model.window(1, 1)
    return [
        float(host(window.losses(ids[t : t + 1, None], ids[t + 1 : t + 2, None]))[0])
        for t in range(len(ids) - 1)
    ]


def probability(
    model: Model, context: Sequence[int], continuations: Sequence[Sequence[int]], side: str = LEFT
) -> Array:
    """Of each of some texts to follow a context, in the order of reading: [n]."""
    longest = max(map(len, continuations))
    ids = np.array([[*context, *c, *[0] * (longest - len(c))] for c in continuations]).T
    p = np.take_along_axis(expected(model, ids[:-1], side), ids[1:, :, None], -1)[:, :, 0]
    lengths = np.array([len(c) for c in continuations])
    following = p[len(context) - 1 :]
    return np.asarray(np.prod(following, 0, where=np.arange(longest)[:, None] < lengths))


def counter_of_steps(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Tells how many symbols were read, in windows of one lane, since it was asked last."""
    counted: list[int] = []
    hidden = Window.hidden

    def count(window: Window, ids: Array) -> Any:
        counted.append(ids.size if window.batch == 1 else 0)
        return hidden(window, ids)

    def since_last() -> int:
        total = sum(counted)
        counted.clear()
        return total

    monkeypatch.setattr(Window, "hidden", count)
    return since_last
