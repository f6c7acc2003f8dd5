"""Whole runs: killed at random and at each call, failed at each call, and two in one folder.

Each goes on with ``--resume`` until it is done, and must then be what it would have been.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import itertools
import json
import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from charrnn.checkpoint import Checkpoint, load
from charrnn.errors import CharrnnError
from charrnn.runs import BEST, LOG, list_steps
from tests.support.saves import temporaries
from tests.support.shell import TALES
from tests.support.warm import (
    COMPILER,
    KILL_AFTER,
    KILL_BEFORE,
    NO_COMPILER,
    Outcome,
    Warm,
    compiled_shim,
)
from tests.torture.section import Setting, Skip

_CASES = (
    "--cell lstm --layers 2 --dropout 0.3",
    "--cell gru --optimizer rmsprop --tie",
    "--cell rnn --activation relu --optimizer sgd --threads 2",
    "--cell lstm --optimizer sgd --dropout 0.5 --bidirectional",
    "--cell gru --layers 2 --level word --threads 2",
    "--cell rnn --activation tanh --dropout 0.2 --schedule constant --epochs 2.5",
)
_SMALL = "--hidden 8 --embed 8 --batch-size 4 --seq-len 24 --threads 1 --evals 20 --steps 60"
_HANGS = 120.0  # seconds
_TIMES = {"elapsed_s", "remaining_s", "tokens_per_s"}


class _Training:
    """One command line, and what comes of it where nothing gets in its way."""

    def __init__(self, process: Warm, folder: Path, options: str) -> None:
        self.process, self.folder = process, folder
        folder.mkdir()
        (folder / "tales.txt").write_bytes(TALES.read_bytes()[:20_000])
        small = _SMALL.split()
        given = options.split()
        if "--epochs" in given:
            small = small[: small.index("--steps")]
        self.options = small + given
        self.run = folder / "run"
        done = self.go()
        if done.code:
            raise AssertionError(done.err)
        self.run = self.run.rename(folder / "reference")
        self.expected = _result(self.run)
        self.run = folder / "run"

    def go(self, delay: float = _HANGS, **fault: Any) -> Outcome:
        """Begin, or go on where something is there."""
        resume = ["--resume"] if self.run.exists() else []
        command = ["train", "tales.txt", "-o", "run", *self.options, *resume]
        return self.process.run("charrnn", str(self.folder), *command, delay=delay, **fault)

    def clear(self) -> None:
        """For another trial."""
        shutil.rmtree(self.run, ignore_errors=True)

    def finish(self) -> str:
        """Go on to the end; what is wrong then."""
        done = self.go()
        if done.code:
            return f"going on ended with {done.code}: {done.err[-300:]}"
        found = _result(self.run)
        differ = [name for name, value in self.expected.items() if found[name] != value]
        return f"differs from the run that nothing disturbed: {differ}" if differ else ""


def _result(run: Path) -> dict[str, Any]:
    """What does not depend on the clock."""
    with (run / LOG).open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    figures = [
        {name: value for name, value in record.items() if name not in _TIMES}
        for record in records
        if record["event"] in ("step", "validated")
    ]
    steps = [path.name for path in list_steps(run)]
    last, best = (_document(load(run / name)) for name in (steps[-1], BEST))
    # One more is there where the last save was killed, another one where a save failed.
    kept = min(len(steps), 3)
    return {"log": figures, "step": steps[-1], "kept": kept, "last": last, "best": best}


def _document(checkpoint: Checkpoint) -> Any:
    arrays = [
        (part, name, value.tobytes())
        for part in ("weights", "slots", "states")
        for name, value in sorted(getattr(checkpoint, part).items())
    ]
    counters = {n: value for n, value in checkpoint.counters.items() if n not in _TIMES}
    return arrays, counters, checkpoint.validation


def _newest(run: Path) -> tuple[int, str]:
    """The step of the newest checkpoint, and what is wrong with any."""
    newest = 0
    with contextlib.suppress(FileNotFoundError):
        for path in [*list_steps(run), *run.glob(BEST)]:
            try:
                newest = max(newest, load(path).counters["step"])
            except CharrnnError as error:
                return newest, str(error)
    return newest, ""


def _killed(setting: Setting) -> Iterator[str]:
    """At random times; the same run again and again until it is done."""
    rng, kills = random.Random(setting.seed), setting.count(1000)
    with Warm() as process:
        cases = [_Training(process, setting.folder / str(n), case) for n, case in enumerate(_CASES)]
        for case in itertools.cycle(cases):
            case.clear()
            reached, problem, killed = 0, "", False
            while kills and (outcome := case.go(rng.uniform(0, _seconds(case)))).code == -9:
                if killed:
                    yield problem
                killed, before = True, reached
                reached, problem = _newest(case.run)
                if reached < before:
                    problem = f"step {before} was there, and now {reached} is the newest"
                kills -= 1
            if outcome.code not in (0, -9):
                problem = f"ended with {outcome.code}: {outcome.err[-300:]}"
            if killed or problem:
                yield problem or case.finish()
            if not kills:
                return


def _seconds(case: _Training) -> float:
    """What a run takes, about."""
    last = (case.folder / "reference" / LOG).read_text(encoding="utf-8").splitlines()[-1]
    seconds: float = json.loads(last)["elapsed_s"]
    return seconds + 0.1


def _at_each_call(setting: Setting, *faults: int) -> Iterator[str]:
    if not COMPILER:
        raise Skip(NO_COMPILER)
    with Warm(compiled_shim(setting.folder)) as process:
        case = _Training(
            process, setting.folder / "case", "--cell gru --dropout 0.3 --evals 4 --steps 8"
        )
        calls = case.go(folder=case.run).calls
        for number, fault in itertools.product(range(calls), faults):
            case.clear()
            outcome = case.go(folder=case.run, number=number, fault=fault)
            expected = (-9,) if fault < 0 else (0, 73, 74)
            problem = ""
            if outcome.code not in expected or "Traceback" in outcome.err:
                problem = f"ended with {outcome.code}: {outcome.err[-300:]}"
            elif fault > 0 and case.run.exists() and temporaries(case.run):
                problem = f"left behind: {temporaries(case.run)}"
            problem = problem or _newest(case.run)[1] or case.finish()
            yield f"call {number}, fault {fault}: {problem}" if problem else ""


def _killed_at_calls(setting: Setting) -> Iterator[str]:
    return _at_each_call(setting, KILL_BEFORE, KILL_AFTER)


def _failed_at_calls(setting: Setting) -> Iterator[str]:
    return _at_each_call(setting, errno.ENOSPC, errno.EIO)


def _writers(setting: Setting) -> Iterator[str]:
    """Both begin, or go on, at once: one gets the folder, the other its process id."""
    with Warm() as one, Warm() as other, ThreadPoolExecutor() as threads:
        options = _CASES[0] + " --steps 500 --evals 10"  # longer than it takes to begin
        first = _Training(one, setting.folder / "case", options)
        second = copy.copy(first)
        second.process = other
        for number in range(setting.count(50)):
            first.clear()
            if number % 2:
                first.go(_seconds(first) / 2)
            ends = sorted(threads.map(lambda each: each.go(), (first, second)), key=_code)
            if [end.code for end in ends] != [0, 75]:
                yield f"ended with {[(end.code, end.err[-300:]) for end in ends]}"
            elif f"by process {ends[0].pid}" not in ends[1].err:
                yield f"the holder is not named: {ends[1].err}"
            else:
                yield first.finish()


def _code(outcome: Outcome) -> int:
    return outcome.code


SECTIONS = (
    ("runs-kill", "SIGKILL of training at random times, then --resume", _killed),
    ("runs-calls-kill", "SIGKILL just before and after each call of training", _killed_at_calls),
    ("runs-calls-fail", "each call of training fails once", _failed_at_calls),
    ("two-writers", "two trainings begin, or go on, in one folder at once", _writers),
)
