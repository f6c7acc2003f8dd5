"""The loop of a training run: steps, reports, validations, checkpoints.

It advances each time the caller asks for the next event.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Iterator

import numpy as np

from charrnn.backend import Backend
from charrnn.beginnings import Beginning
from charrnn.checkpoint import Checkpoint, cannot_resume
from charrnn.config import SampleConfig
from charrnn.errors import DivergedError, InputOutputError, OutputError
from charrnn.evaluation import signature
from charrnn.events import (
    Event,
    Finished,
    NotSaved,
    Prepared,
    Requests,
    RolledBack,
    Sampled,
    Saved,
    Skipped,
    Step,
    Stopped,
    Validated,
)
from charrnn.learner import Learner
from charrnn.optim import learning_rate
from charrnn.pace import Pace
from charrnn.params import count, parameter_shapes
from charrnn.preflight import check_memory, memory_estimate
from charrnn.provenance import differences, provenance
from charrnn.recipe import Resolved
from charrnn.runs import RunFolder
from charrnn.sampling import sample_text
from charrnn.text.dataset import Dataset
from charrnn.text.streams import TrainingStream
from charrnn.validation import Scorer

#: Steps from one ``Step`` event to the next: how often the device is waited for.
LOG_EVERY = 10

#: Seconds that go by at most from one checkpoint to the next.
SAVE_EVERY = 300.0

#: Steps in a row without an update after which a run goes back to its last checkpoint, how often
#: it does so before it gives up, and how many checkpoints in a row may fail to be written.
MAX_BAD_STEPS, MAX_ROLLBACKS, MAX_FAILURES = 10, 3, 3

# The held-out text is read in lanes side by side, which is faster but cuts the context between
# them: few enough lanes, long enough (in symbols), that the figure hardly changes.
_MAX_VALID_LANES = 10
_MIN_VALID_LANE = 2_000
_MAX_VALID = 200_000  # symbols: validating on more would take its time from training

_MAX_NATS = 700.0  # a loss beyond is divergence, and its exponential beyond any number


class Run:
    """A run from its beginning to its end."""

    def __init__(
        self,
        backend: Backend,
        data: Dataset,
        resolved: Resolved,
        beginning: Beginning,
        sample_length: int,
        command: str,
        requests: Requests | None,
    ) -> None:
        """Check that the run is possible; raises ``DataError`` or ``MemoryLimitError``."""
        self.backend, self.data, self.resolved = backend, data, resolved
        self.beginning, self.requests = beginning, requests or Requests()
        config, train = resolved.model, resolved.train
        self.sampling = SampleConfig(length=sample_length)
        self.stream = TrainingStream(data.train, train.batch_size, train.seq_len, train.seed)
        self.pace = Pace(resolved.budget, self.stream.steps_per_epoch)
        self.valid = data.valid[:_MAX_VALID]
        self.characters = data.valid.characters(len(self.valid))
        self.lanes = max(1, min(_MAX_VALID_LANES, len(self.valid) // _MIN_VALID_LANE))
        self.memory = memory_estimate(config, train, self.lanes, backend).total
        check_memory(self.memory, backend)
        self.origin = provenance(backend, command) | beginning.origin
        self.nats = math.inf
        self.best = (math.inf, 0)
        self.evals = self.failures = 0
        self.lr = self.elapsed = 0.0
        self.path, self.saved_step = "", -1
        cut = len(self.valid) < len(data.valid)
        self.notes = [f"validating on the first {_MAX_VALID:,} symbols held out"] if cut else []
        self.notes += beginning.notes
        if beginning.checkpoint:
            changed = differences(beginning.checkpoint.origin, self.origin)
            if changed:
                self.notes.append(f"not the same to the last bit as without a stop: {changed}")
        split = data.split + (f":{_MAX_VALID}" if cut else "")
        self.signature = signature(
            config, data.vocabulary, f"split:{split}|lanes:{self.lanes}|state:carried"
        )

    def _build(self) -> None:
        """Make the model and everything that takes memory."""
        config, train = self.resolved.model, self.resolved.train
        self.learner = Learner(self.backend, config, train, self.stream)
        self.scorer = Scorer(self.learner.model, self.valid, self.lanes)
        self._begin(self.beginning.checkpoint)

    def _begin(self, checkpoint: Checkpoint | None) -> None:
        """From a checkpoint of this run, or from its beginning."""
        if checkpoint is None:
            weights = self.beginning.weights(self.resolved.model, self.resolved.train)
            self.learner.start(weights)
            self.nats, self.best, self.evals = math.inf, (math.inf, 0), 0
            return
        self.learner.restore(checkpoint)
        seen, counters = checkpoint.validation, checkpoint.counters
        try:
            nats, best = (
                math.inf if seen[name] is None else float(seen[name])
                for name in ("nats", "best_nats")
            )
            self.nats, self.best = nats, (best, int(seen["best_step"]))
            self.evals, self.elapsed = int(counters["evals"]), float(counters["elapsed_s"])
        except (KeyError, TypeError, ValueError) as error:
            raise cannot_resume(f"its figures: {error}") from None

    def events(self, folder: RunFolder, notes: tuple[str, ...]) -> Iterator[Event]:
        """The run from its beginning, or from where it goes on, to its end."""
        self._build()
        if (saved := self.beginning.checkpoint) is None:
            folder.log.cut()
        else:
            folder.log.cut(saved.counters["step"], saved.sha256)
        yield self._prepared(str(folder.path), notes)
        learner = self.learner
        self.pace.start(self.elapsed)
        self._recount()
        self.measured, self.saved_at = learner.step, self.pace.elapsed
        while True:
            reached = self.pace.progress(learner.step)
            passed = self._due(reached)
            if learner.reports and (learner.step % LOG_EVERY == 0 or passed > self.evals):
                if not self._is_sound():
                    yield self._roll_back(folder)
                    continue
                yield self._step_event(reached)
            if passed > self.evals:
                yield from self._milestone(folder, passed, last=reached == 1)
            if reached == 1 and passed == self.evals:
                break
            if self.requests.stop:
                fresh = learner.step == self.saved_step
                if fresh or (yield from self._save(folder, best=False, last=True)):
                    yield Stopped(str(folder.path), learner.step, self.path)
                    return
                continue  # it went back to an earlier step
            if self.requests.save or self.pace.elapsed - self.saved_at > SAVE_EVERY:
                yield from self._save(folder, best=False)
            self.lr = learning_rate(self.resolved.train, self.pace.progress(learner.step + 1))
            if not learner.learn(self.lr):
                yield Skipped(learner.step)
                if learner.bad_steps == MAX_BAD_STEPS:
                    yield self._roll_back(folder)
        yield Finished(
            run=str(folder.path),
            signature=self.signature,
            step=learner.step,
            epoch=learner.epoch,
            nats=self.nats,
            bits_per_character=self._bits_per_character(self.nats),
            best_nats=self.best[0],
            best_bits_per_character=self._bits_per_character(self.best[0]),
            best_step=self.best[1],
            elapsed_s=self.pace.elapsed,
        )

    def _due(self, reached: float) -> int:
        """How many validations are due at this share of the budget."""
        return math.floor(reached * self.resolved.train.evals + 1e-9)  # 0.29 * 100 is 28.999...

    def _recount(self) -> None:
        """What a checkpoint says was done may be less in a budget that is longer now."""
        self.evals = min(self.evals, self._due(self.pace.progress(self.learner.step)))

    def _bits_per_character(self, nats: float) -> float:
        """From nats for each symbol of the validation text."""
        return nats / math.log(2) * len(self.valid) / max(1, self.characters)

    def _prepared(self, run: str, notes: tuple[str, ...]) -> Prepared:
        model, train, budget, chosen, _ = self.resolved
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
            options=self.resolved.options.to_dict(),
            origin=self.origin,
            resumed=self.learner.step,
            notes=notes,
        )

    def _is_sound(self) -> bool:
        """Whether the steps since the last report were finite."""
        return all(map(math.isfinite, itertools.chain(*self.learner.figures())))

    def _step_event(self, progress: float) -> Step:
        """The mean loss and largest norm since the last."""
        learner = self.learner
        losses, norms = learner.figures()
        learner.clear()
        tokens = (learner.step - self.measured) * self.stream.batch_size * self.stream.seq_len
        self.measured = learner.step
        return Step(
            step=learner.step,
            epoch=learner.epoch,
            progress=progress,
            loss=sum(losses) / len(losses),
            grad_norm=max(norms),
            lr=self.lr * learner.rate_scale,
            tokens_per_s=tokens / self.pace.lap(),
            elapsed_s=self.pace.elapsed,
            remaining_s=self.pace.remaining(learner.step),
        )

    def _milestone(self, folder: RunFolder, passed: int, *, last: bool) -> Iterator[Event]:
        """Validate, save, and draw a sample if asked; nothing if told to stop meanwhile."""
        learner = self.learner
        with np.errstate(all="ignore"):
            losses = self.scorer.losses(lambda: self.requests.stop)
        if losses is None:
            return
        nats, step = float(losses.mean()), learner.step
        if not nats < _MAX_NATS:
            yield self._roll_back(folder)
            return
        self.nats, self.evals, before = nats, passed, self.best
        self.best = min(before, (nats, step))
        best = self.best != before
        yield Validated(
            step=step,
            epoch=learner.epoch,
            nats=nats,
            bits_per_character=self._bits_per_character(nats),
            perplexity=math.exp(nats),
            best=best,
            elapsed_s=self.pace.elapsed,
        )
        if not (yield from self._save(folder, best=best, last=last)):
            if learner.step == step:
                self.best = before  # it is not on the disk
            return
        if self.sampling.length:
            pieces = sample_text(learner.model, self.data.vocabulary, "", self.sampling)
            until_told = itertools.takewhile(lambda _: not self.requests.stop, pieces)
            yield Sampled(step, "".join(piece for [piece] in until_told))
        self.pace.lap()  # validation does not count as training time

    def _save(
        self, folder: RunFolder, *, best: bool, last: bool = False
    ) -> Generator[Event, None, bool]:
        """Write a checkpoint; whether that went well. If it is the ``last``, it must."""
        step, self.requests.save = self.learner.step, False
        self.saved_at = self.pace.elapsed
        checkpoint = self._checkpoint()
        try:
            self.path = str(folder.save(checkpoint, step, best=best))
        except DivergedError:
            yield self._roll_back(folder)
            return False
        except (InputOutputError, OutputError) as error:
            self.failures += 1
            if last or self.failures == MAX_FAILURES:
                raise
            yield NotSaved(step, str(error))
            return False
        self.failures, self.saved_step = 0, step
        yield Saved(step, self.path, checkpoint.sha256)
        return True

    def _roll_back(self, folder: RunFolder) -> RolledBack:
        """Go back to the last checkpoint, with half the rate; raises ``DivergedError``."""
        learner = self.learner
        step, rollbacks, rate_scale = learner.step, learner.rollbacks, learner.rate_scale / 2
        if rollbacks == MAX_ROLLBACKS:
            raise DivergedError(
                "training diverged", f"step {step}", "try a smaller --lr, or --clip 1"
            )
        self._begin(folder.go_back())
        self._recount()
        learner.rollbacks, learner.rate_scale = rollbacks + 1, rate_scale
        self.measured, self.saved_step = learner.step, -1
        return RolledBack(step, learner.step, rate_scale)

    def _checkpoint(self) -> Checkpoint:
        found = self.learner.snapshot()
        found["counters"] |= {"elapsed_s": self.pace.elapsed, "evals": self.evals}
        model, train, budget, _, options = self.resolved
        nats, best = (None if math.isinf(x) else x for x in (self.nats, self.best[0]))
        return Checkpoint(
            config=model,
            vocabulary=self.data.vocabulary,
            **found,
            training={
                "config": train.to_dict(),
                "budget": budget.to_dict(),
                "options": options.to_dict(),
            },
            validation={
                "signature": self.signature,
                "nats": nats,
                "bits_per_character": nats and self._bits_per_character(nats),
                "best_nats": best,
                "best_step": self.best[1],
            },
            corpus=self.data.document,
            origin=self.origin,
        )
