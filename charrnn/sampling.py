"""From logits to symbols, and from symbols to text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from charrnn.config import SampleConfig
from charrnn.model import Model, Window
from charrnn.reading import Reader
from charrnn.rng import SAMPLE, generator
from charrnn.text import UNKNOWN, Ids, Vocabulary

_CHUNK = 64  # symbols drawn at once: text still comes as if it were written

Floats = np.ndarray[Any, np.dtype[np.float64]]


def probabilities(logits: Floats, config: SampleConfig) -> Floats:
    """The distribution that symbols are drawn from: logits [B, V] -> probabilities [B, V].

    The unknown symbol gets none unless ``config.unknown``. Temperature divides the logits; of
    what that gives, top-k keeps the k likeliest, top-p the likeliest that together reach p
    (Holtzman et al. 2020), min-p those at least ``min_p`` times as likely as the first (Nguyen et
    al. 2024).
    """
    logits = logits.astype(np.float64)
    if not config.unknown:
        logits[:, UNKNOWN] = -np.inf
    logits -= logits.max(axis=1, keepdims=True)
    with np.errstate(over="ignore"):  # the smallest temperatures: -inf, which is right
        p = np.exp(logits / config.temperature)
    p /= p.sum(axis=1, keepdims=True)
    if config.cuts:
        order = np.argsort(-p, axis=1, kind="stable")
        ranked = np.take_along_axis(p, order, axis=1)
        before = np.cumsum(ranked, axis=1) - ranked
        drop = (before >= config.top_p) | (ranked < config.min_p * ranked[:, :1])
        if config.top_k:
            drop[:, config.top_k :] = True
        np.put_along_axis(p, order, np.where(drop, 0, ranked), axis=1)
        p /= p.sum(axis=1, keepdims=True)
    return p


def pick(logits: Floats, config: SampleConfig, draws: Floats) -> Ids:
    """One id for each row: logits [B, V], draws [B] uniform in [0, 1) -> ids [B].

    ``sample_ids`` makes the draws, on the host, from the seed. The same draws give the same ids
    on every device, as long as the logits agree to rounding.
    """
    if config.temperature == 0:
        first = 0 if config.unknown else UNKNOWN + 1
        ids = logits[:, first:].argmax(axis=1) + first
    else:
        cumulative = np.cumsum(probabilities(logits, config), axis=1)
        # The inverse of the distribution; "<=" never takes a symbol of probability 0.
        ids = (cumulative <= draws[:, None] * cumulative[:, -1:]).sum(axis=1)
    return np.asarray(ids, dtype=np.int32)


def generate(window: Window, ids: Ids, draws: Floats, config: SampleConfig) -> Ids:
    """Read ids [B] and draw the next ones, n times: draws [n, B] -> ids [n, B].

    The window has one time step, and was made for the model's present parameters.
    """
    drawn = []
    for row in draws:
        ids = pick(window.backend.to_host(window.logits(ids[None])), config, row)
        drawn.append(ids)
    return np.stack(drawn)


def sample_ids(
    model: Model, context: Ids, config: SampleConfig, first: Ids | None = None
) -> Iterator[Ids]:
    """Draw ``config.length`` times the next id of each of ``config.count`` sequences.

    Gives ids [n, B], n symbols at a time. All start from ``context`` [N], N > 0; where given, the
    first symbol is one of ``first``. Every sequence has a generator of its own, derived from the
    seed and its number.
    """
    if not config.length:
        return
    reading = Reader(model).read(context)
    window = model.window(1, config.count)
    window.states, logits = reading.states, reading.logits
    if first is not None:
        allowed = np.full_like(logits, -np.inf)
        allowed[:, first] = logits[:, first]
        logits = allowed
    several = model.backend.kernel("generate", generate)
    generators = [generator(config.seed, SAMPLE, k) for k in range(config.count)]

    def draws(count: int) -> Floats:
        return np.stack([g.random(count) for g in generators], axis=1)

    ids = pick(np.repeat(logits, config.count, axis=0), config, draws(1)[0])
    yield ids[None]
    left = config.length - 1
    while left:
        rows = draws(min(left, _CHUNK))
        drawn = several(window, ids, rows, config)
        yield drawn
        ids = drawn[-1]
        left -= len(drawn)


def read_prompt(vocabulary: Vocabulary, prompt: str) -> tuple[Ids, str, Ids | None]:
    """A prompt as the ids of a context, what of it is left, and the ids that begin with that.

    It is read as if after a line break, or after the vocabulary's first symbol where it has no
    line break. The last are None where nothing is left.
    """
    ids, rest, begin = vocabulary.prompt(prompt)
    if not len(begin):
        ids, rest = vocabulary.encode(prompt), ""
    context = np.concatenate([[vocabulary.start], ids]).astype(np.int32)
    return context, rest, begin if rest else None


def sample_text(
    model: Model,
    vocabulary: Vocabulary,
    prompt: str,
    config: SampleConfig,
    stop: Sequence[str] = (),
) -> Iterator[list[str]]:
    """Pieces of text as they are drawn, one for each sequence at a time; without the prompt.

    A sequence ends before the first ``stop`` string that it draws; text that may turn out to be
    one is held back until that is certain. A prompt may end within a symbol: the first that is
    drawn completes it.
    """
    context, rest, first = read_prompt(vocabulary, prompt)
    last: list[int | str] = [prompt[: len(prompt) - len(rest)][-1:]] * config.count
    ends = [_StopScanner(stop) for _ in range(config.count)]
    for ids in sample_ids(model, context, config, first):
        pieces = [vocabulary.decode(row, before)[len(rest) :]
                  for row, before in zip(ids.T, last, strict=True)]  # fmt: skip
        rest, last = "", ids[-1].tolist()
        yield [end.feed(piece) for end, piece in zip(ends, pieces, strict=True)]
        if all(end.stopped for end in ends):
            return
    yield [end.flush() for end in ends]


class _StopScanner:
    """Passes text on, up to the first stop string in it."""

    def __init__(self, stop: Sequence[str]) -> None:
        self.stop = [s for s in stop if s]
        self.held = ""
        self.stopped = False

    def feed(self, piece: str) -> str:
        """The text that is now certain to come before a stop string."""
        if self.stopped:
            return ""
        self.held += piece
        found = [at for at in map(self.held.find, self.stop) if at >= 0]
        if found:
            self.stopped = True
            text, self.held = self.held[: min(found)], ""
            return text
        possible = max((self._overlap(s) for s in self.stop), default=0)
        cut = len(self.held) - possible
        text, self.held = self.held[:cut], self.held[cut:]
        return text

    def _overlap(self, stop: str) -> int:
        """The length of the longest end of what is held that begins ``stop``."""
        longest = min(len(stop) - 1, len(self.held))
        return next((n for n in range(longest, 0, -1) if self.held.endswith(stop[:n])), 0)

    def flush(self) -> str:
        """What was held back, at the end."""
        text, self.held = self.held, ""
        return text
