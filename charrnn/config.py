"""What a model is, how it is trained and how it is sampled: validated once, here.

Each class raises ``UsageError`` for a value outside its range, naming the option.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from charrnn.errors import UsageError

CELL_KINDS = ("lstm", "gru", "rnn")
ACTIVATIONS = ("tanh", "relu", "sigmoid")
LEVELS = ("char", "word")
INITS = ("orthogonal", "uniform")
OPTIMIZER_NAMES = ("adam", "rmsprop", "sgd")
SCHEDULES = ("cosine", "constant")
PRECISIONS = ("fp32", "tf32", "bf16")
MODES = ("auto", "next", "prefix")
PER = ("file", "line", "token")
RESETS = ("file", "line")
ORDERS = ("text", "surprisal", "score")

#: Sizes beyond these are mistakes, not models; what fits into memory is checked separately.
MAX_SIZE = 65_536
MAX_LAYERS = 64


def _require(condition: bool, option: str, value: object, remedy: str) -> None:
    if not condition:
        raise UsageError("invalid value", f"{option} {value}", remedy)


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> None:
    _require(value in choices, option, value, "choose from " + ", ".join(choices))


def _between(option: str, value: float, low: float, high: float) -> None:
    ends = [str(end) if isinstance(end, int) else f"{end:g}" for end in (low, high)]
    _require(low <= value <= high, option, value, "must be from " + " to ".join(ends))


class Config:
    """Shared by all configurations: to and from plain dictionaries."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """From exactly these fields; raises ``UsageError`` for others and for wrong types."""
        if not isinstance(values, dict):
            raise UsageError("configuration that is not a dictionary", repr(values))
        known = {f.name: f.type for f in fields(cls)}  # type: ignore[arg-type]
        if set(values) != set(known):
            odd = ", ".join(sorted(set(values) ^ set(known)))
            raise UsageError("configuration with unknown or missing fields", odd)
        for name, value in values.items():
            if not _matches(value, str(known[name])):
                raise UsageError("configuration field of the wrong type", f"{name}={value!r}")
        return cls(**values)


def _matches(value: object, annotation: str) -> bool:
    """Whether a JSON value fits an annotation such as ``int`` or ``float | None``."""
    allowed = {part.strip() for part in annotation.split("|")}
    if isinstance(value, int) and not isinstance(value, bool) and "float" in allowed:
        return True
    return type(value).__name__ in allowed or (value is None and "None" in allowed)


@dataclass(frozen=True)
class ModelConfig(Config):
    """The architecture. ``vocab_size`` counts the reserved unknown symbol.

    ``bidirectional``: a second stack of layers reads from the right, to fill blanks.
    """

    vocab_size: int
    level: str = "char"
    cell: str = "lstm"
    activation: str = "tanh"
    layers: int = 1
    hidden_size: int = 128
    embed_size: int = 128
    dropout: float = 0.0
    tie: bool = False
    bidirectional: bool = False

    def __post_init__(self) -> None:
        _one_of("--level", self.level, LEVELS)
        _one_of("--cell", self.cell, CELL_KINDS)
        _one_of("--activation", self.activation, ACTIVATIONS)
        _require(
            self.cell == "rnn" or self.activation == "tanh",
            "--activation",
            self.activation,
            "only --cell rnn has a choice of activation",
        )
        _between("--layers", self.layers, 1, MAX_LAYERS)
        _between("--hidden", self.hidden_size, 1, MAX_SIZE)
        _between("--embed", self.embed_size, 1, MAX_SIZE)
        _between("--vocab-size", self.vocab_size, 2, 2**21)
        _require(0 <= self.dropout < 1, "--dropout", self.dropout, "must be at least 0 and below 1")
        _require(
            not self.tie or self.embed_size == self.hidden_size,
            "--tie with --embed",
            self.embed_size,
            "tied embeddings need --embed equal to --hidden",
        )

    @property
    def cell_name(self) -> str:
        """Key into ``charrnn.cells.CELLS``: the plain RNN has one cell for each activation."""
        return f"rnn_{self.activation}" if self.cell == "rnn" else self.cell


@dataclass(frozen=True)
class Budget(Config):
    """How long to train: exactly one of the three is given."""

    epochs: float | None = None
    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        given = [v for v in (self.epochs, self.steps, self.minutes) if v is not None]
        _require(
            len(given) == 1, "budget", self.describe(), "give one of --epochs, --steps, --minutes"
        )
        _require(
            0 < given[0] <= 1e9, "budget", self.describe(), "must be greater than 0 and at most 1e9"
        )

    def describe(self) -> str:
        """For people: ``8 minutes``."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        numbers = {n: str(v) if isinstance(v, int) else f"{v:g}" for n, v in given.items()}
        return " and ".join(f"{value} {name}" for name, value in numbers.items()) or "none"


