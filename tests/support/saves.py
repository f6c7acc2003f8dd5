"""Saves to be disturbed, and what must hold of their folder afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

import numpy as np

from charrnn import checkpoint as checkpoints
from charrnn.checkpoint import Checkpoint
from charrnn.config import ModelConfig
from charrnn.errors import CharrnnError, DataError
from charrnn.files import write_atomically
from charrnn.params import parameter_shapes
from charrnn.runs import BEST, LOG, RunFolder, list_steps
from charrnn.text import CharVocabulary


class Saves(Protocol):
    """Some saves one after the other, in one folder."""

    def prepare(self, folder: Path) -> None:
        """What is in the folder before."""

    def perform(self, folder: Path) -> Iterator[None]:
        """Save; yields whenever a save has returned."""

    def problem(self, folder: Path, returned: int) -> str:
        """What is wrong where so many saves returned and one more, perhaps, had begun."""


class File:
    """One file that replaces another, twice."""

    versions = (b"old " * 300, b"new " * 700, b"newest " * 100)

    def prepare(self, folder: Path) -> None:
        (folder / "file").write_bytes(self.versions[0])

    def perform(self, folder: Path) -> Iterator[None]:
        for version in self.versions[1:]:
            write_atomically(folder / "file", [version[:1000], version[1000:]])
            yield

    def problem(self, folder: Path, returned: int) -> str:
        found = (folder / "file").read_bytes() if (folder / "file").exists() else b"gone"
        if found in self.versions[returned : returned + 2]:
            return ""
        return f"after {returned} saves the file is {found[:16]!r}, of {len(found)} bytes"


class Run:
    """A run folder with a log, in which every third save is the best so far."""

    def __init__(self, saves: int = 5) -> None:
        self.saves = saves

    def prepare(self, folder: Path) -> None:
        pass

    def perform(self, folder: Path) -> Iterator[None]:
        with closing(RunFolder(folder)) as run:
            for step in range(1, self.saves + 1):
                checkpoint = tiny_checkpoint(step)
                run.log.add({"event": "step", "step": step, "loss": 1 / step})
                run.save(checkpoint, step, best=self.is_best(step))
                run.log.add({"event": "saved", "step": step, "sha256": checkpoint.sha256})
                yield

    @staticmethod
    def is_best(step: int) -> bool:
        return step % 3 == 1

    def _best(self, step: int) -> int | None:
        """The step that is the best until this one."""
        return max((n for n in range(1, step + 1) if self.is_best(n)), default=None)

    def problem(self, folder: Path, returned: int) -> str:
        try:
            steps = [_step(path) for path in list_steps(folder)]
            best = _step(folder / BEST) if (folder / BEST).exists() else None
            latest, logged = _gone_on(folder)
        except CharrnnError as error:
            return f"after {returned} saves: {error}"
        if latest not in (returned, returned + 1) or latest != max(steps, default=0):
            return f"after {returned} saves of {steps} the run goes on at {latest}"
        if len(steps) < min(returned, 3):
            return f"after {returned} saves only {steps} are left"
        if best not in (self._best(latest), self._best(returned + 1)):
            return f"at {latest}, after {returned} saves, the best is of {best}"
        return "" if logged == list(range(1, latest + 1)) else f"at {latest}, logged: {logged}"


def _gone_on(folder: Path) -> tuple[int, list[int]]:
    """The step at which a run goes on, and those in its log."""
    with closing(RunFolder(folder, resume=True)) as run:
        latest = run.latest() if list_steps(folder) else None
        if latest:
            run.log.cut(latest.counters["step"], latest.sha256)
        else:
            run.log.cut()
    with (folder / LOG).open(encoding="utf-8") as log:
        records = [json.loads(line) for line in log]
    steps = [record["step"] for record in records if record["event"] == "step"]
    return (latest.counters["step"] if latest else 0), steps


def _step(path: Path) -> int:
    """Of a checkpoint that must be sound."""
    step: int = checkpoints.load(path).counters["step"]
    if path.name not in (BEST, f"step-{step:09d}.safetensors"):
        raise DataError("of another step", path, str(step))
    return step


def tiny_checkpoint(step: int) -> Checkpoint:
    """One of 2 kB that differs from step to step."""
    config = ModelConfig(vocab_size=3, hidden_size=2, embed_size=2)
    weights = {n: np.full(shape, step, "f4") for n, shape in parameter_shapes(config).items()}
    return Checkpoint(config, CharVocabulary("ab"), weights, counters={"step": step})


def temporaries(folder: Path) -> list[str]:
    """Names of files that a save should have removed."""
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


SAVES: dict[str, Saves] = {"file": File(), "run": Run()}
