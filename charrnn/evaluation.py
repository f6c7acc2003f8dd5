"""From losses to figures. Natural logarithms inside."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np

from charrnn import __version__
from charrnn.config import ModelConfig
from charrnn.errors import CharrnnError
from charrnn.model import Model
from charrnn.scoring import Lanes, Lines, LongText, TextReader
from charrnn.text import UNKNOWN, Ids, Vocabulary
from charrnn.text import segments as cut
from charrnn.text.segments import Segment
from charrnn.text.tokens import Tokenizer
from charrnn.text.vocabulary import code_points
from charrnn.verdicts import Verdicts

#: Ranks up to which a symbol counts as foreseen.
RANKS = (1, 3, 5)

_BINS = 10  # of the probabilities whose calibration is looked at
_AHEAD = 1024  # lines among which those of like length are put side by side

Counts = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, eq=False)
class Score:
    """The cross-entropy of a text, and what else was counted; scores of parts add up.

    ``nats`` in total over ``tokens`` that were predicted. ``unknown`` of these are outside the
    vocabulary; they are scored as the unknown symbol, with ``unknown_nats``, but no letter of
    theirs is among the ``characters`` and ``bytes``, since none was predicted. ``spelling`` is
    what spelling them out would cost beside that, in nats, and ``text_bytes`` are all there are.
    ``hits`` [3] count the tokens among the first of ``RANKS``. ``bins`` [3, 10] count, by the
    probability of the likeliest symbol, tokens, the sum of these probabilities, and how often that
    symbol came.
    """

    nats: float = 0.0
    tokens: int = 0
    unknown: int = 0
    characters: int = 0
    bytes: int = 0
    unknown_nats: float = 0.0
    spelling: float = 0.0
    text_bytes: int = 0
    hits: Counts | float = 0.0
    bins: Counts | float = 0.0

    @classmethod
    def of_text(cls, segment: Segment) -> Self:
        """What does not depend on a model's verdicts."""
        known, sizes = segment.known, segment.bytes
        # Each byte as one of 256, and an end: any text could be spelled so. What is written as
        # the unknown symbol is no more than that.
        spelled = [int(sizes[n]) + 1 for n in np.flatnonzero(~known).tolist()
                   if segment.symbol(n).strip() != Tokenizer.unknown]  # fmt: skip
        return cls(
            tokens=len(known),
            unknown=int((~known).sum()),
            characters=int(segment.characters[known].sum()),
            bytes=int(sizes[known].sum()),
            spelling=math.log(256) * sum(spelled),
            text_bytes=int(sizes.sum()),
        )

    @classmethod
    def of_verdicts(cls, ids: Ids, verdicts: Verdicts) -> Self:
        """What depends on them alone; tokens are not counted."""
        first = verdicts.ranks == 1
        bins = np.minimum((verdicts.top * _BINS).astype(int), _BINS - 1)
        counted = [np.bincount(bins, weights, _BINS) for weights in (None, verdicts.top, first)]
        return cls(
            nats=float(verdicts.nats.sum()),
            unknown_nats=float(verdicts.nats[ids == UNKNOWN].sum()),
            hits=np.array([(verdicts.ranks <= k).sum() for k in RANKS], float),
            bins=np.array(counted, float),
        )

    @classmethod
    def of(cls, judged: Judged) -> Self:
        """Of a part of a text."""
        return cls.of_text(judged.segment) + cls.of_verdicts(judged.segment.ids, judged.verdicts)

    def __add__(self, other: Score) -> Self:
        names = [field.name for field in fields(self)]
        return type(self)(**{name: getattr(self, name) + getattr(other, name) for name in names})

    @property
    def nats_per_token(self) -> float:
        return _ratio(self.nats, self.tokens)

    @property
    def bits_per_token(self) -> float:
        return self.nats_per_token / math.log(2)

    @property
    def bits_per_character(self) -> float:
        return _ratio(self.nats, self.characters) / math.log(2)

    @property
    def bits_per_byte(self) -> float:
        return _ratio(self.nats, self.bytes) / math.log(2)

    @property
    def bits_per_byte_spelled(self) -> float:
        """Of all bytes of the text: models of different vocabularies compare in this."""
        return _ratio(self.nats + self.spelling, self.text_bytes) / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp of the nats per token."""
        return _exp(self.nats_per_token)

    @property
    def perplexity_known(self) -> float:
        """exp of the nats per token of those that are in the vocabulary."""
        return _exp(_ratio(self.nats - self.unknown_nats, self.tokens - self.unknown))

    @property
    def unknown_rate(self) -> float:
        """The share of tokens that are outside the vocabulary."""
        return _ratio(self.unknown, self.tokens)

    @property
    def accuracy(self) -> dict[int, float]:
        """The share of tokens among the first of ``RANKS``."""
        hits = np.broadcast_to(self.hits, len(RANKS)).tolist()
        return {k: _ratio(n, self.tokens) for k, n in zip(RANKS, hits, strict=True)}

    @property
    def reliability(self) -> list[tuple[float, float, int, float, float]]:
        """For each bin that has any: from, to, tokens, mean probability, share that was right."""
        return [
            (n / _BINS, (n + 1) / _BINS, int(count), top / count, right / count)
            for n, (count, top, right) in enumerate(np.broadcast_to(self.bins, (3, _BINS)).T)
            if count
        ]

    @property
    def calibration_error(self) -> float:
        """The expected calibration error of the likeliest symbol (Guo et al. 2017)."""
        errors = [count * abs(top - right) for *_, count, top, right in self.reliability]
        return _ratio(sum(errors), self.tokens)

    def to_dict(self) -> dict[str, Any]:
        """All figures, by the names that ``charrnn eval --json`` gives them."""
        names = (
            *("tokens", "unknown", "unknown_rate", "characters", "bytes", "text_bytes", "nats"),
            *("nats_per_token", "bits_per_token", "bits_per_character", "bits_per_byte"),
            *("bits_per_byte_spelled", "perplexity", "perplexity_known", "calibration_error"),
        )
        columns = ("from", "to", "tokens", "probability", "right")
        return {name: _finite(getattr(self, name)) for name in names} | {
            "accuracy": {str(k): _finite(share) for k, share in self.accuracy.items()},
            "reliability": [dict(zip(columns, row, strict=True)) for row in self.reliability],
        }


def _ratio(a: float, b: float) -> float:
    """Not a number where there is nothing to divide by."""
    return a / b if b else math.nan


def _exp(x: float) -> float:
    return math.inf if x > 700 else math.exp(x)


def _finite(x: float) -> float | None:
    """None for what JSON has no number for."""
    return x if math.isfinite(x) else None


def signature(config: ModelConfig, vocabulary: Vocabulary, how: str) -> str:
    """What a figure must be quoted with; ``how`` is what was scored and in which way."""
    level = config.level
    if level == "word":
        level += f"|tokenizer:{vocabulary.tokenizer}|vocab:{config.vocab_size}"
    cell = config.cell + (f"|activation:{config.activation}" if config.cell == "rnn" else "")
    ways = "|bidirectional" if config.bidirectional else ""
    return (
        f"cell:{cell}|layers:{config.layers}|hidden:{config.hidden_size}{ways}|level:{level}"
        f"|{how}|v:{__version__}"
    )


class Judged(NamedTuple):
    """A part of a text and what a model makes of it."""

    segment: Segment
    verdicts: Verdicts

    def parts(self, size: int) -> Iterator[Judged]:
        """In pieces of so many symbols."""
        count = len(self.segment.ids)
        for at in range(0, count, size):
            end = min(at + size, count)
            yield Judged(self.segment.part(at, end), self.verdicts.part(slice(at, end)))


class Evaluator:
    """Scores texts of any length, one after the other, each from a zero state."""

    def __init__(
        self,
        model: Model,
        vocabulary: Vocabulary,
        *,
        lines: bool = False,
        lanes: int = 1,
        alternatives: int = 0,
        reader: TextReader | None = None,
    ) -> None:
        """``lines``: from a zero state in every line. ``alternatives``: see ``verdicts.judge``.

        ``lanes`` > 1: only in ``score``, a text is cut into as many parts of the same length.
        ``reader``: what reads texts, if neither.
        """
        self.model, self.vocabulary = model, vocabulary
        self.lanes = Lanes(model, lanes) if lanes > 1 else None
        self.lines = Lines(model, alternatives) if lines else None
        if reader is None and not lines and lanes == 1:
            reader = LongText(model, alternatives)
        self.long = reader

    def judged(self, pieces: Iterable[str]) -> Iterator[Judged]:
        """A text that comes in pieces, in parts, in order."""
        if self.long:
            parts = cut.segments(pieces, self.vocabulary)
            yield from itertools.starmap(Judged, self.long.verdicts(parts, self.vocabulary.start))
            return
        assert self.lines
        lines = cut.lines(pieces, self.vocabulary)
        failure: CharrnnError | None = None
        while failure is None:
            batch: list[Segment] = []
            try:
                for line in itertools.islice(lines, _AHEAD):
                    batch.append(line)  # what came before an error is scored too
            except CharrnnError as error:
                failure = error
            if not batch:
                break
            verdicts = self.lines.verdicts([line.ids for line in batch], self.vocabulary.start)
            yield from map(Judged, batch, verdicts)
        if failure:  # only once what came before is scored
            raise failure

    def score(self, pieces: Iterable[str]) -> Score:
        """All of a text."""
        if not self.lanes:
            return sum(map(Score.of, self.judged(pieces)), Score())
        self.lanes.forget()  # what is left of a text that broke off
        total = Score()
        for segment in cut.segments(pieces, self.vocabulary):
            total += Score.of_text(segment)
            self.lanes.append(segment.ids)
        verdicts = self.lanes.verdicts(self.vocabulary.start)
        return sum(itertools.starmap(Score.of_verdicts, verdicts), total)


class Line(NamedTuple):
    """A line of a text: its number, from 1, where it begins, in bytes, its text and its score."""

    number: int
    offset: int
    text: str
    score: Score


def by_line(parts: Iterable[Judged]) -> Iterator[Line]:
    """Judged parts of a text, regrouped; a line has its line break, and is scored with it."""
    number, offset, text, score = 1, 0, "", Score()
    for judged in parts:
        segment = judged.segment
        start = 0
        for stop in [*_ends_of_lines(segment), len(segment.ids)]:
            if stop > start:
                part = segment.part(start, stop)
                score += Score.of(Judged(part, judged.verdicts.part(slice(start, stop))))
                text += part.text
                start = stop
            if text.endswith("\n"):
                yield Line(number, offset, text, score)
                number, offset = number + 1, int(part.byte_ends[-1])
                text, score = "", Score()
    if text:
        yield Line(number, offset, text, score)


def _ends_of_lines(segment: Segment) -> list[int]:
    """Behind which symbols a line ends."""
    breaks = np.flatnonzero(code_points(segment.text) == ord("\n"))
    found: list[int] = (np.searchsorted(segment.ends, breaks + 1) + 1).tolist()
    return found
