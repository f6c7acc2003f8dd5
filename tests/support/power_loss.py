"""What a power cut may leave of a folder, from a record of the calls that were made on it.

The model is the weakest of ALICE (Pillai et al., "All File Systems Are Not Created Equal: On the
Complexity of Crafting Crash-Consistent Applications", OSDI 2014):

- What is written to a file reaches the disk in blocks, in any order. Until its ``fsync`` has
  returned each of them may be missing, zeros where nothing was before, half there or there; blocks
  missing at the end make the file shorter, others leave zeros.
- A folder's names change (made, renamed, removed) by one atomic step each, which reach the disk
  in any order. Until ``fsync`` of the folder has returned any set of them may be missing. To flush
  a file does not bring its name to the disk.

No file system in use is as bad, but none is bound to be better, and what holds here holds on all.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.support.faults import Call

BLOCK = 512
_MISSING, _ZEROS, _HALF, _WHOLE = range(4)

State = dict[str, bytes]  # contents by name


@dataclass
class _File:
    """``safe`` is on the disk; ``content`` is what a reader sees while the power is on."""

    safe: bytes = b""
    content: bytes = b""
    smallest: int = 0  # size since the last flush

    def write(self, at: int, data: bytes) -> None:
        """Somewhere within it, or at its end."""
        self.content = self.content[:at] + data + self.content[at + len(data) :]

    def resize(self, size: int) -> None:
        """Make it smaller."""
        self.content, self.smallest = self.content[:size], min(self.smallest, size)

    def flush(self) -> None:
        """All is on the disk now."""
        self.safe, self.smallest = self.content, len(self.content)

    def survivor(self, rng: random.Random) -> bytes:
        """What may be found afterwards."""
        if self.safe == self.content and self.smallest == len(self.safe):
            return self.safe
        blocks = range(0, max(len(self.safe), len(self.content)), BLOCK)
        weights = rng.choice([(1, 1, 1, 1), (1, 0, 0, 1), (9, 1, 1, 1)])
        fates = rng.choices(range(4), weights, k=len(blocks))
        found = bytearray(self.safe[: rng.choice([self.smallest, len(self.safe)])])
        for start, fate in zip(blocks, fates, strict=True):
            block = self.content[start : start + BLOCK]
            if fate == _MISSING or block == found[start : start + BLOCK]:
                continue
            if fate == _ZEROS:  # only where nothing was before
                old = found[start : start + len(block)]
                block = bytes(old) + bytes(len(block) - len(old))
            elif fate == _HALF:
                block = block[: len(block) // 2]
            found.extend(bytes(max(0, start - len(found))))
            found[start : start + len(block)] = block
        return bytes(found)


@dataclass
class Disk:
    """A folder as the calls so far have made it, and what of that is safe."""

    files: list[_File]
    names: dict[str, int]  # to an index in ``files``
    safe_names: dict[str, int]
    pending: list[dict[str, int | None]] = field(default_factory=list)  # changes of names, in order
    open: dict[int, tuple[int, int]] = field(default_factory=dict)  # descriptor: file, position
    appending: set[int] = field(default_factory=set)  # descriptors

    @classmethod
    def of(cls, state: State) -> Disk:
        """One on which all this is safe."""
        names = {name: n for n, name in enumerate(state)}
        return cls([_File(data, data, len(data)) for data in state.values()], names, dict(names))

    def now(self) -> State:
        """What a reader sees while the power is on."""
        return {name: self.files[n].content for name, n in self.names.items()}

    def survivor(self, rng: random.Random) -> State:
        """What may be found after the power was cut now."""
        share = rng.choice([0.0, 0.5, 1.0])
        names = dict(self.safe_names)
        for change in self.pending:
            if rng.random() < share:
                _apply(names, change)
        return {name: self.files[n].survivor(rng) for name, n in names.items()}

    def step(self, call: Call) -> None:
        """Go on by one call."""
        getattr(self, f"_{call.name}")(call)

    def _change(self, **change: int | None) -> None:
        _apply(self.names, change)
        self.pending.append(change)

    def _open(self, call: Call) -> None:
        if call.path == ".":
            return
        if call.path not in self.names:
            assert call.flags & os.O_CREAT
            self.files.append(_File())
            self._change(**{call.path: len(self.files) - 1})
        file = self.names[call.path]
        if call.flags & os.O_TRUNC:
            self.files[file].resize(0)
        self.open[call.file] = file, 0
        if call.flags & os.O_APPEND:
            self.appending.add(call.file)

    def _write(self, call: Call) -> None:
        number, position = self.open[call.file]
        if call.offset >= 0:
            self.files[number].write(call.offset, call.data)
            return
        if call.file in self.appending:
            position = len(self.files[number].content)
        self.files[number].write(position, call.data)
        self.open[call.file] = number, position + len(call.data)

    def _truncate(self, call: Call) -> None:
        self.files[self.open[call.file][0]].resize(call.offset)

    def _fsync(self, call: Call) -> None:
        if call.path == ".":
            self.safe_names = dict(self.names)
            self.pending.clear()
        else:
            self.files[self.open[call.file][0]].flush()

    def _close(self, call: Call) -> None:
        self.open.pop(call.file, None)
        self.appending.discard(call.file)

    def _replace(self, call: Call) -> None:
        self._change(**{call.target: self.names[call.path], call.path: None})

    def _unlink(self, call: Call) -> None:
        self._change(**{call.path: None})


def _apply(names: dict[str, int], change: dict[str, int | None]) -> None:
    for name, file in change.items():
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


def survivors(
    before: State, calls: Sequence[Call], rng: random.Random
) -> Iterator[tuple[int, State]]:
    """Without end: how many calls were made when the power was cut, and what may be left.

    Some are found again and again.
    """
    while True:
        cut = rng.randint(0, len(calls))
        disk = Disk.of(before)
        for call in calls[:cut]:
            disk.step(call)
        for _ in range(8):  # to come there costs more than to look
            yield cut, disk.survivor(rng)
