"""A trained model in Python: sampling, completing and scoring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn.backend import select_backend
from charrnn.checkpoint import Checkpoint
from charrnn.config import CompleteConfig, ModelConfig, SampleConfig
from charrnn.errors import DataError
from charrnn.model import Model
from charrnn.runs import load_model
from charrnn.sampling import read_prompt, sample_text

if TYPE_CHECKING:
    from charrnn.completion import Completer, Completion
    from charrnn.evaluation import Evaluator, Score


class LanguageModel:
    """What ``charrnn.load`` gives.

    Every text is read as if after a line break, or after the vocabulary's first symbol where it
    has no line break.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "auto",
        announce: Callable[[str], None] = lambda message: None,
    ) -> None:
        """``announce`` is told when kernels have to be compiled, which takes a second."""
        self.checkpoint = checkpoint
        self.vocabulary = checkpoint.vocabulary
        backend, self.note = select_backend(device, announce=announce)
        self.model = Model(checkpoint.config, backend, checkpoint.weights)
        self._completers: dict[float, Completer] = {}

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        device: str = "auto",
        announce: Callable[[str], None] = lambda message: None,
    ) -> LanguageModel:
        """See ``charrnn.load``."""
        _, checkpoint = load_model(None if path is None else Path(path), announce)
        return cls(checkpoint, device, announce)

    @property
    def config(self) -> ModelConfig:
        """The architecture."""
        return self.checkpoint.config

    def completer(self, cache: float = CompleteConfig.cache) -> Completer:
        """Completes texts, and remembers what it has read of the last ones.

        See ``charrnn.completion.Completer``; the same each time for a ``cache``.
        """
        from charrnn.completion import Completer

        if cache not in self._completers:
            self._completers[cache] = Completer(self.model, self.vocabulary, cache)
        return self._completers[cache]

    def complete(
        self,
        text: str,
        n: int = CompleteConfig.n,
        *,
        mode: str = CompleteConfig.mode,
        min_p: float = CompleteConfig.min_p,
        cache: float = CompleteConfig.cache,
    ) -> Completion:
        """The n likeliest words that complete ``text``, as ``charrnn complete`` finds them.

        See ``charrnn.completion.Completer``.
        """
        return self.completer(cache).complete(text, n, mode=mode, min_p=min_p)

    def sample(
        self,
        prompt: str = "",
        *,
        length: int = SampleConfig.length,
        temperature: float = SampleConfig.temperature,
        top_k: int = SampleConfig.top_k,
        top_p: float = SampleConfig.top_p,
        min_p: float = SampleConfig.min_p,
        seed: int = 0,
        stop: str | Sequence[str] = (),
    ) -> str:
        """Text that continues ``prompt``, as ``charrnn sample`` draws it; same seed, same text.

        Ends before the first ``stop`` string; ``length`` counts symbols. Raises ``DataError`` for a
        prompt with characters outside the vocabulary (unknown words are read as such),
        ``UsageError`` for values out of range.
        """
        self.check_prompt(prompt)
        config = SampleConfig(length, temperature, top_k, top_p, min_p, seed)
        stops = [stop] if isinstance(stop, str) else stop
        pieces = sample_text(self.model, self.vocabulary, prompt, config, stops)
        return "".join(piece for [piece] in pieces)

    def unknown_symbols(self, prompt: str) -> list[str]:
        """Those of a prompt outside the vocabulary, but for a last word that is still growing."""
        _, rest, _ = read_prompt(self.vocabulary, prompt)
        return self.vocabulary.unknown_symbols(prompt[: len(prompt) - len(rest)])

    def without_unknown(self, prompt: str) -> str:
        """A prompt without these."""
        _, rest, _ = read_prompt(self.vocabulary, prompt)
        return self.vocabulary.without_unknown(prompt, growing=rest != "")

    def check_prompt(self, prompt: str) -> None:
        """Raise ``DataError`` where ``prompt`` has characters that the model does not know.

        An unknown word is read as such: a model of words has learned what follows one.
        """
        unknown = self.vocabulary.unknown_symbols(prompt)
        if unknown and self.config.level == "char":
            named = ", ".join(f"{s!r} (U+{ord(s):04X})" for s in unknown[:5])
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise DataError(
                "prompt with symbols the model does not know",
                named + more,
                "leave them out, or use --skip-unknown",
            )

    def logprobs(self, text: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """ln P of each symbol given all before it [N]; N is len(text) at the level of characters.

        A symbol outside the vocabulary is scored as the unknown symbol.
        """
        parts = [-judged.verdicts.nats for judged in self.evaluator().judged([text])]
        return np.concatenate([np.zeros(0), *parts])

    def score(self, text: str) -> Score:
        """The cross-entropy of a text and what derives from it; raises ``DataError`` if empty."""
        score = self.evaluator().score([text])
        if not score.tokens:
            raise DataError("empty text", remedy="there is nothing to score")
        return score

    def evaluator(self, *, lines: bool = False, lanes: int = 1, alternatives: int = 0) -> Evaluator:
        """Scores texts of any length: see ``charrnn.evaluation.Evaluator``."""
        from charrnn.evaluation import Evaluator

        return Evaluator(
            self.model, self.vocabulary, lines=lines, lanes=lanes, alternatives=alternatives
        )

    def scaled_evaluator(self, temperature: float) -> Evaluator:
        """With logits divided by a temperature."""
        from charrnn.evaluation import Evaluator
        from charrnn.scoring import LongText

        reader = LongText(self.model, temperature=temperature)
        return Evaluator(self.model, self.vocabulary, reader=reader)

    def dynamic_evaluator(self, lr: float | None = None) -> Evaluator:
        """With a model that learns from each text it scores: see ``adaptation.DynamicText``."""
        from charrnn.adaptation import DECAY, RATES, DynamicText
        from charrnn.evaluation import Evaluator

        reader = DynamicText(self.model, lr or RATES[self.config.level], DECAY)
        return Evaluator(self.model, self.vocabulary, reader=reader)
