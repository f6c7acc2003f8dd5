"""Runs that stop, or are killed, and go on: to the bit what they would have been."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import random
from pathlib import Path

import numpy as np
import pytest

from charrnn import checkpoint, loop, pace
from charrnn.errors import (
    CharrnnError,
    DataError,
    DivergedError,
    InputNotFoundError,
    InputOutputError,
    UsageError,
)
from charrnn.events import (
    Finished,
    NotSaved,
    Prepared,
    Requests,
    RolledBack,
    Saved,
    Skipped,
    Step,
    Stopped,
    Validated,
)
from charrnn.learner import Learner
from charrnn.model import TrainingWindow
from charrnn.optim import Optimizer
from charrnn.recipe import Options
from charrnn.runs import RunFolder, list_steps
from charrnn.training import train
from tests.support.devices import devices, present
from tests.support.shell import TALES

SMALL = {"hidden_size": 12, "layers": 1, "batch_size": 8, "seq_len": 8, "evals": 3}
TEXT = TALES.read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT[:1500], encoding="utf-8")
    return path


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


class Killed(BaseException):
    """As SIGKILL: nothing is done any more."""


@pytest.fixture
def ended(monkeypatch):
    """ended(after, how): the run ends after so many more steps: it is "killed" or "stopped"."""
    learn = Learner.learn
    left = {"steps": -1, "how": ""}
    requests = Requests()

    def spy(learner, lr):
        if left["steps"] == 0 and left["how"] == "killed":
            raise Killed
        taken = learn(learner, lr)
        left["steps"] -= 1
        if left["steps"] == 0 and left["how"] == "stopped":
            requests.stop = True
        return taken

    monkeypatch.setattr(Learner, "learn", spy)

    def set_end(steps, how):
        left.update(steps=steps, how=how)
        requests.stop = False
        return requests

    return set_end


def run(corpus, folder, requests=None, resume=False, threads=1, device="cpu", **options):
    events = []
    try:
        with present():
            for event in train(
                [corpus], folder, Options(**options), requests=requests, resume=resume,
                threads=threads, device=device,
            ):  # fmt: skip
                events.append(event)
    except Killed:
        pass
    return events


def digest(folder):
    """Of weights, moments and states at the end, and what was logged on the way."""
    saved = checkpoint.load(list_steps(folder)[-1])
    sha = hashlib.sha256()
    for part in (saved.weights, saved.slots, saved.states):
        for name in sorted(part):
            sha.update(name.encode() + part[name].tobytes())
    best = checkpoint.load(folder / "best.safetensors")
    sha.update(b"".join(best.weights[name].tobytes() for name in sorted(best.weights)))
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    figures = ("event", "step", "loss", "grad_norm", "lr", "nats", "best")
    logged = [
        {name: record[name] for name in figures if name in record}
        for record in map(json.loads, lines)
        if record["event"] in ("step", "validated", "finished", "skipped", "rolledback")
    ]
    return sha.hexdigest(), logged


def broken_up(corpus, folder, ended, seed, **options):
    """The same run in parts, which end at random."""
    rng = random.Random(seed)
    for part in itertools.count():
        requests = ended(rng.randint(0, 25), rng.choice(["killed", "stopped"]))
        events = run(corpus, folder, requests, resume=part > 0, **options)
        if of(Finished, events):
            return part
        assert part < 100


CELLS = ["rnn", "gru", "lstm"]
OPTIMIZERS = ["adam", "sgd", "rmsprop"]


@pytest.mark.parametrize("budget", [{"steps": 47}, {"epochs": 2.3}], ids=["steps", "epochs"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_broken_run_ends_as_an_unbroken_one(
    tmp_path, corpus, ended, cell, optimizer, dropout, threads, budget
):
    options = SMALL | budget | {"cell": cell, "optimizer": optimizer, "dropout": dropout}
    ended(-1, "")
    run(corpus, tmp_path / "whole", threads=threads, **options)
    seed = repr((cell, optimizer, dropout, threads, budget))
    broken_up(corpus, tmp_path / "parts", ended, seed, threads=threads, **options)
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")


@pytest.mark.parametrize(
    "extra",
    [
        {"level": "word", "min_count": 1},
        {"bidirectional": True},
        {"layers": 2, "tie": True},
        {"optimizer": "sgd", "momentum": 0.0},
        {"schedule": "constant", "warmup": 0.3},
    ],
    ids=str,
)
@devices
def test_other_runs_too(tmp_path, corpus, ended, extra, device):
    options = SMALL | {"steps": 40, "dropout": 0.3, "device": device} | extra
    ended(-1, "")
    run(corpus, tmp_path / "whole", **options)
    assert broken_up(corpus, tmp_path / "parts", ended, 1, **options) > 0
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")


@pytest.mark.parametrize("step", [1, 9, 10, 16, 25])
def test_a_stopped_run_has_saved_its_last_step(tmp_path, corpus, ended, step):
    events = run(corpus, tmp_path / "run", ended(step, "stopped"), steps=47, **SMALL)
    [stopped] = of(Stopped, events)
    assert stopped == events[-1]
    assert (stopped.step, checkpoint.load(Path(stopped.path)).counters["step"]) == (step, step)
    going_on = run(corpus, tmp_path / "run", resume=True, steps=47, **SMALL)
    assert of(Prepared, going_on)[0].resumed == step


def test_a_stop_does_not_wait_for_a_validation(tmp_path, corpus, ended, monkeypatch):
    """What is left undone is done when it goes on, and nothing is lost of it."""
    requests = ended(-1, "")
    asked = itertools.count()
    losses = loop.Scorer.losses

    def slow(scorer, stop):
        if next(asked) == 1:
            requests.stop = True
        return losses(scorer, stop)

    options = SMALL | {"steps": 30}
    run(corpus, tmp_path / "whole", **options)
    monkeypatch.setattr(loop.Scorer, "losses", slow)
    events = run(corpus, tmp_path / "parts", requests, **options)
    assert of(Stopped, events)[0].step == 20
    assert [e.step for e in of(Validated, events)] == [10]
    events = run(corpus, tmp_path / "parts", resume=True, **options)
    assert [e.step for e in of(Validated, events)] == [20, 30]
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")


def test_a_checkpoint_is_saved_when_asked_and_the_run_goes_on(tmp_path, corpus, monkeypatch):
    requests, learn = Requests(), Learner.learn

    def ask(learner, lr):
        requests.save = learner.step == 4
        return learn(learner, lr)

    monkeypatch.setattr(Learner, "learn", ask)
    events = run(corpus, tmp_path / "run", requests, steps=20, **(SMALL | {"evals": 1}))
    assert [e.step for e in of(Saved, events)] == [5, 20]
    assert of(Finished, events)


def test_a_checkpoint_is_saved_every_few_minutes(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    events = run(corpus, tmp_path / "run", steps=4, **(SMALL | {"evals": 1}))
    assert [e.step for e in of(Saved, events)] == [0, 1, 2, 3, 4]


# What may be another, and what may not


@pytest.fixture
def stopped(tmp_path, corpus, ended):
    """A run that stopped after 15 of 30 steps; gives its folder."""
    run(corpus, tmp_path / "run", ended(15, "stopped"), steps=30, dropout=0.2, **SMALL)
    ended(-1, "")
    return tmp_path / "run"


def test_no_option_needs_to_be_said_again(tmp_path, corpus, stopped):
    run(corpus, stopped, resume=True)
    run(corpus, tmp_path / "whole", steps=30, dropout=0.2, **SMALL)
    assert digest(stopped) == digest(tmp_path / "whole")


@pytest.mark.parametrize(
    "budget, steps", [({"steps": 50}, 50), ({"epochs": 2}, 42), ({"steps": 3}, 15)], ids=str
)
def test_the_budget_may_be_another(corpus, stopped, budget, steps):
    events = run(corpus, stopped, resume=True, **budget)
    assert of(Finished, events)[0].step == of(Validated, events)[-1].step == steps


def test_validations_may_be_more(corpus, stopped):
    events = run(corpus, stopped, resume=True, evals=6)
    assert [e.step for e in of(Validated, events)] == [15, 20, 25, 30]


@pytest.mark.parametrize(
    "changed",
    [
        {"hidden_size": 13},
        {"cell": "gru"},
        {"level": "word"},
        {"lr": 0.5},
        {"seed": 1},
        {"dropout": 0.3},
        {"batch_size": 4},
        {"valid_fraction": 0.2},
        {"bidirectional": True},
    ],
    ids=str,
)
def test_all_else_may_not(corpus, stopped, changed):
    before = {p: p.read_bytes() for p in stopped.iterdir()}
    with pytest.raises(UsageError, match=r"that a run cannot change: --.*; it has --") as caught:
        run(corpus, stopped, resume=True, **changed)
    assert caught.value.exit_code == 2
    assert {p: p.read_bytes() for p in stopped.iterdir()} == before


@pytest.mark.parametrize("change", ["one letter", "one more", "less"])
def test_another_text_is_noticed(corpus, stopped, change):
    texts = {"one letter": "X" + TEXT[1:1500], "one more": TEXT[:1501], "less": TEXT[:1400]}
    corpus.write_text(texts[change], encoding="utf-8")
    with pytest.raises(DataError, match="text is not the run's") as caught:
        run(corpus, stopped, resume=True)
    assert caught.value.exit_code == 65


def test_the_same_text_by_another_name_will_do(tmp_path, corpus, stopped):
    corpus.rename(tmp_path / "other.txt")
    assert of(Finished, run(tmp_path / "other.txt", stopped, resume=True))


def test_another_validation_text_is_noticed(tmp_path, corpus, ended):
    held = tmp_path / "held.txt"
    held.write_text(TEXT[2000:2300], encoding="utf-8")
    arguments = [[corpus], tmp_path / "run", Options(steps=9, **SMALL)]
    list(train(*arguments, valid=held, requests=ended(4, "stopped")))
    ended(-1, "")
    with pytest.raises(DataError, match=r"validation text is not the run's.*say --valid as before"):
        list(train(*arguments, resume=True))
    held.write_text(TEXT[2001:2301], encoding="utf-8")
    with pytest.raises(DataError, match=r"validation text is not the run's.*say --valid as before"):
        list(train(*arguments, valid=held, resume=True))


def test_another_environment_is_told(corpus, stopped):
    def notes(**extra):
        return " ".join(of(Prepared, run(corpus, stopped, resume=True, **extra))[0].notes)

    assert "last bit" not in notes(steps=16)
    assert "not the same to the last bit as without a stop: threads 1 then, 2 now" in notes(
        steps=17, threads=2
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_it_goes_on_with_as_many_threads_as_it_had(tmp_path, corpus, ended, threads):
    """By default a new run has one for each processor."""
    folder = tmp_path / "run"
    run(corpus, folder, ended(4, "stopped"), threads=threads, steps=9, **SMALL)
    ended(-1, "")
    [prepared] = of(Prepared, run(corpus, folder, resume=True, threads=None))
    assert prepared.origin["threads"] == threads
    assert "last bit" not in " ".join(prepared.notes)


def test_what_has_no_effect_is_told(corpus, stopped):
    told = []
    arguments = {"resume": True, "threads": 1, "init_from": stopped, "announce": told.append}
    assert of(Finished, list(train([corpus], stopped, **arguments)))
    assert told == ["--init-from has no effect: the run goes on from its own checkpoint"]


def test_a_run_that_is_done_stays_as_it_is(corpus, stopped):
    run(corpus, stopped, resume=True)
    before = [p.read_bytes() for p in list_steps(stopped)]
    events = run(corpus, stopped, resume=True)
    assert [type(e) for e in events] == [Prepared, Finished]
    assert [p.read_bytes() for p in list_steps(stopped)] == before


def test_a_clock_budget_goes_on_where_its_clock_stood(corpus, tmp_path, ended):
    options = SMALL | {"minutes": 0.01, "evals": 1}
    run(corpus, tmp_path / "run", ended(3, "stopped"), **options)
    before = checkpoint.load(list_steps(tmp_path / "run")[-1]).counters
    ended(-1, "")
    [finished] = of(Finished, run(corpus, tmp_path / "run", resume=True))
    assert finished.step > before["step"] == 3
    assert finished.elapsed_s > before["elapsed_s"] > 0


def test_a_damaged_checkpoint_is_passed_over_and_told(tmp_path, corpus, stopped):
    *_, older, newest = list_steps(stopped)
    newest.write_bytes(newest.read_bytes()[:-1])
    told = []
    events = list(train([corpus], stopped, resume=True, threads=1, announce=told.append))
    assert of(Prepared, events)[0].resumed == int(older.stem.split("-")[1])
    assert newest.name in told[0]
    run(corpus, tmp_path / "whole", steps=30, dropout=0.2, **SMALL)
    assert digest(stopped) == digest(tmp_path / "whole")


def test_without_a_checkpoint_it_begins_anew(tmp_path, corpus, ended):
    run(corpus, tmp_path / "run", ended(3, "killed"), steps=30, **SMALL)
    assert list_steps(tmp_path / "run") == []
    ended(-1, "")
    told = []
    options = Options(steps=30, **SMALL)
    list(train([corpus], tmp_path / "run", options, resume=True, threads=1, announce=told.append))
    assert told == ["there is no checkpoint yet: the run begins again"]
    run(corpus, tmp_path / "whole", steps=30, **SMALL)
    assert digest(tmp_path / "run") == digest(tmp_path / "whole")


@pytest.mark.parametrize("log", [None, b"", b'{"event": "prep'], ids=str)
def test_a_run_that_was_killed_at_once_begins_with_any_options(tmp_path, corpus, log):
    (tmp_path / "run").mkdir()
    if log is not None:
        (tmp_path / "run" / "log.jsonl").write_bytes(log)
    events = run(corpus, tmp_path / "run", resume=True, steps=3, **SMALL)
    assert of(Prepared, events)[0].resumed == 0
    assert of(Finished, events)[0].step == 3


@pytest.mark.parametrize(
    "extra, named", [({"hidden_size": 13}, "--hidden"), ({}, "--hidden"), ({"seed": 1}, "--seed")]
)
def test_begun_again_it_is_the_same_run(tmp_path, corpus, ended, extra, named):
    """Without a checkpoint only its log tells what it was."""
    begun = SMALL | {"steps": 30}
    run(corpus, tmp_path / "run", ended(3, "killed"), **begun)
    ended(-1, "")
    options = begun | extra if extra else {"steps": 30}
    before = {p: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.name != ".lock"}
    with pytest.raises(UsageError, match=f"not the run's: {named}"):
        run(corpus, tmp_path / "run", resume=True, **options)
    assert {p: p.read_bytes() for p in before} == before


@pytest.mark.parametrize("name", ["a.txt", "other/log.jsonl"])
def test_a_folder_that_is_no_run_stays_as_it_is(tmp_path, corpus, name):
    path = tmp_path / "folder" / name
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(InputNotFoundError, match="no such run"):
        run(corpus, tmp_path / "folder", resume=True)
    assert [p for p in (tmp_path / "folder").rglob("*") if p.is_file()] == [path]


@pytest.mark.parametrize(
    "output, error, message",
    [(None, UsageError, "name its folder with -o"), ("none", InputNotFoundError, "no such run")],
)
def test_what_is_resumed_must_be_there(tmp_path, corpus, output, error, message):
    folder = output and tmp_path / output
    with pytest.raises(error, match=message):
        run(corpus, folder, resume=True)


def resigned(path, change):
    """A sound file of a checkpoint that says something else."""
    saved = checkpoint.load(path)
    change(saved)
    checkpoint.save(saved, path)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.counters.update(step=-1),
        lambda c: c.counters.update(step="x"),
        lambda c: c.counters.update(losses=["x"]),
        lambda c: c.counters.update(rate_scale=10.0**300),
        lambda c: c.counters.pop("updates"),
        lambda c: c.counters.pop("evals"),
        lambda c: c.counters.update(elapsed_s=None),
        lambda c: c.training.pop("options"),
        lambda c: c.training["options"].update(batch_size=4),
        lambda c: c.training["options"].update(batch_size=10**9),
        lambda c: c.training["options"].update(hidden_size=7),
        lambda c: c.training["options"].update(level="tree"),
        lambda c: c.training["options"].update(optimizer="sgd"),
        lambda c: c.validation.update(nats=[1]),
        lambda c: c.corpus.update(valid=3),
        lambda c: c.corpus.pop("sha256"),
        lambda c: c.slots.clear(),
        lambda c: c.states.clear(),
        lambda c: c.origin.update(threads=10**9),
    ],
)
def test_nonsense_in_a_checkpoint_is_an_error_or_does_no_harm(corpus, stopped, change):
    for path in (*list_steps(stopped), stopped / "best.safetensors"):
        resigned(path, change)
    try:
        assert of(Finished, run(corpus, stopped, resume=True, threads=None))
    except CharrnnError as error:
        assert error.exit_code in (2, 65)


def test_the_state_of_other_lanes_is_no_state_to_go_on_from(corpus, stopped):
    """Some of its rows would fit."""
    resigned(list_steps(stopped)[-1], lambda c: c.training["options"].update(batch_size=4))
    with pytest.raises(DataError, match="cannot go on from; it is of another configuration"):
        run(corpus, stopped, resume=True)


# Disks that are full


@pytest.fixture
def full(monkeypatch):
    """full(n, ...): these of the saves to come fail."""
    failing, number = set(), itertools.count(1)
    save = RunFolder.save

    def maybe(folder, *args, **options):
        if next(number) in failing:
            raise InputOutputError("cannot write", folder.path, "No space left on device")
        return save(folder, *args, **options)

    monkeypatch.setattr(RunFolder, "save", maybe)
    return failing.update


def test_a_full_disk_does_not_end_a_run_at_once(tmp_path, corpus, full):
    full([1, 2, 4, 5])
    events = run(corpus, tmp_path / "run", steps=12, **(SMALL | {"evals": 6}))
    assert [e.step for e in of(NotSaved, events)] == [2, 4, 8, 10]
    assert [e.step for e in of(Saved, events)] == [6, 12]
    assert "No space left" in of(NotSaved, events)[0].reason


def test_what_was_not_saved_is_not_the_best(tmp_path, corpus, full):
    """Or there would be no best on the disk, where all that come later are worse."""
    full([1])
    options = SMALL | {"steps": 12, "evals": 2, "lr": 1e-9}
    [finished] = of(Finished, run(corpus, tmp_path / "run", **options))
    best = checkpoint.load(tmp_path / "run" / "best.safetensors")
    assert best.counters["step"] == finished.best_step == 12


@pytest.mark.parametrize("failing", [[2, 3, 4], [6]], ids=["three in a row", "the last"])
def test_a_disk_that_stays_full_ends_it(tmp_path, corpus, full, failing):
    full(failing)
    with pytest.raises(InputOutputError, match="No space left") as caught:
        run(corpus, tmp_path / "run", steps=12, **(SMALL | {"evals": 6}))
    assert caught.value.exit_code == 74
    assert checkpoint.load(list_steps(tmp_path / "run")[-1]).counters["step"] in (2, 10)


# Numbers that are none


@pytest.fixture
def spoilt(monkeypatch):
    """spoilt(tries): the gradients of these are not finite; a step is tried again after a return.

    Gives what the weights were before each try.
    """
    chosen, step, number, weights = set(), Optimizer.step, itertools.count(1), []

    def spoil(optimizer, *args):
        weights.append(optimizer.params.flat.copy())
        if next(number) in chosen:
            optimizer.grads.flat[0] = np.inf
        return step(optimizer, *args)

    monkeypatch.setattr(Optimizer, "step", spoil)

    def choose(tries):
        chosen.update(tries)
        return weights

    return choose


def test_a_step_whose_gradient_is_not_finite_is_skipped(tmp_path, corpus, spoilt):
    weights = spoilt([4, 5, 8])
    events = run(corpus, tmp_path / "run", steps=20, **SMALL)
    assert [e.step for e in of(Skipped, events)] == [4, 5, 8]
    assert all(math.isfinite(e.loss + e.grad_norm) for e in of(Step, events))
    for number in (4, 5, 8):
        np.testing.assert_array_equal(weights[number], weights[number - 1])
    saved = checkpoint.load(list_steps(tmp_path / "run")[-1]).counters
    assert (saved["step"], saved["updates"], saved["bad_steps"]) == (20, 17, 0)


def test_after_a_step_that_is_skipped_the_state_begins_from_zero(
    tmp_path, corpus, spoilt, monkeypatch
):
    """It may be what was not finite."""
    learn, carried = Learner.learn, []

    def spy(learner, lr):
        taken = learn(learner, lr)
        carried.append(any(state.any() for layer in learner.window.states for state in layer))
        return taken

    monkeypatch.setattr(Learner, "learn", spy)
    spoilt([3])
    run(corpus, tmp_path / "run", steps=5, **SMALL)
    assert carried == [True, True, False, True, True]


def test_ten_in_a_row_lead_back_to_the_last_checkpoint_at_half_the_rate(tmp_path, corpus, spoilt):
    weights = spoilt(range(15, 25))
    options = SMALL | {"steps": 30, "schedule": "constant", "warmup": 0.0, "lr": 0.01}
    events = run(corpus, tmp_path / "run", **options)
    [back] = of(RolledBack, events)
    assert (back.step, back.to, back.rate_scale) == (24, 10, 0.5)
    np.testing.assert_array_equal(weights[24], weights[10])
    rates = [(e.step, e.lr) for e in of(Step, events)]
    assert rates == [(10, 0.01), (20, 0.01), (20, 0.005), (30, 0.005)]
    assert all(e.tokens_per_s > 0 for e in of(Step, events))


def test_without_a_checkpoint_it_goes_back_to_the_beginning(tmp_path, corpus, spoilt):
    weights = spoilt(range(1, 11))
    events = run(corpus, tmp_path / "run", steps=30, **SMALL)
    assert [(e.step, e.to) for e in of(RolledBack, events)] == [(10, 0)]
    np.testing.assert_array_equal(weights[10], weights[0])
    assert of(Finished, events)


def test_a_fourth_time_ends_it(tmp_path, corpus, spoilt):
    spoilt(range(15, 1000))
    with pytest.raises(DivergedError, match="diverged: step 20; try a smaller --lr") as caught:
        run(corpus, tmp_path / "run", steps=30, **SMALL)
    assert caught.value.exit_code == 3
    records = (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    scales = [json.loads(r)["rate_scale"] for r in records if '"rolledback"' in r]
    assert scales == [0.5, 0.25, 0.125]
    saved = checkpoint.load(list_steps(tmp_path / "run")[-1])
    assert (saved.counters["step"], saved.counters["updates"]) == (10, 10)


@pytest.mark.parametrize("stops", [[18], [36], [18, 20], [16, 2, 9]], ids=str)
def test_a_run_that_went_back_goes_on_as_if_it_had_not_stopped(
    tmp_path, corpus, monkeypatch, ended, stops
):
    """Where it stops among the steps that are skipped, and after it went back."""
    step = Optimizer.step

    def spoil(optimizer, lr, *args):
        if 14 <= optimizer.steps < 25 and lr > 0.005:  # as a rate would that is too high
            optimizer.grads.flat[0] = np.inf
        return step(optimizer, lr, *args)

    monkeypatch.setattr(Optimizer, "step", spoil)
    options = SMALL | {"steps": 40, "evals": 4, "dropout": 0.2, "lr": 0.008}
    options |= {"schedule": "constant", "warmup": 0.0}
    ended(-1, "")
    run(corpus, tmp_path / "whole", **options)
    for part, stop in enumerate(stops):
        run(corpus, tmp_path / "parts", ended(stop, "stopped"), resume=part > 0, **options)
    ended(-1, "")
    run(corpus, tmp_path / "parts", resume=True)
    found, logged = digest(tmp_path / "parts")
    assert (found, logged) == digest(tmp_path / "whole")
    assert [r["step"] for r in logged if r["event"] == "rolledback"] == [24]


def test_a_stop_just_when_it_goes_back_saves_that_it_did(tmp_path, corpus, spoilt, ended):
    """To a checkpoint that was the last one, too."""
    spoilt(range(11, 21))
    options = SMALL | {"steps": 40, "evals": 4}
    events = run(corpus, tmp_path / "run", ended(20, "stopped"), **options)
    assert [(e.step, e.to) for e in of(RolledBack, events)] == [(20, 10)]
    assert checkpoint.load(Path(events[-1].path)).counters["rollbacks"] == 1


def test_going_back_in_a_longer_budget_validates_and_saves_on(tmp_path, corpus, spoilt):
    run(corpus, tmp_path / "run", steps=20, **SMALL)
    spoilt(range(25, 35))
    events = run(corpus, tmp_path / "run", resume=True, steps=60, evals=3)
    assert [(e.step, e.to) for e in of(RolledBack, events)] == [(34, 20)]
    assert [e.step for e in of(Validated, events)] == [40, 60]
    assert checkpoint.load(list_steps(tmp_path / "run")[-1]).counters["step"] == 60


def test_a_loss_that_is_none_changes_nothing_whatever_the_gradient(tmp_path, corpus, monkeypatch):
    grads, number, weights = TrainingWindow.loss_and_grads, itertools.count(), []

    def spoil(window, *args):
        weights.append(window.model.params.flat.copy())
        loss = grads(window, *args)
        return np.float32(np.inf) if next(number) == 4 else loss

    monkeypatch.setattr(TrainingWindow, "loss_and_grads", spoil)
    events = run(corpus, tmp_path / "run", steps=10, **SMALL)
    assert [e.step for e in of(Skipped, events)] == [5]
    np.testing.assert_array_equal(weights[5], weights[4])
    saved = checkpoint.load(list_steps(tmp_path / "run")[-1])
    assert saved.counters["updates"] == 9


@pytest.mark.parametrize("look", range(8))
def test_a_clock_budget_ends_with_a_validation_whenever_it_ends(
    tmp_path, corpus, monkeypatch, look
):
    """Here between any two looks at the clock."""
    ticks = itertools.count(-100 - look)
    monkeypatch.setattr(pace.time, "monotonic", lambda: 0.0 if next(ticks) < 0 else 1000.0)
    events = run(corpus, tmp_path / "run", minutes=1, **(SMALL | {"evals": 1}))
    assert [e.step for e in of(Validated, events)] == [of(Finished, events)[0].step]


def test_real_divergence_is_an_error_and_nothing_bad_is_saved(tmp_path, corpus):
    options = {"cell": "rnn", "activation": "relu", "lr": 100.0, "clip": 0.0, "optimizer": "sgd"}
    with pytest.raises(DivergedError) as error:
        run(corpus, tmp_path / "run", steps=200, **SMALL, **options)
    assert error.value.exit_code == 3
    for path in tmp_path.rglob("*.safetensors"):
        assert all(np.isfinite(v).all() for v in checkpoint.load(path).weights.values())


@pytest.mark.parametrize("bad", ["loss", "weight"])
def test_what_shows_only_when_looked_at_is_found_before_it_is_saved(
    tmp_path, corpus, monkeypatch, bad
):
    """As a loss on a GPU, where a step does not wait for its figures; or a weight alone."""
    learn, number = Learner.learn, itertools.count(1)

    def spoil(learner, lr):
        taken = learn(learner, lr)
        if next(number) == 20:
            if bad == "loss":
                learner._losses[-1] = math.nan
            else:
                learner.model.params["encoder.weight"][0] = np.inf  # of what is never read
        return taken

    monkeypatch.setattr(Learner, "learn", spoil)
    events = run(corpus, tmp_path / "run", steps=30, **SMALL)
    assert [(e.step, e.to) for e in of(RolledBack, events)] == [(20, 10)]
    assert of(Finished, events)
    for path in (tmp_path / "run").glob("*.safetensors"):
        checkpoint.load(path)
