"""Lines and tokens, one record each, as they are read."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from charrnn.api import LanguageModel
from charrnn.cli.console import json_line, write
from charrnn.cli.sources import Source, Sources, hypotheses
from charrnn.cli.tables import AT_ONCE, about, sign
from charrnn.config import EvalConfig
from charrnn.evaluation import Judged, Line, by_line

#: Figures of a line.
_OF_LINES = ("tokens", "unknown", "nats", "bits_per_byte", "bits_per_byte_spelled", "perplexity")


def show_lines(lm: LanguageModel, config: EvalConfig, sources: Sources) -> None:
    """A JSON object a line."""
    write(json_line({"record": "model", **about(lm, config)}))
    evaluator = lm.evaluator(lines=config.by_line)

    def judged() -> Iterator[tuple[Source, Line]]:
        for source in sources:
            with sources.reported(source.name):
                for line in by_line(evaluator.judged(source.pieces())):
                    yield source, line

    for source, line in _ordered(judged(), config, lambda f: f[1].score.bits_per_byte_spelled):
        figures = line.score.to_dict()
        record = {
            "record": "line",
            "file": source.name,
            "line": line.number,
            "offset": source.start + line.offset,
            "text": line.text.removesuffix("\n"),
            **{key: figures[key] for key in _OF_LINES},
        }
        write(json_line(record))


def show_tokens(lm: LanguageModel, config: EvalConfig, sources: Sources) -> None:
    """A JSON object a token."""
    write(json_line({"record": "model", **about(lm, config)}))
    evaluator = lm.evaluator(lines=config.by_line, alternatives=config.alternatives)
    for source in sources:
        with sources.reported(source.name):
            for judged in evaluator.judged(source.pieces()):
                for part in judged.parts(AT_ONCE):
                    records = _of_tokens(source, part, lm.vocabulary.tokens)
                    write("".join(map(json_line, records)))


def _of_tokens(source: Source, judged: Judged, symbols: list[str]) -> Iterator[dict[str, Any]]:
    segment, verdicts = judged
    offsets = (source.start + segment.byte_ends - segment.bytes).tolist()
    known = segment.known.tolist()
    nats, ranks, entropies, others, p = (
        getattr(verdicts, field).tolist() for field in ("nats", "ranks", "entropies", "others", "p")
    )
    for n, offset in enumerate(offsets):
        yield {
            "record": "token",
            "file": source.name,
            "offset": offset,
            "text": segment.symbol(n),
            "known": known[n],
            "logprob": -nats[n],
            "rank": ranks[n],
            "entropy": entropies[n],
            "alternatives": [
                {"text": symbols[other], "p": q} for other, q in zip(others[n], p[n], strict=True)
            ],
        }


def show_hypotheses(lm: LanguageModel, config: EvalConfig, sources: Sources) -> None:
    """ID, log-probability in nats and text, between tabs."""
    evaluator = lm.evaluator(lines=True)

    def judged() -> Iterator[tuple[str, float, str]]:
        for source in sources:
            names: deque[str] = deque()
            with sources.reported(source.name):
                for found in evaluator.judged(hypotheses(source, names)):
                    text = found.segment.text.removesuffix("\n")
                    yield names.popleft(), float(found.verdicts.nats.sum()), text

    for name, nats, text in _ordered(judged(), config, lambda f: f[1]):
        write(f"{name}\t{-nats:.6f}\t{text}\n")
    sign(lm, config)


def _ordered(
    found: Iterable[Any], config: EvalConfig, key: Callable[[Any], float]
) -> Iterable[Any]:
    """As they come, or those with the largest or smallest key first; as many as are wanted."""
    if config.sort == "text":
        return itertools.islice(found, config.top or None)
    if config.top:
        first = heapq.nlargest if config.sort == "surprisal" else heapq.nsmallest
        return first(config.top, found, key=key)
    return sorted(found, key=key, reverse=config.sort == "surprisal")