@dataclass(frozen=True)
class TrainConfig(Config):
    """The training recipe, apart from its budget.

    ``batch_size`` is the number of lanes that the text is cut into, ``seq_len`` the time steps
    of a window of truncated backpropagation through time.
    ``warmup`` is the share of the budget in which the learning rate rises linearly;
    ``clip`` is the largest norm of the gradient, 0 for any. ``evals`` is the number of
    validations, spread evenly over the budget. ``precision`` is what the factors of matrix products
    are rounded to; weights and sums are in fp32 always.
    """

    batch_size: int = 32
    seq_len: int = 64
    lr: float = 4e-3
    optimizer: str = "adam"
    momentum: float = 0.9
    weight_decay: float = 0.01
    schedule: str = "cosine"
    warmup: float = 0.02
    clip: float = 1.0
    init: str = "orthogonal"
    valid_fraction: float = 0.1
    evals: int = 10
    seed: int = 0
    precision: str = "fp32"

    def __post_init__(self) -> None:
        _between("--batch-size", self.batch_size, 1, MAX_SIZE)
        _between("--seq-len", self.seq_len, 1, MAX_SIZE)
        _require(0 < self.lr <= 100, "--lr", self.lr, "must be greater than 0 and at most 100")
        _one_of("--optimizer", self.optimizer, OPTIMIZER_NAMES)
        _require(0 <= self.momentum < 1, "--momentum", self.momentum, "must be from 0 to below 1")
        _between("--weight-decay", self.weight_decay, 0, 1)
        _require(
            self.lr * self.weight_decay < 1,
            "--weight-decay",
            self.weight_decay,
            "times --lr must be below 1, or weights change their sign",
        )
        _one_of("--schedule", self.schedule, SCHEDULES)
        _require(0 <= self.warmup < 1, "--warmup", self.warmup, "must be from 0 to below 1")
        _between("--clip", self.clip, 0, 1e9)
        _one_of("--init", self.init, INITS)
        _require(
            0 < self.valid_fraction <= 0.5,
            "--valid-fraction",
            self.valid_fraction,
            "must be greater than 0 and at most 0.5",
        )
        _between("--evals", self.evals, 1, 10_000)
        _between("--seed", self.seed, 0, 2**63 - 1)
        _one_of("--precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class SampleConfig(Config):
    """How symbols are drawn. ``temperature`` 0 is argmax; ``top_k`` 0 and ``top_p`` 1 are off.

    ``unknown``: the unknown symbol may be drawn too.
    """

    length: int = 500
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    count: int = 1
    unknown: bool = False

    def __post_init__(self) -> None:
        _between("--length", self.length, 0, 2**40)
        _between("--temperature", self.temperature, 0, 1000)
        _between("--top-k", self.top_k, 0, 2**31)
        _require(0 < self.top_p <= 1, "--top-p", self.top_p, "must be greater than 0 and at most 1")
        _between("--min-p", self.min_p, 0, 1)
        _between("--seed", self.seed, 0, 2**63 - 1)
        _between("--count", self.count, 1, 4096)

    @property
    def cuts(self) -> bool:
        """Whether symbols that are not likely enough are never drawn."""
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0


@dataclass(frozen=True)
class CompleteConfig(Config):
    """How many words complete a text, each at least how probable.

    ``mode``: what a last word without a space behind it is: "next", whole; "prefix", the beginning
    of one; "auto", either. ``cache``: the weight of words that the text has already.
    """

    n: int = 5
    mode: str = "auto"
    min_p: float = 0.0
    cache: float = 0.0

    def __post_init__(self) -> None:
        _between("-n", self.n, 1, 1000)
        _one_of("mode", self.mode, MODES)
        _between("--min-p", self.min_p, 0, 1)
        _between("--cache", self.cache, 0, 1)


@dataclass(frozen=True)
class EvalConfig(Config):
    """How texts are scored and what is shown of each.

    ``reset``: where the state starts from zero. ``lanes``: parts of a text that are read side by
    side. ``nbest``, lines that are an ID and a text, are reset as lines are. ``sort`` and ``top``
    are of lines, ``alternatives`` of tokens. Figures of files are also given as they would be with
    a temperature that is fitted on the file ``temperature_fit``, and if the model learned from the
    text after it was scored, ``dynamic``, at a rate ``dynamic_lr`` or, if 0, one of its own.
    ``cache`` is that of ``CompleteConfig``.
    """

    per: str = "file"
    nbest: bool = False
    reset: str = "file"
    lanes: int = 1
    sort: str = "text"
    top: int = 0
    alternatives: int = 3
    temperature_fit: str = ""
    dynamic: bool = False
    dynamic_lr: float = 0.0
    cache: float = 0.0

    def __post_init__(self) -> None:
        _one_of("--per", self.per, PER)
        _one_of("--reset", self.reset, RESETS)
        _one_of("--sort", self.sort, ORDERS)
        _between("--lanes", self.lanes, 1, 4096)
        _between("--top", self.top, 0, 2**31)
        _between("--alternatives", self.alternatives, 1, 1000)
        _between("--dynamic-lr", self.dynamic_lr, 0, 100)
        _between("--cache", self.cache, 0, 1)
        whole = self.whole_files and self.reset == "file"
        _require(whole or self.lanes == 1, "--lanes", self.lanes, "only whole files are cut")
        plain = whole and self.lanes == 1
        adapts = {"--dynamic": self.dynamic, "--temperature-fit": self.temperature_fit != ""}
        for option, given in adapts.items():
            if given and not plain:
                raise UsageError("invalid value", option, "it is of whole files, read in one lane")
        rated = self.dynamic or not self.dynamic_lr
        _require(rated, "--dynamic-lr", self.dynamic_lr, "it needs --dynamic")
        listed, lines = self.per == "line" or self.nbest, "it needs --per line or --nbest"
        _require(listed or self.sort == "text", "--sort", self.sort, lines)
        _require(listed or not self.top, "--top", self.top, lines)
        shown = self.per == "token" or self.alternatives == EvalConfig.alternatives
        _require(shown, "--alternatives", self.alternatives, "it needs --per token")

    @property
    def whole_files(self) -> bool:
        """Whether figures are of files, not of what is in them."""
        return self.per == "file" and not self.nbest

    @property
    def by_line(self) -> bool:
        """Whether each line is read from a zero state."""
        return self.nbest or self.reset == "line"
