"""What charrnn eval prints: figures of files, lines and tokens."""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from charrnn.api import LanguageModel
from charrnn.cli.console import escape, report, say, write
from charrnn.config import EvalConfig
from charrnn.errors import CharrnnError, DataError
from charrnn.evaluation import Judged, Line, Score, by_line, signature
from charrnn.text.corpus import decoded, expand

#: Figures of a line.
_OF_LINES = ("tokens", "unknown", "nats", "bits_per_byte", "bits_per_byte_spelled", "perplexity")


class Batch:
    """Scores files one by one and prints what was asked for."""

    def __init__(self, lm: LanguageModel, config: EvalConfig) -> None:
        self.config = config
        details = config.alternatives if config.per == "token" else 0
        self.evaluator = lm.evaluator(
            lines=config.by_line, lanes=config.lanes, alternatives=details
        )
        how = f"lanes:{config.lanes}|state:{'line' if config.by_line else 'carried'}"
        self.head = {
            "signature": signature(lm.config, lm.vocabulary, how),
            "checkpoint": lm.checkpoint.sha256,
        }
        self.symbols = lm.vocabulary.tokens
        self.errors: list[CharrnnError] = []
        self.failed: list[dict[str, str]] = []

    # What is printed

    def files(self, files: Iterable[str], *, as_json: bool, score_only: bool) -> None:
        """All figures of each file, and of all together; or one number."""
        found, total = [], Score()
        for source in self._sources(files):
            with self._reported(source.name):
                score = self.evaluator.score(source.pieces())
                found.append((source, score))
                total += score
        if as_json:
            rows = [{"file": s.name, "sha256": s.sha256, **score.to_dict()} for s, score in found]
            result = {**self.head, "files": rows, "total": total.to_dict(), "errors": self.failed}
            write(_line(result))
        elif found and score_only:
            write(f"{total.bits_per_byte:.6f}\n")
        elif found:
            named = [(s.name, score) for s, score in found]
            _table(named + [("all", total)] * (len(named) > 1))
        if not as_json:
            say(f"{self.head['signature']}, checkpoint {self.head['checkpoint']}")

    def lines(self, files: Iterable[str]) -> None:
        """A JSON object a line."""
        write(_line({"record": "model", **self.head}))
        found = self._judged_lines(files)
        for name, line in self._ordered(found, key=lambda f: f[1].score.bits_per_byte_spelled):
            figures = line.score.to_dict()
            record = {
                "record": "line",
                "file": name,
                "line": line.number,
                "offset": line.offset,
                "text": line.text.removesuffix("\n"),
                **{key: figures[key] for key in _OF_LINES},
            }
            write(_line(record))

    def _judged_lines(self, files: Iterable[str]) -> Iterator[tuple[str, Line]]:
        for source in self._sources(files):
            with self._reported(source.name):
                for line in by_line(self.evaluator.judged(source.pieces())):
                    yield source.name, line

    def tokens(self, files: Iterable[str]) -> None:
        """A JSON object a token."""
        write(_line({"record": "model", **self.head}))
        for source in self._sources(files):
            with self._reported(source.name):
                for judged in self.evaluator.judged(source.pieces()):
                    write("".join(map(_line, self._token_records(source.name, judged))))

    def _token_records(self, name: str, judged: Judged) -> Iterator[dict[str, Any]]:
        segment, verdicts = judged
        offsets = (segment.byte_ends - segment.bytes).tolist()
        ids, known = segment.ids.tolist(), segment.known.tolist()
        nats, ranks, entropies, others, p = (
            getattr(verdicts, field).tolist()
            for field in ("nats", "ranks", "entropies", "others", "p")
        )
        for n in range(len(ids)):
            yield {
                "record": "token",
                "file": name,
                "offset": offsets[n],
                "text": segment.symbol(n),
                "known": known[n],
                "logprob": -nats[n],
                "rank": ranks[n],
                "entropy": entropies[n],
                "alternatives": [
                    {"text": self.symbols[other], "p": q}
                    for other, q in zip(others[n], p[n], strict=True)
                ],
            }

    def hypotheses(self, files: Iterable[str]) -> None:
        """ID, log-probability in nats and text, between tabs."""
        found = self._judged_hypotheses(files)
        for name, nats, text in self._ordered(found, key=lambda f: f[1]):
            write(f"{name}\t{-nats:.6f}\t{text}\n")

    def _judged_hypotheses(self, files: Iterable[str]) -> Iterator[tuple[str, float, str]]:
        for source in self._sources(files):
            names: deque[str] = deque()
            with self._reported(source.name):
                for judged in self.evaluator.judged(_texts_of(source, names)):
                    text = judged.segment.text.removesuffix("\n")
                    yield names.popleft(), float(judged.verdicts.nats.sum()), text

    def _ordered(self, found: Iterable[Any], key: Callable[[Any], float]) -> Iterable[Any]:
        """As they come, or those with the largest or smallest key first; as many as are wanted."""
        top, order = self.config.top, self.config.sort
        if order == "text":
            return itertools.islice(found, top or None)
        if top:
            first = heapq.nlargest if order == "surprisal" else heapq.nsmallest
            return first(top, found, key=key)
        return sorted(found, key=key, reverse=order == "surprisal")

    # What is read

    def _sources(self, files: Iterable[str]) -> Iterator[_Source]:
        """Every file that is meant."""
        for given in files:
            with self._reported(given):
                yield from map(_Source, expand(given))

    @contextmanager
    def _reported(self, name: str) -> Iterator[None]:
        """An error in one file is no reason to leave out the others."""
        try:
            yield
        except CharrnnError as error:
            report(str(error))
            self.errors.append(error)
            self.failed.append({"file": name, "error": str(error)})


