"""Training as a generator of events: it advances each time the caller asks for the next one.

It reads the corpus, fills in options that were not given, checks that the run fits into memory,
and trains; checkpoints and the log go to the run folder. Nothing is printed here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.backend import Array, Backend, select_backend
from charrnn.cells import CELLS
from charrnn.checkpoint import Checkpoint
from charrnn.config import SampleConfig
from charrnn.errors import DivergedError, UsageError
from charrnn.evaluation import Scorer, signature
from charrnn.events import Event, Finished, Prepared, Sampled, Saved, Step, Validated
from charrnn.model import Model
from charrnn.optim import Optimizer, learning_rate
from charrnn.pace import Pace
from charrnn.params import count, initial_values, parameter_shapes
from charrnn.preflight import check_memory, memory_estimate
from charrnn.provenance import provenance
from charrnn.recipe import Options, Resolved, resolve
from charrnn.rng import INIT, generator
from charrnn.runs import RunFolder
from charrnn.sampling import sample_text
from charrnn.text import STDIN, Dataset, TrainingStream
from charrnn.text.store import StoredCharacters, StoredText

#: Steps from one ``Step`` event to the next: how often the device is waited for.
LOG_EVERY = 10

# The held-out text is read in lanes side by side, which is faster but cuts the context between
# them: few enough lanes, long enough (in symbols), that the figure hardly changes.
_MAX_VALID_LANES = 10
_MIN_VALID_LANE = 2_000
_MAX_VALID = 200_000  # symbols: validating on more would take its time from training

_MAX_NATS = 700.0  # a loss beyond is divergence, and its exponential beyond any number


def train(
    corpus: Sequence[str | Path],
    output: Path | None = None,
    options: Options | None = None,
    *,
    valid: Path | None = None,
    sample_length: int = 0,
    device: str = "auto",
    threads: int | None = None,
    announce: Callable[[str], None] = lambda message: None,
    command: str = "",
) -> Iterator[Event]:
    """Train on the texts of ``corpus`` into the run folder ``output`` (None: a new one).

    ``valid``: validate on this file instead of the end of the corpus. ``sample_length``: draw
    so many symbols after each validation. ``threads`` of the CPU, by default one for each
    processor; results depend on their number, by rounding and by the draws of dropout.
    ``announce`` is told when kernels have to be compiled, which takes a second. ``command`` is
    kept as provenance. Raises the errors of reading, of the configuration and of writing, and
    ``DivergedError``.
    """
    if threads is not None and not 1 <= threads <= 4096:
        raise UsageError("invalid value", f"--threads {threads}", "must be from 1 to 4096")
    if sample_length < 0:
        raise UsageError("invalid value", f"--show-sample {sample_length}", "must not be negative")
    options = options or Options()
    backend, note = select_backend(device, threads, announce)
    data = Dataset.read(corpus, valid, options.valid_fraction, _storage(options))
    resolved = resolve(options, len(data.train), len(data.vocabulary))
    with threadpool_limits(threads, user_api="blas"):
        run = _Run(backend, data, resolved, sample_length, command)
        folder = RunFolder(output) if output else RunFolder.named_after(_name(str(corpus[0])))
        try:
            for event in run.events(folder, (*data.notes, *run.notes, *([note] if note else []))):
                folder.log({"event": type(event).__name__.lower(), **asdict(event)})
                yield event
        finally:
            folder.close()


def _storage(options: Options) -> StoredText:
    """Where the text goes, cut into the symbols of its level."""
    if options.level == "char":
        return StoredCharacters()
    from charrnn.text.tokens import PRETOKENIZED, WORDS
    from charrnn.text.words import StoredWords

    tokenizers = {None: None, True: PRETOKENIZED, False: WORDS}
    return StoredWords(tokenizers[options.pretokenized], options.vocab_size, options.min_count)


def _name(source: str) -> str:
    """What to call the run on a file, a folder or stdin."""
    return "stdin" if source == STDIN else Path(source).resolve().name.split(".")[0]


class _Run:
    """Everything that changes while it learns."""

    def __init__(
        self,
        backend: Backend,
        data: Dataset,
        resolved: Resolved,
        sample_length: int,
        command: str,
    ) -> None:
        """Check that the run is possible; raises ``DataError`` or ``MemoryLimitError``."""
        self.backend, self.data, self.resolved = backend, data, resolved
        config, train = resolved.model, resolved.train
        self.sampling = SampleConfig(length=sample_length)
        self.stream = TrainingStream(data.train, train.batch_size, train.seq_len, train.seed)
        self.pace = Pace(resolved.budget, self.stream.steps_per_epoch)
        self.valid = data.valid[:_MAX_VALID]
        self.characters = data.valid.characters(len(self.valid))
        self.lanes = max(1, min(_MAX_VALID_LANES, len(self.valid) // _MIN_VALID_LANE))
        self.memory = memory_estimate(config, train, self.lanes, backend)
        check_memory(self.memory, backend)
        self.origin = provenance(backend, command)
        self.step, self.lr = 0, 0.0
        self.losses: list[Array] = []
        self.norms: list[Array] = []
        self.nats = math.inf
        self.best = (math.inf, 0)
        cut = len(self.valid) < len(data.valid)
        self.notes = (f"validating on the first {_MAX_VALID:,} symbols held out",) if cut else ()
        split = data.split + (f":{_MAX_VALID}" if cut else "")
        self.signature = signature(
            config, data.vocabulary, f"split:{split}|lanes:{self.lanes}|state:carried"
        )

    def _build(self) -> None:
        """Make the model and everything that takes memory."""
        config, train, backend = self.resolved.model, self.resolved.train, self.backend
        self.model = Model(config, backend, learns=True)
        self.model.load(initial_values(config, train.init, generator(train.seed, INIT)))
        self.window = self.model.training_window(train.seq_len, train.batch_size)
        self.optimizer = Optimizer(backend, self.model.params, self.window.grads, train)
        self.scorer = Scorer(self.model, self.valid, self.lanes)

    def events(self, folder: RunFolder, notes: tuple[str, ...]) -> Iterator[Event]:
        """The run from beginning to end."""
        evals = self.resolved.train.evals
        yield self._prepared(str(folder.path), notes)
        self._build()
        self.pace.start()
        milestones = 0
        for ids, targets in self._windows():
            self._learn(ids, targets)
            reached = self.pace.progress(self.step)
            passed = math.floor(reached * evals + 1e-9)  # 0.29 * 100 is 28.999...
            if self.step % LOG_EVERY == 0 or passed > milestones:
                yield self._step_event(reached)
            if passed > milestones:
                milestones = passed
                yield from self._milestone(folder)
            if reached == 1:
                break
        yield Finished(
            run=str(folder.path),
            signature=self.signature,
            step=self.step,
            epoch=self.epoch,
            nats=self.nats,
            bits_per_character=self._bits_per_character(self.nats),
            best_nats=self.best[0],
            best_bits_per_character=self._bits_per_character(self.best[0]),
            best_step=self.best[1],
            elapsed_s=self.pace.elapsed,
        )

    @property
    def epoch(self) -> float:
        """Passes over the text so far."""
        return self.step / self.stream.steps_per_epoch

    def _bits_per_character(self, nats: float) -> float:
        """From nats for each symbol of the validation text."""
        return nats / math.log(2) * len(self.valid) / max(1, self.characters)

    def _prepared(self, run: str, notes: tuple[str, ...]) -> Prepared:
        model, train, budget, chosen = self.resolved
        return Prepared(
            run=run,
            signature=self.signature,
            device=self.backend.name,
            model=model,
            train=train,
            budget=budget,
            chosen=chosen,
            corpus=self.data.document,
            steps=self.pace.steps,
            parameters=count(parameter_shapes(model)),
            memory=self.memory,
            notes=notes,
        )

    def _windows(self) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """Window after window, epoch after epoch; the state starts from zero in each epoch."""
        for epoch in itertools.count():
            self.window.reset()
            yield from self.stream.windows(epoch)

    @np.errstate(all="ignore")  # an overflow shows itself as a loss that is not finite
    def _learn(self, ids: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> None:
        """One step: forward, backward, clip, update. Waits for nothing on the device."""
        train = self.resolved.train
        self.lr = learning_rate(train, self.pace.progress(self.step + 1))
        loss = self.window.loss_and_grads(ids, targets, (train.seed, self.step))
        norm = self.optimizer.step(self.lr, self.window.touched)
        self.model.refresh()
        self.losses.append(loss)
        self.norms.append(norm)
        self.step += 1

    def _step_event(self, progress: float) -> Step:
        """The mean loss and largest norm since the last; raises ``DivergedError``."""
        losses, norms = (
            [float(self.backend.to_host(x)) for x in values] for values in (self.losses, self.norms)
        )
        self.losses.clear()
        self.norms.clear()
        if not all(map(math.isfinite, losses + norms)):
            raise self._diverged()
        window = self.stream.batch_size * self.stream.seq_len
        return Step(
            step=self.step,
            epoch=self.epoch,
            progress=progress,
            loss=sum(losses) / len(losses),
            grad_norm=max(norms),
            lr=self.lr,
            tokens_per_s=len(losses) * window / self.pace.lap(),
            elapsed_s=self.pace.elapsed,
            remaining_s=self.pace.remaining(self.step),
        )

    def _milestone(self, folder: RunFolder) -> Iterator[Event]:
        """Validate, save, and draw a sample if asked."""
        with np.errstate(all="ignore"):
            self.nats = float(self.scorer.losses().mean())
        if not self.nats < _MAX_NATS:
            raise self._diverged()
        best = self.nats < self.best[0]
        if best:
            self.best = (self.nats, self.step)
        yield Validated(
            step=self.step,
            epoch=self.epoch,
            nats=self.nats,
            bits_per_character=self._bits_per_character(self.nats),
            perplexity=math.exp(self.nats),
            best=best,
            elapsed_s=self.pace.elapsed,
        )
        checkpoint = self._checkpoint()
        path = folder.save(checkpoint, self.step, best=best)
        yield Saved(self.step, str(path), checkpoint.sha256)
        if self.sampling.length:
            pieces = sample_text(self.model, self.data.vocabulary, "", self.sampling)
            yield Sampled(self.step, "".join(piece for [piece] in pieces))
        self.pace.lap()  # validation does not count as training time

    def _diverged(self) -> DivergedError:
        return DivergedError(
            "training diverged", f"step {self.step}", "try a smaller --lr, or --clip 1"
        )

    def _checkpoint(self) -> Checkpoint:
        config, train, budget, _ = self.resolved
        to_host = self.backend.to_host
        slots = {
            f"{slot}.{name}": to_host(view)
            for slot, buffer in self.optimizer.buffers.items()
            for name, view in buffer.items()
        }
        names = CELLS[config.cell_name].states
        states = {
            f"{layer}.{name}": to_host(state)
            for layer, values in enumerate(self.window.states)
            for name, state in zip(names, values, strict=True)
        }
        window, epoch = self.stream.batch_size * self.stream.seq_len, self.stream.steps_per_epoch
        return Checkpoint(
            config=config,
            vocabulary=self.data.vocabulary,
            weights={name: to_host(view) for name, view in self.model.params.items()},
            slots=slots,
            states=states,
            training={"config": train.to_dict(), "budget": budget.to_dict()},
            counters={
                "step": self.step,
                "epoch": self.step // epoch,
                "window": self.step % epoch,
                "tokens": self.step * window,
                "elapsed_s": self.pace.elapsed,
            },
            validation={
                "signature": self.signature,
                "nats": self.nats,
                "bits_per_character": self._bits_per_character(self.nats),
                "best_nats": self.best[0],
                "best_step": self.best[1],
            },
            corpus=self.data.document,
            origin=self.origin,
        )
