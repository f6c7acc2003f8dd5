"""From what the user said and the size of the text to a complete configuration.

Small texts are soon known by heart, so they get small models, much dropout and many epochs;
large ones are limited by time and get few epochs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple, Self

from charrnn.config import Budget, Config, ModelConfig, TrainConfig
from charrnn.errors import UsageError


@dataclass(frozen=True)
class Options(Config):
    """The options of a training run; None: not given, so chosen from the others and the text.

    Names and meanings are those of ``ModelConfig``, ``TrainConfig`` and ``Budget``.
    """

    level: str | None = None
    vocab_size: int | None = None
    min_count: int | None = None
    pretokenized: bool | None = None
    cell: str | None = None
    activation: str | None = None
    layers: int | None = None
    hidden_size: int | None = None
    embed_size: int | None = None
    dropout: float | None = None
    tie: bool | None = None
    bidirectional: bool | None = None
    batch_size: int | None = None
    seq_len: int | None = None
    epochs: float | None = None
    steps: int | None = None
    minutes: float | None = None
    lr: float | None = None
    optimizer: str | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    schedule: str | None = None
    warmup: float | None = None
    clip: float | None = None
    init: str | None = None
    valid_fraction: float | None = None
    evals: int | None = None
    seed: int | None = None
    precision: str | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """As of ``Config``; of a run from before there was a choice of precision, too."""
        if isinstance(values, dict):
            values = {"precision": TrainConfig.precision} | values
        return super().from_dict(values)

    def __post_init__(self) -> None:
        """Raises ``UsageError`` for what makes no sense whatever the text: before it is read."""
        given = self.given()
        given.pop("tie", None)  # whether sizes fit it shows when all are known
        given.setdefault("weight_decay", 0.0)
        given.setdefault("vocab_size", 2)
        TrainConfig(**_part(TrainConfig, given))
        ModelConfig(**_part(ModelConfig, given))
        if self.min_count is not None and self.min_count < 1:
            raise UsageError("invalid value", f"--min-count {self.min_count}", "must be at least 1")
        if budget := _part(Budget, given):
            Budget(**budget)

    def given(self) -> dict[str, Any]:
        """Those that are not None."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def settled(self) -> Options:
        """With the defaults that do not depend on the text.

        Raises ``UsageError`` for options that would have no effect.
        """
        options = Options(**(_DEFAULTS | self.given()))
        for name in ("vocab_size", "min_count", "pretokenized"):
            if name in self.given() and options.level != "word":
                raise UsageError("option without effect", option(name), "it needs --level word")
        return options


_DEFAULTS: dict[str, Any] = {
    "level": ModelConfig.level,
    "cell": ModelConfig.cell,
    "activation": ModelConfig.activation,
    "bidirectional": ModelConfig.bidirectional,
    "schedule": TrainConfig.schedule,
    "warmup": TrainConfig.warmup,
    "init": TrainConfig.init,
    "valid_fraction": TrainConfig.valid_fraction,
    "evals": TrainConfig.evals,
    "seed": TrainConfig.seed,
    "precision": TrainConfig.precision,
}

_SHORT = {"hidden_size": "hidden", "embed_size": "embed"}


def option(name: str) -> str:
    """What an option is called in the shell."""
    return "--" + _SHORT.get(name, name).replace("_", "-")


