"""Reading contexts: the state of a model after a text, and what it expects to follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from charrnn.backend import Array
from charrnn.layers import States
from charrnn.model import CHUNK, Model, Window
from charrnn.params import LEFT
from charrnn.text import UNKNOWN, Ids

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]

_STEPS = (CHUNK, 16, 1)  # windows that a context is read in
_FEW = 4  # lanes that are not filled up to 16
_REMEMBERED = 32
#: Multiplications in a window from which on threads gain more than it takes to wake them.
_SHARED = 2**27


class Reading(NamedTuple):
    """What is known after a context: the states [1, H] each, and on the host logits [1, V].

    ``outputs``, of a reader that keeps them, are the last layer's h [n, H] at all symbols, in parts
    as they were read: a text that has grown shares them with what it was.
    """

    states: States
    logits: Floats
    outputs: tuple[Array, ...] = ()


class Reader:
    """Reads contexts with one side of a model, and remembers the last ones.

    So that a text that has grown by a symbol costs a step. ``RIGHT`` reads texts that are given
    from their end on.
    """

    def __init__(self, model: Model, side: str = LEFT, *, keep_outputs: bool = False) -> None:
        self.model, self.side, self.keep_outputs = model, side, keep_outputs
        self._size = sum(
            weight.array.size
            for name, weight in model.weights.items()
            if name.startswith((f"{side}.", "decoder."))
        )
        self._windows: dict[tuple[int, int], Window] = {}
        self._read: dict[tuple[int, ...], Reading] = {}

    def read(self, ids: Ids | Sequence[int]) -> Reading:
        """After the ids [N], N > 0, from a zero state on."""
        wanted = tuple(map(int, ids))
        known = [k for k in self._read if wanted[: len(k)] == k]
        longest = max(known, key=len, default=())
        reading = self._read.pop(longest, None)
        if reading is None or len(longest) < len(wanted):
            if reading is not None:
                self._read[longest] = reading
            reading = self._read_on(reading, wanted[len(longest) :])
        self._read[wanted] = reading  # the last are those that were wanted last
        for oldest in list(self._read)[:-_REMEMBERED]:
            del self._read[oldest]
        return reading

    def _read_on(self, reading: Reading | None, ids: tuple[int, ...]) -> Reading:
        states, outputs = (reading.states, [*reading.outputs]) if reading else (None, [])
        at = 0
        for steps in _STEPS:
            if len(ids) - at < steps:
                continue
            window = self.window(steps, 1)
            if states is None:
                window.reset()
            else:
                window.states = states
            while len(ids) - at >= steps:
                part = np.array(ids[at : at + steps], np.int32)[:, None]
                h = window.hidden(part)
                if self.keep_outputs:
                    outputs.append(h.copy())
                at += steps
            states = window.states
        logits = window.decode(h[-1:])
        assert states is not None
        return Reading(states, self.model.backend.to_host(logits), tuple(outputs))

    def outputs(self, reading: Reading) -> Floats:
        """The last layer's h [N, H] at each of the N symbols of a context, on the host."""
        backend = self.model.backend
        return backend.to_host(backend.xp.concatenate(reading.outputs))

    def losses(self, states: States, ids: Ids, targets: Ids) -> Floats:
        """After states [1, H]: ids and targets [T, B] -> the cross-entropy of each in nats [T, B].

        The window is a multiple of these sizes, so that few have to be made.
        """
        T, B = ids.shape
        steps, batch = -(-T // 16) * 16, _FEW if B <= _FEW else -(-B // 16) * 16
        room = ((0, steps - T), (0, batch - B))
        window = self.window(steps, batch)
        window.states = states
        losses = window.losses(np.pad(ids, room), np.pad(targets, room))
        found = self.model.backend.to_host(losses).reshape(steps, batch)[:T, :B]
        return np.array(found, np.float64)

    def window(self, steps: int, batch: int) -> Window:
        """Of these sizes; each is made once, and its states are whatever they were."""
        if (steps, batch) not in self._windows:
            threads = None if steps * batch * self._size >= _SHARED else 1
            window = self.model.window(steps, batch, self.side, threads=threads)
            self._windows[steps, batch] = window
        return self._windows[steps, batch]


def log_likelihoods(
    reader: Reader, context: list[int], continuations: list[list[int]], skip: int = 0
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """ln P(continuation | context) of each [n], without its first ``skip`` symbols, 0 or 1."""
    reading = reader.read(context)
    steps = max(map(len, continuations)) - 1
    inputs = np.zeros((steps, len(continuations)), np.int32)
    targets = np.full_like(inputs, -1)
    for column, ids in enumerate(continuations):
        inputs[: len(ids) - 1, column] = ids[:-1]
        targets[: len(ids) - 1, column] = ids[1:]
    scores = np.zeros(len(continuations))
    if steps:
        losses = reader.losses(reading.states, inputs, np.maximum(targets, UNKNOWN))
        scores -= np.where(targets >= 0, losses, 0).sum(axis=0)
    if not skip:
        first = np.array([ids[0] for ids in continuations])
        logits = reading.logits[0].astype(np.float64)
        scores += logits[first] - np.logaddexp.reduce(logits)
    return scores
