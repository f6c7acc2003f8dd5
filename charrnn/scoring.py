"""Reading texts with a model: one long one, lines side by side, one in lanes."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from charrnn.backend import Array, Backend
from charrnn.layers import Head, States
from charrnn.model import CHUNK, Model, Window
from charrnn.network import Network
from charrnn.params import cuts
from charrnn.text import Ids
from charrnn.text.segments import Segment
from charrnn.text.store import NumberFile
from charrnn.verdicts import Numbers, Verdicts, judge, rank

_STEPS = (1024, 64)  # of the windows that one long text is read in
_LANES, _LINE_STEPS = 32, 64  # of the window that many short ones are read in
_ROWS = 8192  # of a window of lanes, at most: more of them take no more memory


class Decoder:
    """From hidden states to verdicts, a part of the rows in each thread."""

    def __init__(
        self, model: Model, rows: int, alternatives: int, temperature: float = 1.0
    ) -> None:
        """For at most so many rows at a time; logits are divided by the ``temperature``."""
        self.backend, self.alternatives = model.backend, alternatives
        self.temperature = temperature
        weight, bias = model.weights["decoder.weight"], model.params["decoder.bias"]
        size = -(-rows // self.backend.threads)
        self.heads = [
            Head(self.backend, weight, bias, None, size) for _ in range(self.backend.threads)
        ]

    def tasks(self, h: Array, targets: Ids) -> list[Callable[[], Verdicts]]:
        """Independent parts of the work on h [n, H] and targets [n], n no more than ``rows``."""
        shares = cuts(0, len(targets), len(self.heads))
        return [
            partial(_decoded, self.backend, head, h[a:b], targets[a:b], self.alternatives,
                    self.temperature)
            for head, (a, b) in zip(self.heads, shares, strict=True)
        ]  # fmt: skip

    def verdicts(self, h: Array, targets: Ids) -> Verdicts:
        """All of it at once."""
        return Verdicts.joined(self.backend.map(lambda task: task(), self.tasks(h, targets)))


def _decoded(
    backend: Backend,
    head: Head,
    h: Array,
    targets: Ids,
    alternatives: int,
    temperature: float = 1.0,
) -> Verdicts:
    """From h [n, H] and targets [n], as many logits at a time as there is room for."""
    parts, kernel = [], backend.kernel("rank", rank)
    for at in range(0, max(1, len(h)), head.chunk):
        rows = slice(at, at + head.chunk)
        logits = backend.to_host(head.logits(h[rows]))
        if temperature != 1:
            logits /= temperature
        parts.append(judge(logits, targets[rows], alternatives, kernel))
    return Verdicts.joined(parts)


class TextReader(Protocol):
    """Reads one text of any length from its beginning on."""

    def verdicts(
        self, segments: Iterable[Segment], start: int
    ) -> Iterator[tuple[Segment, Verdicts]]:
        """What is made of each segment; ``start`` is the id before the first symbol."""


class LongText:
    """Reads a text with the model as it is, the context never cut.

    The text is cut into windows of time, and the work on each into stages: of every layer the input
    products, then the steps; last the decoder. While a window is at one stage, the next one is at
    the stage before: so all threads have something to do, though every step waits for the last.
    """

    def __init__(self, model: Model, alternatives: int = 0, temperature: float = 1.0) -> None:
        self.backend = model.backend
        # By turns, so that a window's buffers are left alone until it is two stages further.
        self.networks = {
            steps: [model.window(steps, 1).parts[0] for _ in range(2)] for steps in _STEPS
        }
        self.decoder = Decoder(model, _STEPS[0], alternatives, temperature)
        self.states: States = []

    def verdicts(
        self, segments: Iterable[Segment], start: int
    ) -> Iterator[tuple[Segment, Verdicts]]:
        """What is made of each segment; ``start`` is the id before the first symbol."""
        network = self.networks[_STEPS[0]][0]
        network.reset()
        self.states = [[state.copy() for state in scan] for scan in network.states]
        yield from regrouped(segments, start, _STEPS, self._in_stages)

    def _in_stages(self, windows: Iterable[tuple[Ids, Ids]]) -> Iterator[Verdicts]:
        """Each round, every window that is being read gets one stage further."""
        stages = 2 * len(self.states) + 1
        works = map(self._work, itertools.count(), windows)
        line: deque[_Work | None] = deque([None] * stages, stages)  # by the stage that comes next
        for work in itertools.chain(works, [None] * (stages - 1)):
            line.appendleft(work)
            *running, _ = enumerate(line)
            running.sort(key=lambda place: place[0] % 2 == 0)  # what takes longest begins first
            tasks: list[Callable[[], Any]] = []
            for stage, work in running:
                if work:
                    tasks += self._tasks(work, *divmod(stage, 2))
            count = len(tasks)
            if done := line[-1]:
                tasks += self.decoder.tasks(done.h, done.targets)
            results = self.backend.map(lambda task: task(), tasks)
            if done:
                yield Verdicts.joined(results[count:])

    def _work(self, number: int, window: tuple[Ids, Ids]) -> _Work:
        ids, targets = window
        return _Work(self.networks[_STEPS[len(ids) < _STEPS[0]]][number % 2], ids, targets)

    def _tasks(self, work: _Work, layer: int, steps: int) -> list[Callable[[], None]]:
        """The input products of a layer, or its ``steps``."""
        if steps:
            return [partial(self._run, work, layer)]
        if layer == 0:
            return [partial(self._begin, work)]
        shares = cuts(0, len(work.h), self.backend.threads)
        project = work.network.stack.scans[layer].project
        return [partial(project, work.h, part=slice(a, b)) for a, b in shares]

    def _begin(self, work: _Work) -> None:
        network = work.network
        ids = np.pad(work.ids, (0, network.stack.shape[0] - len(work.ids)))
        network.stack.scans[0].project(*network.embedding.forward(ids[:, None]))

    def _run(self, work: _Work, layer: int) -> None:
        scan = work.network.stack.scans[layer]
        for to, state in zip(scan.initial, self.states[layer], strict=True):
            to[...] = state
        h = scan.run()
        work.h = h.reshape(len(h), -1)
        self.states[layer] = [state.copy() for state in scan.final]


@dataclass
class _Work:
    """A window that is being read: ids and targets [N], and h [T, H] of the last layer so far."""

    network: Network
    ids: Ids
    targets: Ids
    h: Array = None


def regrouped(
    segments: Iterable[Segment],
    start: int,
    steps: Sequence[int],
    read: Callable[[Iterable[tuple[Ids, Ids]]], Iterator[Verdicts]],
) -> Iterator[tuple[Segment, Verdicts]]:
    """What ``read`` makes of windows, for each segment; ``start`` is the id before the first.

    Windows have the first of ``steps``, at the end of the text the others, and the last what is
    left.
    """
    unjudged: deque[Segment] = deque()

    def windows() -> Iterator[tuple[Ids, Ids]]:
        ids = np.array([start], np.int32)
        for segment in itertools.chain(segments, [None]):
            if segment:
                unjudged.append(segment)
                ids = np.concatenate([ids, segment.ids])
            at = 0
            for length in steps if segment is None else steps[:1]:
                while len(ids) - 1 - at >= length:
                    yield ids[at : at + length], ids[at + 1 : at + 1 + length]
                    at += length
            ids = ids[at:]
        if len(ids) > 1:
            yield ids[:-1], ids[1:]

    found: list[Verdicts] = []
    count = 0
    for verdicts in read(windows()):
        found.append(verdicts)
        count += len(verdicts.nats)
        while unjudged and count >= len(unjudged[0].ids):
            segment, every = unjudged.popleft(), Verdicts.joined(found)
            yield segment, every.part(slice(len(segment.ids)))
            found = [every.part(slice(len(segment.ids), None))]
            count -= len(segment.ids)


class Lines:
    """Reads many short texts side by side, each from a zero state."""

    def __init__(self, model: Model, alternatives: int = 0) -> None:
        self.window, self.alternatives = model.window(_LINE_STEPS, _LANES), alternatives

    def verdicts(self, texts: Sequence[Ids], start: int) -> list[Verdicts]:
        """What is made of each text [N]; ``start`` is the id before their first symbols."""
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
        found: dict[int, Verdicts] = {}
        for at in range(0, len(order), _LANES):
            chosen = order[at : at + _LANES]
            found |= zip(chosen, self._beside([texts[n] for n in chosen], start), strict=True)
        return [found[n] for n in range(len(texts))]

    def _beside(self, texts: list[Ids], start: int) -> list[Verdicts]:
        lengths = np.array([len(text) for text in texts] + [0] * (_LANES - len(texts)))
        steps = self.window.seq_len
        rounds = max(1, -(-int(lengths.max()) // steps))
        ids = np.full((steps + 1, _LANES), start, np.int32)
        self.window.reset()
        parts = []
        for at in range(0, rounds * steps, steps):
            counts = np.clip(lengths - at, 0, steps)
            for lane, text in enumerate(texts):
                ids[1 : counts[lane] + 1, lane] = text[at : at + steps]
            _, verdicts = _read(self.window, ids, counts, self.alternatives)
            ids[0] = ids[-1]
            places = [slice(e - n, e) for e, n in zip(np.cumsum(counts), counts, strict=True)]
            parts.append([verdicts.part(place) for place in places])
        return [Verdicts.joined(found) for found in zip(*parts, strict=True)][: len(texts)]


class Lanes:
    """Reads one text in parts of the same length side by side, each from a zero state.

    Several times as quick as ``LongText``; at the beginning of each part the context is lost.
    """

    def __init__(self, model: Model, count: int) -> None:
        self.window = model.window(max(1, min(2 * CHUNK, _ROWS // count)), count)
        self.forget()

    def forget(self) -> None:
        """Begin a new text."""
        self.ids = NumberFile(np.dtype(np.uint32))

    def append(self, ids: Ids) -> None:
        """More of the text; it is kept in a temporary file."""
        self.ids.append(ids)

    def verdicts(self, start: int) -> Iterator[tuple[Ids, Verdicts]]:
        """Ids and what is made of them, in no order, and the text is forgotten."""
        steps, lanes = self.window.seq_len, self.window.batch
        bounds = cuts(0, len(self.ids), lanes)
        self.window.reset()
        for at in range(0, max(b - a for a, b in bounds), steps):
            ids = np.full((steps + 1, lanes), start, np.int32)
            for lane, (a, b) in enumerate(bounds):
                begin, end = max(0, a + at - 1), min(b, a + at + steps)
                read = self.ids.read(range(begin, max(begin, end)))
                ids[begin - (a + at - 1) :, lane][: len(read)] = read
            counts = np.array([max(0, min(steps, b - a - at)) for a, b in bounds])
            yield _read(self.window, ids, counts)
        self.forget()


def _read(window: Window, ids: Ids, counts: Numbers, alternatives: int = 0) -> tuple[Ids, Verdicts]:
    """The ids [T+1, B] of a window and the symbol before it, of which so many count in each lane.

    Gives those that count, a lane after the other, and what is made of them. All of it is done by
    the thread that has read the lanes: h is still in its cache.
    """

    def part(number: int) -> tuple[Ids, Verdicts]:
        columns, network = window.columns[number], window.parts[number]
        x, targets = (np.ascontiguousarray(i[:, columns]) for i in (ids[:-1], ids[1:]))
        h = network.hidden(x)
        verdicts = _decoded(window.backend, network.head, h, targets.reshape(-1), alternatives)
        steps, lanes = targets.shape
        order = np.arange(steps * lanes).reshape(steps, lanes)
        counted = np.arange(steps)[:, None] < counts[columns]
        places = order.T[counted.T]
        return targets.reshape(-1)[places], verdicts.part(places)

    found = window.backend.map(part, range(len(window.parts)))
    targets, verdicts = zip(*found, strict=True)
    return np.concatenate(targets), Verdicts.joined(verdicts)