def _part(kind: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """Those of ``values`` that are fields of ``kind``."""
    return {f.name: values[f.name] for f in fields(kind) if f.name in values}


class Recipe(NamedTuple):
    """Sizes that suit a text."""

    layers: int
    hidden_size: int
    dropout: float
    epochs: int
    batch_size: int
    seq_len: int


#: Recipes by the largest number of training symbols that they are for:
#: layers, hidden size, dropout, epochs, batch size, window.
_CHAR_RECIPES = (
    (5_000, Recipe(1, 64, 0.2, 60, 4, 32)),
    (50_000, Recipe(1, 128, 0.4, 50, 8, 64)),
    (300_000, Recipe(1, 512, 0.6, 40, 32, 64)),
    (3_000_000, Recipe(1, 512, 0.5, 24, 32, 64)),
    (30_000_000, Recipe(1, 512, 0.1, 4, 32, 64)),
)
_WORD_RECIPES = (
    (5_000, Recipe(1, 64, 0.4, 60, 4, 16)),
    (300_000, Recipe(1, 256, 0.6, 20, 16, 32)),
    (5_000_000, Recipe(2, 200, 0.2, 6, 20, 35)),
)
_RECIPES = {
    "char": (_CHAR_RECIPES, Recipe(2, 512, 0.0, 1, 64, 64)),
    "word": (_WORD_RECIPES, Recipe(2, 512, 0.1, 2, 64, 35)),
}

_MIN_SEQ_LEN = 16


class Descent(NamedTuple):
    """How to go down: by which optimiser unless another is given, and how far a step."""

    optimizer: str
    momentum: float
    clip: float
    rates: dict[str, float]


#: By level. Words learn better without Adam, which makes every step of a rare word's a large one.
_DESCENTS = {
    "char": Descent("adam", 0.9, 1.0, {"adam": 4e-3, "rmsprop": 2e-3, "sgd": 1.0}),
    "word": Descent("sgd", 0.0, 0.25, {"adam": 1e-3, "rmsprop": 1e-3, "sgd": 20.0}),
}
_PLAIN_RNN_RATE = 0.4  # it explodes at rates that gated cells tolerate


def recommend(
    symbols: int,
    batch_size: int | None = None,
    seq_len: int | None = None,
    level: str = ModelConfig.level,
) -> Recipe:
    """The recipe for a text with this many symbols to train on.

    Window and batch shrink, around what is given of them, where the text would not fill four.
    """
    recipes, largest = _RECIPES[level]
    recipe = next((r for limit, r in recipes if symbols <= limit), largest)
    room = symbols // (4 * (batch_size or 1))
    seq_len = seq_len or max(_MIN_SEQ_LEN, min(recipe.seq_len, room))
    batch_size = batch_size or max(1, min(recipe.batch_size, symbols // (4 * seq_len)))
    return recipe._replace(seq_len=seq_len, batch_size=batch_size)


class Resolved(NamedTuple):
    """A complete configuration, by name what was chosen in it, and the options that ask for it."""

    model: ModelConfig
    train: TrainConfig
    budget: Budget
    chosen: dict[str, Any]
    options: Options


def resolve(options: Options, symbols: int, vocab_size: int) -> Resolved:
    """Fill in what ``options`` leave open; raises ``UsageError`` for what makes no sense."""
    options = options.settled()
    values, given = asdict(options), options.given().keys()
    level = values["level"]
    recipe = recommend(symbols, options.batch_size, options.seq_len, level)._asdict()
    if given & {"epochs", "steps", "minutes"}:
        del recipe["epochs"]
    for name, value in recipe.items():
        if values[name] is None:
            values[name] = value
    if values["embed_size"] is None:
        values["embed_size"] = values["hidden_size"]
    if values["tie"] is None:  # of words, most parameters are in these two matrices
        values["tie"] = level == "word" and values["embed_size"] == values["hidden_size"]
    descent = _DESCENTS[level]
    for name in ("optimizer", "momentum", "clip"):
        if values[name] is None:
            values[name] = getattr(descent, name)
    if values["lr"] is None:
        rate = descent.rates[values["optimizer"]]
        values["lr"] = rate * (_PLAIN_RNN_RATE if options.cell == "rnn" else 1)
    adam = values["optimizer"] == "adam"
    if values["weight_decay"] is None:
        values["weight_decay"] = TrainConfig.weight_decay if adam else 0.0
    quiet = {"tie", "optimizer", "momentum", "clip"} if level == "char" else set()
    chosen = {n: v for n, v in values.items() if v is not None and n not in given | quiet}
    if options.bidirectional and values["seq_len"] < 2:
        raise UsageError("invalid value", "--seq-len 1", "--bidirectional needs at least 2")
    return Resolved(
        ModelConfig(**(_part(ModelConfig, values) | {"vocab_size": vocab_size})),
        TrainConfig(**_part(TrainConfig, values)),
        Budget(**_part(Budget, values)),
        chosen,
        Options(**values),
    )
