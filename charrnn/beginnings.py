"""How a run begins: new, where an earlier one stopped, or with the weights of another model."""

from __future__ import annotations

from typing import Any

from charrnn.checkpoint import Arrays, Checkpoint, cannot_resume
from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import DataError, UsageError
from charrnn.params import initial_values
from charrnn.recipe import Options, option
from charrnn.rng import INIT, generator
from charrnn.text import Vocabulary

_BUDGET = ("epochs", "steps", "minutes")
#: Options that a resumed run may have others of: how long it goes on, and how often it validates.
MAY_CHANGE = (*_BUDGET, "evals")
#: Options that weights of another model leave no choice of.
_ARCHITECTURE = (
    *("level", "cell", "activation", "layers", "hidden_size", "embed_size", "tie"),
    "bidirectional",
)


class Beginning:
    """A new run, with random weights.

    ``options`` as they apply, ``tokenizer`` is None where the text decides on it.
    """

    tokenizer: str | None = None
    checkpoint: Checkpoint | None = None
    """What the run goes on from."""

    def __init__(self, options: Options) -> None:
        self.options = options.settled()

    def vocabulary(self, found: Vocabulary) -> Vocabulary:
        """The vocabulary of the model, from that of the text."""
        return found

    def weights(self, config: ModelConfig, train: TrainConfig) -> Arrays:
        """Those of the first step."""
        return initial_values(config, train.init, generator(train.seed, INIT))

    def check(self, corpus: dict[str, Any]) -> None:
        """Raise ``DataError`` where the text is not what it must be."""

    def check_again(self, options: Options, logged: dict[str, Any]) -> None:
        """Raise ``UsageError`` where a run was begun otherwise, and ended before a checkpoint.

        ``logged`` is what its log says of the beginning.
        """
        if logged.get("event") != "prepared":
            return
        then = {**_dictionary(logged, "options"), **_dictionary(logged, "origin")}
        now = dict.fromkeys(("init_from", "options")) | options.to_dict() | self.origin
        odd = [n for n, value in now.items() if n not in MAY_CHANGE and then.get(n) != value]
        if odd:
            remedy = f"it began with {then.get(odd[0])}, and there is no checkpoint that tells more"
            raise UsageError("option that is not the run's", option(odd[0]), remedy)

    @property
    def notes(self) -> list[str]:
        """What one would want to know of it."""
        return []

    @property
    def origin(self) -> dict[str, Any]:
        """What the checkpoints say of it."""
        return {}


class Resumed(Beginning):
    """A run that goes on where a checkpoint of it was made, on the same text.

    Raises ``UsageError`` for options other than the run's, but for those that ``MAY_CHANGE``, and
    ``DataError`` for a checkpoint that does not tell what they were.
    """

    def __init__(self, options: Options, checkpoint: Checkpoint) -> None:
        before = _options_of(checkpoint)
        given = options.given()
        for name, value in given.items():
            if name not in MAY_CHANGE and value != getattr(before, name):
                had = getattr(before, name)
                remedy = f"it has {option(name)} {had}" if had is not None else "it has its default"
                raise UsageError("option that a run cannot change", option(name), remedy)
        values = before.given()
        if any(name in given for name in _BUDGET):
            values = {name: value for name, value in values.items() if name not in _BUDGET}
        super().__init__(Options(**(values | given)))
        self.checkpoint, self.tokenizer = checkpoint, _tokenizer(checkpoint)

    def vocabulary(self, found: Vocabulary) -> Vocabulary:
        return self._from.vocabulary

    @property
    def _from(self) -> Checkpoint:
        assert self.checkpoint is not None
        return self.checkpoint

    def check(self, corpus: dict[str, Any]) -> None:
        then, held_out = self._from.corpus, _dictionary(self._from.corpus, "valid")
        _check_text("text", then, corpus, "for another text use --init-from")
        _check_text(
            "validation text", held_out, _dictionary(corpus, "valid"), "say --valid as before"
        )

    @property
    def origin(self) -> dict[str, Any]:
        return {"resumed_from": self._from.sha256}


class FineTuned(Beginning):
    """A new run with the weights of a checkpoint, and its vocabulary and what the text adds to it.

    Raises ``UsageError`` for options of the architecture that are not the checkpoint's.
    """

    def __init__(self, options: Options, source: Checkpoint) -> None:
        model, given = source.config.to_dict(), options.given()
        for name in _ARCHITECTURE:
            if given.get(name, model[name]) != model[name]:
                remedy = f"the model of --init-from has {option(name)} {model[name]}"
                raise UsageError("option that is the model's", option(name), remedy)
        self.source, self.tokenizer = source, _tokenizer(source)
        fixed = {name: model[name] for name in _ARCHITECTURE}
        super().__init__(Options(**({"dropout": model["dropout"]} | given | fixed)))
        self.added: tuple[str, ...] = ()

    def vocabulary(self, found: Vocabulary) -> Vocabulary:
        whole = self.source.vocabulary.extended(found.symbols)
        self.added = whole.symbols[len(self.source.vocabulary.symbols) :]
        return whole

    def weights(self, config: ModelConfig, train: TrainConfig) -> Arrays:
        """Symbols keep their ids, so that what is new comes last in every array."""
        values = super().weights(config, train)
        for name, value in self.source.weights.items():
            values[name][: len(value)] = value
        return values

    @property
    def notes(self) -> list[str]:
        some = " ".join(map(repr, self.added[:10])) + (" ..." if len(self.added) > 10 else "")
        return [f"{len(self.added):,} symbols are new to the model" + (f": {some}" if some else "")]

    @property
    def origin(self) -> dict[str, Any]:
        return {"init_from": self.source.sha256}


def _check_text(what: str, then: dict[str, Any], now: dict[str, Any], remedy: str) -> None:
    if then.get("sha256") != now.get("sha256"):
        was, given = (
            ", ".join(map(str, found.get("sources", []))) or "the end of the text"
            for found in (then, now)
        )
        raise DataError(f"{what} is not the run's", given, f"it was: {was}; {remedy}")


def _tokenizer(checkpoint: Checkpoint) -> str | None:
    """The one of words."""
    name = checkpoint.vocabulary.tokenizer
    return None if name == "char" else name


def _dictionary(document: dict[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _options_of(checkpoint: Checkpoint) -> Options:
    try:
        return Options.from_dict(checkpoint.training["options"])
    except (KeyError, UsageError) as error:
        raise cannot_resume(f"its options: {error}") from None
