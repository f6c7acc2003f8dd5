"""Training as a generator of events: whoever asks for the next one lets it go on.

It reads the corpus, chooses what was left open, checks that it fits, and learns; checkpoints
and the log go to the run folder. Nothing is printed here.
"""

from __future__ import annotations

import itertools
import math
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from charrnn import __version__
from charrnn.backend import Array, Backend, select_backend
from charrnn.cells import CELLS
from charrnn.checkpoint import Checkpoint
from charrnn.config import SampleConfig
from charrnn.errors import DivergedError, UsageError
from charrnn.evaluation import Scorer
from charrnn.events import Event, Finished, Prepared, Sampled, Saved, Step, Validated
from charrnn.model import Model
from charrnn.optim import OPTIMIZERS, learning_rate
from charrnn.pace import Pace
from charrnn.params import count, initial_values, parameter_shapes
from charrnn.preflight import check_memory, memory_estimate
from charrnn.recipe import Options, Resolved, resolve
from charrnn.rng import DROPOUT, INIT, generator
from charrnn.runs import RunFolder
from charrnn.sampling import sample_text
from charrnn.text import STDIN, Corpus, Dataset, TrainingStream

LOG_EVERY = 10
"""Steps from one ``Step`` event to the next: how often the device is waited for."""

_MAX_VALID_LANES = 10
_MIN_VALID_LANE = 200


def train(
    corpus: Sequence[str | Path],
    output: Path | None = None,
    options: Options | None = None,
    *,
    valid: Path | None = None,
    sample_length: int = 0,
    device: str = "auto",
    threads: int | None = None,
    command: str = "",
) -> Iterator[Event]:
    """Train on the texts of ``corpus`` into the run folder ``output`` (None: a new one).

    ``valid``: validate on this file instead of the end of the corpus. ``sample_length``: draw
    so many symbols after each validation. ``threads``: limit of BLAS while training runs.
    ``command`` is kept as provenance. Raises the errors of reading, of the configuration and
    of writing, and ``DivergedError``.
    """
    if threads is not None and not 1 <= threads <= 4096:
        raise UsageError("invalid value", f"--threads {threads}", "must be from 1 to 4096")
    options = options or Options()
    backend, note = select_backend(device)
    data = Dataset.read(corpus, valid, options.valid_fraction)
    resolved = resolve(options, len(data.train), len(data.vocabulary))
    # An overflow shows itself as a loss that is not finite, which is checked.
    with threadpool_limits(threads, user_api="blas"), np.errstate(all="ignore"):
        run = _Run(backend, data, resolved, sample_length)
        folder = RunFolder(output) if output else RunFolder.named_after(_stem(data.corpus))
        try:
            for event in run.events(folder, note, command):
                folder.log({"event": type(event).__name__.lower(), **asdict(event)})
                yield event
        finally:
            folder.close()


def _stem(corpus: Corpus) -> str:
    first = corpus.sources[0]
    return "stdin" if first == STDIN else Path(first).name.split(".")[0]


class _Run:
    """Everything that changes while it learns."""

    def __init__(
        self, backend: Backend, data: Dataset, resolved: Resolved, sample_length: int
    ) -> None:
        self.backend, self.data, self.resolved = backend, data, resolved
        config, train = resolved.model, resolved.train
        self.sampling = SampleConfig(length=sample_length)
        self.stream = TrainingStream(data.train, train.batch_size, train.seq_len, train.seed)
        lanes = max(1, min(_MAX_VALID_LANES, len(data.valid) // _MIN_VALID_LANE))
        self.memory = memory_estimate(config, train, lanes)
        check_memory(self.memory, backend)
        self.model = Model(config, backend)
        self.model.load(initial_values(config, train.init, generator(train.seed, INIT)))
        self.window = self.model.training_window(train.seq_len, train.batch_size)
        self.optimizer = OPTIMIZERS[train.optimizer](
            backend, self.model.params, self.window.grads, train
        )
        self.scorer = Scorer(self.model, data.valid, lanes)
        self.step = 0
        self.losses: list[Array] = []
        self.norms: list[Array] = []
        self.nats = math.inf
        self.best = (math.inf, 0)
        self.signature = (
            f"cell:{config.cell}|layers:{config.layers}|hidden:{config.hidden_size}"
            f"|level:{config.level}|split:{data.split}|state:carried|v:{__version__}"
        )

    def events(self, folder: RunFolder, note: str, command: str) -> Iterator[Event]:
        """The run from beginning to end."""
        train = self.resolved.train
        self.origin = _origin(self.backend, command)
        self.pace = Pace(self.resolved.budget, self.stream.steps_per_epoch)
        yield self._prepared(str(folder.path), note)
        self.pace.start()
        done = 0.0
        for ids, targets in self._windows():
            self._learn(ids, targets)
            reached = self.pace.progress(self.step)
            if self.step % LOG_EVERY == 0 or reached == 1:
                yield self._step_event(reached)
            if reached == 1 or int(reached * train.evals) > int(done * train.evals):
                yield from self._milestone(folder)
                done = reached
            if reached == 1:
                break
        nats, (best_nats, best_step) = self.nats, self.best
        yield Finished(
            run=str(folder.path),
            signature=self.signature,
            step=self.step,
            epoch=self.epochs,
            nats=nats,
            bits_per_character=nats / math.log(2),
            best_nats=best_nats,
            best_step=best_step,
            elapsed_s=self.pace.elapsed,
        )

    @property
    def epochs(self) -> float:
        return self.step / self.stream.steps_per_epoch

    def _prepared(self, run: str, note: str) -> Prepared:
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
            notes=(*self.data.corpus.notes, *([note] if note else [])),
        )

    def _windows(self) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """Window after window, epoch after epoch; the state starts from zero in each epoch."""
        for epoch in itertools.count():
            self.window.reset()
            yield from self.stream.windows(epoch)

    def _learn(self, ids: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> None:
        """One step: forward, backward, clip, update. Waits for nothing on the device."""
        train = self.resolved.train
        rng = generator(train.seed, DROPOUT, self.step)
        self.lr = learning_rate(train, self.pace.progress(self.step + 1))
        loss = self.window.loss_and_grads(ids, targets, rng)
        norm = self.optimizer.step(self.lr)
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
            raise DivergedError(
                "training diverged", f"step {self.step}", "try a smaller --lr or --clip"
            )
        window = self.stream.batch_size * self.stream.seq_len
        return Step(
            step=self.step,
            epoch=self.epochs,
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
        self.nats = float(self.scorer.losses().mean())
        if not math.isfinite(self.nats):
            raise DivergedError("training diverged", f"step {self.step}", "try a smaller --lr")
        best = self.nats < self.best[0]
        if best:
            self.best = (self.nats, self.step)
        yield Validated(
            step=self.step,
            epoch=self.epochs,
            nats=self.nats,
            bits_per_character=self.nats / math.log(2),
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
                "bits_per_character": self.nats / math.log(2),
                "best_nats": self.best[0],
                "best_step": self.best[1],
            },
            corpus=self.data.document,
            origin=self.origin,
        )


def _origin(backend: Backend, command: str) -> dict[str, Any]:
    """What made this run: command, versions, device, time."""
    blas = [info for info in threadpool_info() if info["user_api"] == "blas"]
    return {
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "charrnn": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": " ".join(sorted({f"{b['internal_api']} {b['version']}" for b in blas})),
        "threads": max((b["num_threads"] for b in blas), default=1),
        "platform": platform.platform(),
        "device": backend.name,
    }
