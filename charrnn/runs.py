"""Run folders: where checkpoints and the log of a training run live, and how to find them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from charrnn import checkpoint as checkpoints
from charrnn.checkpoint import Checkpoint
from charrnn.errors import (
    CharrnnError,
    DataError,
    InputNotFoundError,
    InputOutputError,
    LockedError,
    OutputError,
)
from charrnn.files import flush_folder, make_folder, remove_leftovers
from charrnn.log import Log

RUNS = Path("checkpoints")
BEST = "best.safetensors"
LOG = "log.jsonl"
LOCK = ".lock"
_KEEP = 3
_STEP = re.compile(r"step-(\d{9,18})\.safetensors", re.ASCII)


class RunFolder:
    """``step-*.safetensors`` (the last three), ``best.safetensors`` and ``log.jsonl``.

    One process at a time has it: ``.lock`` is locked as long as it is open.
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        """Make the folder, or take the one of a run to ``resume``.

        Raises ``LockedError`` where another process has it, ``OutputError`` where it cannot be
        made or written, or already holds a run, and ``InputNotFoundError`` for a run to resume
        that is not there.
        """
        self.path = path
        self._good: list[Path] = []
        self._safe: Path | None = None
        self._lock = -1
        if resume and not _may_be_run(path):
            raise InputNotFoundError("no such run", path)
        try:
            make_folder(path)
            if not os.access(path, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            if resume or not _holds_run(path) or (path / LOCK).exists():
                self._lock = _locked(path)
            if not resume and _holds_run(path):
                remedy = "choose another with -o, or go on with --resume"
                raise OutputError("folder already holds a run", path, remedy)
            self.log = Log(path / LOG)
            flush_folder(path)  # else a checkpoint might outlive the log of how it came to be
            remove_leftovers(path)
        except OSError as error:
            self._release()
            raise _cannot_create(path, error) from None
        except BaseException:
            self._release()
            raise

    @classmethod
    def named_after(cls, stem: str) -> RunFolder:
        """A new folder under ``checkpoints/``: the name given, then with -2, -3 and so on."""
        name = re.sub(r"[^\w.-]+", "-", stem).strip("-.")[:60] or "run"
        path, number = RUNS / name, 1
        while True:
            try:
                make_folder(path, new=True)  # of two runs that begin together one gets the name
                return cls(path)
            except OSError as error:
                if not path.exists():
                    raise _cannot_create(path, error) from None
            number += 1
            path = RUNS / f"{name}-{number}"

    def latest(self, tell: Callable[[str], None] = lambda message: None) -> Checkpoint | None:
        """The checkpoint of the highest step that is sound; None where there is none at all.

        Damaged ones are told of and left alone. Raises ``DataError`` where all are damaged.
        """
        found = [*reversed(list_steps(self.path)), self.path / BEST]
        found = [path for path in found if path.exists()]
        if not found:
            return None
        path, checkpoint = _first_sound(found, tell)
        self._good = [path]
        self._safe, _ = (path, None) if _is_safe(checkpoint) else self._safest()
        return checkpoint

    def go_back(self) -> Checkpoint | None:
        """The latest from before the steps went bad; those after it are no more of the run.

        They are removed, or the run might go on from one. None where there is none.
        """
        self._safe, checkpoint = self._safest()
        for path in list_steps(self.path):
            if self._safe is None or _step_of(path) > _step_of(self._safe):
                with self._writing(path.name):
                    path.unlink()
        self._good = [self._safe] if self._safe else []
        return checkpoint

    def _safest(self) -> tuple[Path, Checkpoint] | tuple[None, None]:
        """The latest checkpoint that is sound, and whose last step was not bad."""
        for path in reversed(list_steps(self.path)):
            with contextlib.suppress(CharrnnError):
                checkpoint = checkpoints.load(path)
                if _is_safe(checkpoint):
                    return path, checkpoint
        return None, None

    def save(self, checkpoint: Checkpoint, step: int, *, best: bool) -> Path:
        """Write a step's checkpoint, and ``best.safetensors`` if it is the best so far.

        The last three steps are kept, the last three that were written or found sound, and the
        last from before the steps went bad. Raises
        the errors of ``checkpoint.save``, and ``InputOutputError`` where the log cannot be
        written.
        """
        path = self.path / f"step-{step:09d}.safetensors"
        self.log.flush()
        # The best comes first: a run that is killed in between saves it again. The other way round
        # it would go on behind it, and the older best stay.
        checkpoints.save(checkpoint, *([self.path / BEST] if best else []), path)
        self._good = [*(p for p in self._good if p != path), path][-_KEEP:]
        self._safe = path if _is_safe(checkpoint) else self._safe
        for old in list_steps(self.path)[:-_KEEP]:
            if old not in (*self._good, self._safe):
                with self._writing(old.name):
                    old.unlink(missing_ok=True)
        return path

    def close(self) -> None:
        """Close the log and give the folder free; raises ``InputOutputError``."""
        try:
            self.log.close()
        finally:
            self._release()

    def _release(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._lock)

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputOutputError(
                "cannot write", self.path / name, error.strerror or str(error)
            ) from None


def _cannot_create(path: Path, error: OSError) -> OutputError:
    return OutputError("cannot create", path, error.strerror or str(error))


def _locked(run: Path) -> int:
    """The descriptor of the folder's lock, held until it is closed; raises ``LockedError``."""
    lock = os.open(run / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(lock, b"%-20d\n" % os.getpid(), 0)
    except BlockingIOError:
        time.sleep(0.05)  # its holder may not have written its number yet
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
        os.close(lock)
        by = f"by process {holder}" if holder.isdecimal() else "by another process"
        raise LockedError("run is in use", run, by) from None
    except OSError:
        os.close(lock)
        raise
    return lock


def _holds_run(path: Path) -> bool:
    return bool(_in_run(path)) or (path / LOG).exists()


def _may_be_run(path: Path) -> bool:
    """An empty folder is one that was killed at once."""
    begun = _holds_run(path) or (path / LOCK).exists()
    return path.is_dir() and (begun or not any(path.iterdir()))


def _is_safe(checkpoint: Checkpoint) -> bool:
    """Whether a run may go back to it: among bad steps its weights may be what makes them so."""
    return not checkpoint.counters.get("bad_steps")


def _step_of(path: Path) -> int:
    """The step in a checkpoint's name; that of the best is not in it: -1."""
    found = _STEP.fullmatch(path.name)
    return int(found[1]) if found else -1


def list_steps(run: Path) -> list[Path]:
    """The checkpoints of a run by step, oldest first."""
    return sorted((p for p in run.glob("step-*.safetensors") if _step_of(p) >= 0), key=_step_of)


def load_model(model: Path | None, tell: Callable[[str], None]) -> tuple[Path, Checkpoint]:
    """The checkpoint that ``model`` means, and its file.

    A file is itself; a run folder its best checkpoint, or its latest where none is best; None
    the newest run under ``checkpoints/``. Where one is damaged the next of the run is taken, and
    told. Raises ``InputNotFoundError`` and the errors of ``checkpoint.load``.
    """
    return _first_sound(find_checkpoints(model), tell)


def find_checkpoints(model: Path | None) -> list[Path]:
    """The files that ``model`` may mean, in order; see ``load_model``."""
    if model is None:
        runs = [run for run in RUNS.glob("*/") if _in_run(run)] if RUNS.is_dir() else []
        if not runs:
            raise InputNotFoundError(
                "no model given and no run found", f"{RUNS}/", "train one: charrnn train TEXT"
            )
        model = max(runs, key=lambda run: _in_run(run)[-1].stat().st_mtime_ns)
    if not os.path.isdir(model):  # noqa: PTH112 (never raises, whatever the name)
        return [model]
    best, steps = model / BEST, list_steps(model)
    found = [*([best] if best.is_file() else []), *reversed(steps)]
    if not found:
        raise InputNotFoundError("folder without checkpoints", model)
    return found


def _first_sound(paths: list[Path], tell: Callable[[str], None]) -> tuple[Path, Checkpoint]:
    """The first that can be loaded; raises the first's error where none can."""
    errors: list[CharrnnError] = []
    for path in paths:
        try:
            checkpoint = checkpoints.load(path)
        except (DataError, InputNotFoundError, InputOutputError) as error:
            errors.append(error)
            continue
        for passed in errors:
            tell(f"{passed}; {path.name} is taken instead")
        return path, checkpoint
    raise errors[0]


def _in_run(run: Path) -> list[Path]:
    """All checkpoints of a run, the latest step last."""
    best = run / BEST
    return [*([best] if best.is_file() else []), *list_steps(run)]