class _Source:
    """A file; ``sha256`` is that of its bytes, decompressed, once it was read."""

    def __init__(self, name: str) -> None:
        self.name, self._digest = name, hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def pieces(self) -> Iterator[str]:
        """Its text, piece by piece; with a bar on a terminal, since a long text takes long."""
        notes: list[str] = []
        size = os.path.getsize(self.name) if os.path.isfile(self.name) else None  # noqa: PTH113, PTH202
        plain = not self.name.endswith(".gz")
        empty = True
        with tqdm(
            total=size if plain else None, unit="B", unit_scale=True, leave=False, delay=1,
            disable=not sys.stderr.isatty(), desc=escape(self.name), dynamic_ncols=True,
        ) as bar:  # fmt: skip
            for raw, piece in decoded(self.name, notes):
                self._digest.update(raw)
                empty = empty and not piece
                yield piece
                bar.update(len(raw))
        if empty:
            raise DataError("empty file", self.name, "there is nothing to score")
        for note in notes:
            say(note)


def _texts_of(source: _Source, names: deque[str]) -> Iterator[str]:
    """The texts of lines ID<tab>TEXT, each with its line break; the IDs go into ``names``."""
    rest, number = "", 0
    for piece in itertools.chain(source.pieces(), [None]):
        *whole, rest = (rest + (piece or "")).split("\n")
        for line in whole + [rest] * (piece is None and rest != ""):
            number += 1
            name, tab, text = line.partition("\t")
            if not tab:
                raise DataError(
                    "line without a tab", f"{source.name}, line {number}", "ID<tab>TEXT"
                )
            names.append(name)
            yield f"{text}\n"


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def _table(rows: list[tuple[str, Score]]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    columns: dict[str, Callable[[Score], str]] = {
        "tokens": lambda s: f"{s.tokens:,}",
        "unknown": lambda s: f"{100 * s.unknown_rate:.2f} %",
        "nats/token": lambda s: f"{s.nats_per_token:.4f}",
        "bits/char": lambda s: f"{s.bits_per_character:.4f}",
        "bits/byte": lambda s: f"{s.bits_per_byte:.4f}",
        "perplexity": lambda s: f"{s.perplexity:.2f}",
        "of known": lambda s: f"{s.perplexity_known:.2f}",
        "top-1": lambda s: f"{100 * s.accuracy[1]:.1f} %",
        "top-5": lambda s: f"{100 * s.accuracy[5]:.1f} %",
    }
    for name in columns:
        table.add_column(name, justify="right")
    for name, score in rows:
        table.add_row(escape(name), *(show(score) for show in columns.values()))
    width = None if sys.stdout.isatty() else 200
    Console(highlight=False, markup=False, emoji=False, width=width).print(table)
