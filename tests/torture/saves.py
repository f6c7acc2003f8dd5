"""Saves: calls of the system fail, are the last thing the process does, or lose their power."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator

from tests.support.faults import ERRORS, SHORT, at, since
from tests.support.saves import SAVES, Run
from tests.support.trials import calls_of, disturbed, failed, power_cuts, recorded
from tests.support.warm import (
    COMPILER,
    KILL_AFTER,
    KILL_BEFORE,
    NO_COMPILER,
    Warm,
    compiled_shim,
)
from tests.torture.section import Setting, Skip


def _calls_fail(setting: Setting) -> Iterator[str]:
    folder = setting.folder / "run"
    for saves in SAVES.values():
        calls = len(recorded(saves, folder)[1])
        for which, fault in itertools.product((at, since), (*ERRORS.values(), SHORT)):
            for number in range(calls):
                yield failed(saves, folder, which(number, fault))


def _disturbed(setting: Setting, *faults: int) -> Iterator[str]:
    if not COMPILER:
        raise Skip(NO_COMPILER)
    folder = setting.folder / "run"
    with Warm(compiled_shim(setting.folder)) as process:
        for name in SAVES:
            calls = calls_of(process, name, folder)
            for number, fault in itertools.product(range(calls), faults):
                yield disturbed(process, name, folder, number, fault)


def _libraries_calls_fail(setting: Setting) -> Iterator[str]:
    return _disturbed(setting, SHORT, errno.ENOSPC, errno.EIO, errno.EDQUOT)


def _calls_kill(setting: Setting) -> Iterator[str]:
    return _disturbed(setting, KILL_BEFORE, KILL_AFTER)


def _power_cuts(setting: Setting) -> Iterator[str]:
    """Of ever longer runs, so that there are enough different states."""
    seen: set[frozenset[tuple[str, bytes]]] = set()
    runs = (Run(saves) for saves in itertools.count(5, 5))
    found = (
        problem
        for seed, saves in enumerate(itertools.chain([SAVES["file"]], runs), setting.seed)
        for problem in power_cuts(saves, setting.folder / "run", seed, seen)
    )
    return itertools.islice(found, setting.count(10_000))


SECTIONS = (
    ("calls-fail", "each call of a save fails, in Python", _calls_fail),
    ("libc-fails", "each call of a save fails, in any library", _libraries_calls_fail),
    ("calls-kill", "SIGKILL just before and after each call of a save", _calls_kill),
    ("power-cuts", "states that a power cut may leave", _power_cuts),
)
