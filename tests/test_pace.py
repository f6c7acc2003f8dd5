"""The budget: how much of it is used up."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from charrnn import pace
from charrnn.config import Budget
from charrnn.pace import Pace


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands at ``clock.now`` seconds."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.mark.parametrize(
    "budget, steps",
    [
        (Budget(steps=7), 7),
        (Budget(epochs=2.5), 25),
        (Budget(epochs=0.01), 1),
        (Budget(minutes=1.0), None),
    ],
)
def test_length_in_steps(budget, steps):
    assert Pace(budget, steps_per_epoch=10).steps == steps


def test_progress_by_steps_ignores_the_clock(clock):
    run = Pace(Budget(steps=8), 10)
    clock.now += 1000
    assert [run.progress(n) for n in (0, 2, 8, 9)] == [0, 0.25, 1, 1]


def test_progress_by_the_clock_ignores_the_steps(clock):
    run = Pace(Budget(minutes=2.0), 10)
    clock.now += 30
    assert run.progress(0) == run.progress(999) == 0.25
    clock.now += 1000
    assert run.progress(1) == 1


def test_remaining_time(clock):
    steps, minutes = Pace(Budget(steps=40), 10), Pace(Budget(minutes=1.0), 10)
    clock.now += 10
    assert steps.remaining(10) == 30
    assert minutes.remaining(10) == 50


def test_laps_are_the_time_between_calls(clock):
    run = Pace(Budget(steps=8), 10)
    clock.now += 3
    assert run.lap() == 3
    clock.now += 2
    assert run.lap() == 2
    assert run.elapsed == 5


def test_start_sets_the_clock_to_zero(clock):
    run = Pace(Budget(minutes=1.0), 10)
    clock.now += 3
    run.start()
    assert run.elapsed == 0
