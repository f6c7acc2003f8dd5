"""Saves disturbed in one way or another; each trial tells what is wrong afterwards, or ""."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from charrnn.errors import InputOutputError, OutputError
from charrnn.files import remove_leftovers
from tests.support.faults import Call, Fault, watched
from tests.support.power_loss import Disk, State, survivors
from tests.support.saves import SAVES, Saves, contents, temporaries
from tests.support.warm import Warm


def failed(saves: Saves, folder: Path, fault: Fault) -> str:
    """Calls fail within this process: one expected error, nothing lost, nothing left behind."""
    _prepare(saves, folder)
    hit: list[Call] = []

    def noted(number: int, call: Call) -> int | None:
        found = fault(number, call)
        hit.extend([call] if found is not None else [])
        return found

    returned, code = 0, 0
    try:
        with watched(folder, noted):
            for _ in saves.perform(folder):
                returned += 1
    except (OutputError, InputOutputError) as error:
        code = error.exit_code
    if code and not any(code in _codes(call) for call in hit):
        return f"{hit[0].name} failed, and the exit code is {code}"
    removal = any(call.name == "unlink" and call.path.endswith(".tmp") for call in hit)
    return _left(folder, removal) or saves.problem(folder, returned)


def calls_of(process: Warm, name: str, folder: Path) -> int:
    """How many calls, whoever makes them."""
    _prepare(SAVES[name], folder)
    outcome = process.run("saves", name, str(folder), folder=folder)
    assert not outcome.code, outcome.err
    return outcome.calls


def disturbed(process: Warm, name: str, folder: Path, number: int, fault: int) -> str:
    """A call, whoever makes it, fails or kills the process."""
    saves = SAVES[name]
    _prepare(saves, folder)
    outcome = process.run("saves", name, str(folder), folder=folder, number=number, fault=fault)
    if outcome.code not in ((-9,) if fault < -1 else (0, 73, 74)):
        return f"the exit code is {outcome.code}: {outcome.err}"
    if fault < -1:
        remove_leftovers(folder)
    return _left(folder, False) or saves.problem(folder, outcome.out.count("saved"))


def recorded(saves: Saves, folder: Path) -> tuple[State, list[Call], list[int]]:
    """What was there before, the calls, and how many were made when each save returned."""
    _prepare(saves, folder)
    before, returned = contents(folder), []
    with watched(folder) as calls:
        for _ in saves.perform(folder):
            returned.append(len(calls))
    disk = Disk.of(before)
    for call in calls:
        disk.step(call)
    assert disk.now() == contents(folder)  # nothing was written past the record
    return before, calls, returned


def power_cuts(
    saves: Saves, folder: Path, seed: int, seen: set[frozenset[tuple[str, bytes]]] | None = None
) -> Iterator[str]:
    """The power is cut at some call; a problem, or "", for each different state that may be left.

    Ends when hardly any new one is found; ``seen``: those that are not new, added to.
    """
    before, calls, returned = recorded(saves, folder)
    seen, stale = set() if seen is None else seen, 0
    for cut, state in survivors(before, calls, random.Random(seed)):
        # The name of a temporary file is random and makes no difference.
        key = frozenset((name.partition(".charrnn-")[0], data) for name, data in state.items())
        stale = stale + 1 if key in seen else 0
        if stale > 2000:
            return
        if not stale:
            seen.add(key)
            _fill(folder, state)
            yield saves.problem(folder, sum(end <= cut for end in returned))


def _prepare(saves: Saves, folder: Path) -> None:
    _fill(folder, {})
    saves.prepare(folder)


def _fill(folder: Path, state: State) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in state.items():
        (folder / name).write_bytes(data)


def _codes(call: Call) -> tuple[int, ...]:
    """What a process may end with where this call fails."""
    if call.name == "open" or call.path == ".lock":
        return (73,)
    return (73, 74) if call.path == "." else (74,)


def _left(folder: Path, allowed: bool) -> str:
    left = temporaries(folder)
    return f"left behind: {left}" if left and not allowed else ""
