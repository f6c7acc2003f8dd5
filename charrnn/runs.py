"""Run folders: where checkpoints and the log of a training run live, and how to find them."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from charrnn import checkpoint as checkpoints
from charrnn.checkpoint import Checkpoint
from charrnn.errors import InputNotFoundError, InputOutputError, OutputError

RUNS = Path("checkpoints")
BEST = "best.safetensors"
LOG = "log.jsonl"
_KEEP = 3


class RunFolder:
    """``step-*.safetensors`` (the last three), ``best.safetensors`` and ``log.jsonl``."""

    def __init__(self, path: Path) -> None:
        """Make the folder; raises ``OutputError`` where that fails or it already holds a run."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            if _in_run(path) or (path / LOG).exists():
                raise OutputError("folder already holds a run", path, "choose another with -o")
            self._log: IO[str] = (path / LOG).open("x", encoding="utf-8")
        except OSError as error:
            raise OutputError("cannot create", path, error.strerror or str(error)) from None

    @classmethod
    def named_after(cls, stem: str) -> RunFolder:
        """A new folder under ``checkpoints/``: the name given, then with -2, -3 and so on."""
        name = re.sub(r"[^\w.-]+", "-", stem).strip("-.")[:60] or "run"
        path, number = RUNS / name, 1
        while path.exists():
            number += 1
            path = RUNS / f"{name}-{number}"
        return cls(path)

    def log(self, record: dict[str, Any]) -> None:
        """Add one line to ``log.jsonl``; raises ``InputOutputError``."""
        with self._writing(LOG):
            self._log.write(json.dumps(record, allow_nan=False) + "\n")
            self._log.flush()

    def save(self, checkpoint: Checkpoint, step: int, *, best: bool) -> Path:
        """Write a step's checkpoint, and ``best.safetensors`` if it is the best so far.

        The last three steps are kept. Raises the errors of ``checkpoint.save``.
        """
        path = self.path / f"step-{step:09d}.safetensors"
        checkpoints.save(checkpoint, path, *([self.path / BEST] if best else []))
        for old in list_steps(self.path)[:-_KEEP]:
            with self._writing(old.name):
                old.unlink(missing_ok=True)
        return path

    def close(self) -> None:
        """Close the log; what was written to it is in the file already."""
        with contextlib.suppress(OSError):
            self._log.close()

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputOutputError(
                "cannot write", self.path / name, error.strerror or str(error)
            ) from None


def list_steps(run: Path) -> list[Path]:
    """The checkpoints of a run by step, oldest first."""
    return sorted(run.glob("step-*.safetensors"))


def find_checkpoint(model: Path | None) -> Path:
    """The checkpoint file that ``model`` means.

    A file is itself; a run folder its best checkpoint, or its latest where none is best; None
    the newest run under ``checkpoints/``. Raises ``InputNotFoundError``.
    """
    if model is None:
        runs = [run for run in RUNS.glob("*/") if _in_run(run)] if RUNS.is_dir() else []
        if not runs:
            raise InputNotFoundError(
                "no model given and no run found", f"{RUNS}/", "train one: charrnn train TEXT"
            )
        model = max(runs, key=lambda run: _in_run(run)[-1].stat().st_mtime_ns)
    if not os.path.isdir(model):  # noqa: PTH112 (never raises, whatever the name)
        return model
    found = _in_run(model)
    if not found:
        raise InputNotFoundError("folder without checkpoints", model)
    return model / BEST if model / BEST in found else found[-1]


def _in_run(run: Path) -> list[Path]:
    """All checkpoints of a run, the latest step last."""
    best = run / BEST
    return [*([best] if best.is_file() else []), *list_steps(run)]
