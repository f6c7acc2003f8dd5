"""What happens in a training run, for code that displays, logs or scripts it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from charrnn.config import Budget, ModelConfig, TrainConfig


@dataclass(frozen=True)
class Prepared:
    """Before the first step: what is about to happen.

    ``memory`` in bytes; ``steps`` is None for a budget in minutes; ``options`` as they apply,
    ``origin`` is what made the run; ``resumed`` is the step that it goes on from, 0 if new.
    """

    run: str
    signature: str
    device: str
    model: ModelConfig
    train: TrainConfig
    budget: Budget
    chosen: dict[str, Any]
    corpus: dict[str, Any]
    steps: int | None
    parameters: int
    memory: int
    options: dict[str, Any]
    origin: dict[str, Any]
    resumed: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """Every ``LOG_EVERY`` steps, and before each validation.

    ``loss`` (nats) and ``grad_norm`` (before clipping) are the mean and the largest since the
    last such event; ``progress`` runs from 0 to 1.
    """

    step: int
    epoch: float
    progress: float
    loss: float
    grad_norm: float
    lr: float
    tokens_per_s: float
    elapsed_s: float
    remaining_s: float


@dataclass(frozen=True)
class Validated:
    """After a validation. ``best``: lower than all before."""

    step: int
    epoch: float
    nats: float
    bits_per_character: float
    perplexity: float
    best: bool
    elapsed_s: float


@dataclass(frozen=True)
class Sampled:
    """Text drawn after a validation, where it was asked for."""

    step: int
    text: str


@dataclass(frozen=True)
class Saved:
    """A checkpoint is safely on the disk."""

    step: int
    path: str
    sha256: str


@dataclass(frozen=True)
class NotSaved:
    """A checkpoint could not be written; the run goes on and tries again at the next."""

    step: int
    reason: str


@dataclass(frozen=True)
class Skipped:
    """A step without an update: its loss or its gradient was not finite."""

    step: int


@dataclass(frozen=True)
class RolledBack:
    """After too many of these: the run went from ``step`` back ``to`` a checkpoint's.

    ``rate_scale`` is what the learning rate is multiplied with from now on.
    """

    step: int
    to: int
    rate_scale: float


@dataclass(frozen=True)
class Stopped:
    """On request, before the budget was used up; ``path`` is the checkpoint to go on from."""

    run: str
    step: int
    path: str


@dataclass(frozen=True)
class Finished:
    """The budget is used up."""

    run: str
    signature: str
    step: int
    epoch: float
    nats: float
    bits_per_character: float
    best_nats: float
    best_bits_per_character: float
    best_step: int
    elapsed_s: float


Event = (
    Prepared
    | Step
    | Validated
    | Sampled
    | Saved
    | NotSaved
    | Skipped
    | RolledBack
    | Stopped
    | Finished
)


@dataclass
class Requests:
    """What is asked of a run while it trains; looked at after each step."""

    save: bool = False
    stop: bool = False
