"""Figures of files: as the model is, and adapted to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from charrnn.adaptation import RATES, fit_temperature
from charrnn.api import LanguageModel
from charrnn.cli.console import json_line, say, write
from charrnn.cli.sources import Source, Sources
from charrnn.cli.tables import about, decimal, percent, print_table, sign
from charrnn.config import EvalConfig
from charrnn.errors import DataError
from charrnn.evaluation import Evaluator, Score

_COLUMNS: dict[str, Callable[[Score], str]] = {
    "tokens": lambda s: f"{s.tokens:,}",
    "unknown": lambda s: percent(s.unknown_rate, 2),
    "nats/token": lambda s: decimal(s.nats_per_token, 4),
    "bits/char": lambda s: decimal(s.bits_per_character, 4),
    "bits/byte": lambda s: decimal(s.bits_per_byte, 4),
    "perplexity": lambda s: decimal(s.perplexity, 2),
    "of known": lambda s: decimal(s.perplexity_known, 2),
    "top-1": lambda s: percent(s.accuracy[1]),
    "top-5": lambda s: percent(s.accuracy[5]),
}


@dataclass
class _Found:
    """The score of a file, and by the kind of adaptation what it would be then."""

    score: Score = field(default_factory=Score)
    adapted: dict[str, Score] = field(default_factory=dict)

    def __add__(self, other: _Found) -> _Found:
        adapted = {name: self.adapted.get(name, Score()) + s for name, s in other.adapted.items()}
        return _Found(self.score + other.score, adapted)

    def rows(self, name: str) -> list[tuple[str, Score]]:
        return [(name, self.score), *((f"  {kind}", s) for kind, s in self.adapted.items())]

    def to_dict(self) -> dict[str, Any]:
        adapted = {kind: score.to_dict() for kind, score in self.adapted.items()}
        return self.score.to_dict() | ({"adapted": adapted} if adapted else {})


def show_scores(
    lm: LanguageModel, config: EvalConfig, sources: Sources, *, as_json: bool, score_only: bool
) -> None:
    """All figures of each file, and of all together; or one number."""
    static = lm.evaluator(lines=config.by_line, lanes=config.lanes)
    head, adapted = _adapted(lm, config)
    if not as_json:
        _say_how(head)
    found: list[tuple[Source, _Found]] = []
    for source in sources:
        with sources.reported(source.name):
            again = {kind: source.again() for kind in adapted}  # first of all: stdin has none
            scores = _Found(static.score(source.pieces()))
            if not scores.score.tokens:
                raise DataError("text without symbols", source.name, "there is nothing to score")
            for kind, text in again.items():
                scores.adapted[kind] = adapted[kind].score(text.pieces())
            found.append((source, scores))
    total = sum((scores for _, scores in found), _Found())
    if as_json:
        rows = [{"file": s.name, "sha256": s.sha256, **scores.to_dict()} for s, scores in found]
        result = {**about(lm, config), **head, "files": rows, "total": total.to_dict()}
        write(json_line(result | {"errors": sources.failed}))
        return
    if found and score_only:
        write(f"{total.score.bits_per_byte:.6f}\n")
    elif found:
        named = [row for source, scores in found for row in scores.rows(source.name)]
        named += total.rows("all") * (len(found) > 1)
        rows_shown = ([name, *(show(score) for show in _COLUMNS.values())] for name, score in named)
        print_table(["file", *_COLUMNS], rows_shown)
    sign(lm, config)


def _adapted(lm: LanguageModel, config: EvalConfig) -> tuple[dict[str, Any], dict[str, Evaluator]]:
    """What is to be said of the kinds of adaptation, and what scores with each."""
    head: dict[str, Any] = {}
    evaluators = {}
    if config.temperature_fit:
        temperature = _fitted(lm, config.temperature_fit)
        head["temperature"] = {"value": temperature, "fitted_on": config.temperature_fit}
        evaluators["temperature"] = lm.scaled_evaluator(temperature)
    if config.dynamic:
        rate = config.dynamic_lr or RATES[lm.config.level]
        head["dynamic"] = {"lr": rate}
        evaluators["dynamic"] = lm.dynamic_evaluator(rate)
    return head, evaluators


def _say_how(head: dict[str, Any]) -> None:
    """What figures of adaptation must be quoted with."""
    if fit := head.get("temperature"):
        say(f"temperature {fit['value']:.3f}, fitted on {fit['fitted_on']}")
    if dynamic := head.get("dynamic"):
        say(f"dynamic evaluation, learning rate {dynamic['lr']:g}")


def _fitted(lm: LanguageModel, name: str) -> float:
    """The temperature that suits a file best."""
    source = Source(name, bar=False)
    text = list(source.pieces())
    return fit_temperature(lambda t: lm.scaled_evaluator(t).score(text).nats)
