"""How far a run has come in its budget, by steps or by the clock."""

from __future__ import annotations

import math
import time

from charrnn.config import Budget


class Pace:
    """The clock of a run and its budget. ``steps``: its length, where the budget tells."""

    def __init__(self, budget: Budget, steps_per_epoch: int) -> None:
        self.steps = budget.steps
        if budget.epochs is not None:
            self.steps = max(1, round(budget.epochs * steps_per_epoch))
        self.seconds = 60 * budget.minutes if budget.minutes is not None else math.inf
        self.start()

    def start(self, elapsed: float = 0.0) -> None:
        """The clock starts now, or goes on from so many seconds."""
        self.last = time.monotonic()
        self.begin = self.last - elapsed

    def lap(self) -> float:
        """Seconds since the last call."""
        now, before = time.monotonic(), self.last
        self.last = now
        return max(now - before, 1e-9)

    @property
    def elapsed(self) -> float:
        """Seconds since ``start``, and those that it went on from."""
        return time.monotonic() - self.begin

    def progress(self, step: int) -> float:
        """The share used up once ``step`` steps are done, from 0 to 1."""
        return min(1.0, step / self.steps if self.steps else self.elapsed / self.seconds)

    def remaining(self, step: int) -> float:
        """Seconds to go, at the speed so far."""
        if not self.steps:
            return max(0.0, self.seconds - self.elapsed)
        return self.elapsed / step * max(0, self.steps - step)
