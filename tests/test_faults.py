"""Saves whose calls of the system fail, are the last thing a process does, or lose their power.

A part of what ``python -m tests.torture`` does.
"""

import errno
import functools
import itertools
import os
import random
import tempfile
from pathlib import Path

import pytest

from charrnn.errors import CharrnnError
from tests.support.faults import ERRORS, SHORT, Call, at, since, watched
from tests.support.power_loss import BLOCK, Disk
from tests.support.saves import SAVES, File, Run, contents
from tests.support.trials import calls_of, disturbed, failed, power_cuts, recorded
from tests.support.warm import COMPILER, KILL_AFTER, KILL_BEFORE, NO_COMPILER, Warm, compiled_shim

FAULTS = ERRORS | {"short": SHORT}


@pytest.fixture
def folder():
    """In memory where there is such a place: flushing costs nothing there."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as root:
        yield Path(root) / "run"


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    if not COMPILER:
        pytest.skip(NO_COMPILER)
    with Warm(compiled_shim(tmp_path_factory.mktemp("shim"))) as process:
        yield process


def problems(found):
    """Those there are, and how many were looked at."""
    found = list(found)
    return [text for text in found if text], len(found)


@pytest.mark.parametrize(("fault", "which"), [*((name, at) for name in FAULTS), ("ENOSPC", since)])
@pytest.mark.parametrize("name", SAVES)
def test_call_that_fails_loses_nothing(folder, name, fault, which):
    saves = SAVES[name]
    calls = len(recorded(saves, folder)[1])
    found = problems(failed(saves, folder, which(n, FAULTS[fault])) for n in range(calls))
    assert found == ([], calls)


@pytest.mark.parametrize("fault", ERRORS)
def test_call_that_fails_leaves_the_older_file(folder, fault):
    """All but those that come after it was replaced."""
    calls = recorded(File(), folder)[1]
    late = [n for n, call in enumerate(calls) if call.path == "." and call.name != "open"]
    first = calls[: late[0]]
    for n in range(len(first)):
        File().prepare(folder)
        with watched(folder, at(n, ERRORS[fault])), pytest.raises(CharrnnError):
            next(File().perform(folder))
        assert contents(folder) == {"file": File.versions[0]}, first[n]


@pytest.mark.parametrize("fault", [KILL_BEFORE, KILL_AFTER, errno.ENOSPC], ids=str)
@pytest.mark.parametrize("name", SAVES)
def test_call_of_any_library_that_fails_or_is_the_last(folder, warm, name, fault):
    calls = calls_of(warm, name, folder)
    found = problems(disturbed(warm, name, folder, n, fault) for n in range(calls))
    assert found == ([], calls)
    assert calls >= len(recorded(SAVES[name], folder)[1])


@pytest.mark.parametrize("name", SAVES)
def test_power_loss_leaves_the_old_or_the_new(folder, name):
    assert problems(itertools.islice(power_cuts(SAVES[name], folder, 1), 250)) == ([], 250)


# The model finds what it is there to find: ways to save that are not safe.


def in_place(path, pieces):
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(file, b"".join(pieces))
    os.fsync(file)
    os.close(file)


def renamed(path, pieces, *, flush=True, late=False, folder=True):
    temporary = path.with_suffix(".new")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(file, b"".join(pieces))
    if flush and not late:
        os.fsync(file)
    temporary.replace(path)
    if flush:
        os.fsync(file)
    os.close(file)
    where = os.open(path.parent, os.O_RDONLY)
    if folder:
        os.fsync(where)
    os.close(where)


UNSAFE = {
    "written in place": in_place,
    "not flushed": functools.partial(renamed, flush=False),
    "flushed too late": functools.partial(renamed, late=True),
    "folder not flushed": functools.partial(renamed, folder=False),
}


@pytest.mark.parametrize("way", UNSAFE)
@pytest.mark.parametrize("name", SAVES)
def test_model_finds_what_is_unsafe(folder, monkeypatch, name, way):
    for module in ("tests.support.saves", "charrnn.checkpoint"):
        monkeypatch.setattr(f"{module}.write_atomically", UNSAFE[way])
    found, _ = problems(itertools.islice(power_cuts(SAVES[name], folder, 1), 250))
    assert found


def test_model_finds_nothing_where_all_is_flushed(folder, monkeypatch):
    monkeypatch.setattr("tests.support.saves.write_atomically", renamed)
    assert problems(itertools.islice(power_cuts(File(), folder, 1), 100))[0] == []


class Hasty(Run):
    """Makes room before it saves."""

    def perform(self, folder):
        for _ in super().perform(folder):
            yield
            for path in sorted(folder.glob("step-*"))[:-1]:
                path.unlink()


def test_model_finds_checkpoints_removed_too_early(folder):
    found, _ = problems(itertools.islice(power_cuts(Hasty(), folder, 1), 250))
    assert any("are left" in text for text in found)


def flushed(*data):
    """A disk on which ``file`` was written, flushed, and then written to by these."""
    calls = [Call("open", "file", 3, os.O_CREAT), Call("write", "file", 3, data=b"a" * 2 * BLOCK)]
    calls += [Call("fsync", "file", 3), Call("fsync", ".", 4)]
    calls += [Call("write", "file", 3, data=piece) for piece in data]
    return calls


def survivors_of(before, calls, count=2000):
    """What may be left after the last call."""
    disk = Disk.of(before)
    for call in calls:
        disk.step(call)
    rng = random.Random(0)
    return [disk.survivor(rng) for _ in range(count)]


def test_model_keeps_what_was_flushed():
    assert survivors_of({}, flushed(), 100) == [{"file": b"a" * 2 * BLOCK}] * 100


def test_model_loses_blocks_in_any_order():
    states = survivors_of({}, flushed(b"b" * BLOCK, b"c" * BLOCK))
    parts = {state["file"][2 * BLOCK :] for state in states}
    b, c, none = b"b" * BLOCK, b"c" * BLOCK, bytes(BLOCK)
    half = BLOCK // 2
    assert {b"", b, b + c, none, none + c, b + none, b[:half], b + c[:half]} <= parts
    assert len(parts) == 4 * 4 - 3  # what is missing before another block is full of zeros


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([Call("unlink", "a")], ["", "a"]),
        ([Call("replace", "a", target="b")], ["a", "b"]),
        ([Call("unlink", "a"), Call("fsync", ".")], [""]),
        ([Call("open", "b", 3, os.O_CREAT), Call("unlink", "a")], ["", "a", "ab", "b"]),
        ([Call("open", "b", 3, os.O_CREAT), Call("fsync", "b", 3)], ["a", "ab"]),
    ],
)
def test_model_loses_changes_of_names_in_any_order(calls, expected):
    found = {"".join(sorted(state)) for state in survivors_of({"a": b""}, calls)}
    assert sorted(found) == expected


APPEND = os.O_CREAT | os.O_APPEND


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([Call("write", "a", 3, data=b"cd")], {b"ab", b"abcd", b"ab\0\0"}),
        ([Call("write", "a", 3, data=b"cd"), Call("fsync", "a", 3)], {b"abcd"}),
        ([Call("write", "a", 3, data=b"cd", offset=0)], {b"ab", b"cb", b"cd"}),
        ([Call("truncate", "a", 3, offset=1)], {b"a", b"ab"}),
        ([Call("truncate", "a", 3, offset=1), Call("fsync", "a", 3)], {b"a"}),
        (
            [Call("open", "a", 4, os.O_TRUNC), Call("write", "a", 4, data=b"c")],
            {b"", b"ab", b"c", b"cb", b"\0"},
        ),
    ],
)
def test_model_of_what_is_written_to_an_older_file(calls, expected):
    calls = [Call("open", "a", 3, APPEND), *calls]
    assert {state["a"] for state in survivors_of({"a": b"ab"}, calls)} == expected
