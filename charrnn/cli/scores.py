"""What charrnn eval prints: figures of files, lines and tokens."""

from __future__ import annotations

import codecs
import hashlib
import heapq
import io
import itertools
import json
import math
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
from charrnn.cli.console import bars_are_wanted, escape, report, say, write
from charrnn.config import EvalConfig
from charrnn.errors import CharrnnError, DataError
from charrnn.evaluation import Judged, Line, Score, by_line, signature
from charrnn.text.corpus import decoded, expand

#: Figures of a line.
_OF_LINES = ("tokens", "unknown", "nats", "bits_per_byte", "bits_per_byte_spelled", "perplexity")

_NARROWEST, _WIDEST = 110, 10_000  # columns of the table


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
        # A bar would stand in the way of what is printed while a text is read.
        self.bars = bars_are_wanted() and (config.whole_files or not sys.stdout.isatty())
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
            self._sign()

    def lines(self, files: Iterable[str]) -> None:
        """A JSON object a line."""
        write(_line({"record": "model", **self.head}))
        found = self._judged_lines(files)
        for source, line in self._ordered(found, lambda f: f[1].score.bits_per_byte_spelled):
            figures = line.score.to_dict()
            record = {
                "record": "line",
                "file": source.name,
                "line": line.number,
                "offset": source.start + line.offset,
                "text": line.text.removesuffix("\n"),
                **{key: figures[key] for key in _OF_LINES},
            }
            write(_line(record))

    def _judged_lines(self, files: Iterable[str]) -> Iterator[tuple[_Source, Line]]:
        for source in self._sources(files):
            with self._reported(source.name):
                for line in by_line(self.evaluator.judged(source.pieces())):
                    yield source, line

    def tokens(self, files: Iterable[str]) -> None:
        """A JSON object a token."""
        write(_line({"record": "model", **self.head}))
        for source in self._sources(files):
            with self._reported(source.name):
                for judged in self.evaluator.judged(source.pieces()):
                    write("".join(map(_line, self._token_records(source, judged))))

    def _token_records(self, source: _Source, judged: Judged) -> Iterator[dict[str, Any]]:
        segment, verdicts = judged
        offsets = (source.start + segment.byte_ends - segment.bytes).tolist()
        ids, known = segment.ids.tolist(), segment.known.tolist()
        nats, ranks, entropies, others, p = (
            getattr(verdicts, field).tolist()
            for field in ("nats", "ranks", "entropies", "others", "p")
        )
        for n in range(len(ids)):
            yield {
                "record": "token",
                "file": source.name,
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
        for name, nats, text in self._ordered(found, lambda f: f[1]):
            write(f"{name}\t{-nats:.6f}\t{text}\n")
        self._sign()

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

    def _sign(self) -> None:
        say(f"{self.head['signature']}, checkpoint {self.head['checkpoint']}")

    # What is read

    def _sources(self, files: Iterable[str]) -> Iterator[_Source]:
        """Every file that is meant."""
        for given in files:
            with self._reported(given):
                yield from (_Source(name, self.bars) for name in expand(given))

    @contextmanager
    def _reported(self, name: str) -> Iterator[None]:
        """An error in one file is no reason to leave out the others."""
        try:
            yield
        except CharrnnError as error:
            if not error.where.startswith(name):  # it was found in the text, and knows no more
                where = f"{name}: {error.where}" if error.where else name
                error = type(error)(error.what, where, error.remedy)
            report(str(error))
            self.errors.append(error)
            self.failed.append({"file": name, "error": str(error)})


class _Source:
    """A file; ``sha256`` is that of its bytes, decompressed, once it was read.

    ``start`` is where its text begins: behind a byte-order mark.
    """

    def __init__(self, name: str, bar: bool) -> None:
        self.name, self.bar, self.start = name, bar, 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def pieces(self) -> Iterator[str]:
        """Its text, piece by piece; with a bar on a terminal, since a long text takes long."""
        notes: list[str] = []
        size = os.path.getsize(self.name) if os.path.isfile(self.name) else None  # noqa: PTH113, PTH202
        plain = not self.name.endswith(".gz")
        first, empty = True, True
        with tqdm(
            total=size if plain else None, unit="B", unit_scale=True, leave=False, delay=1,
            disable=not self.bar, desc=escape(self.name), dynamic_ncols=True,
        ) as bar:  # fmt: skip
            for raw, piece in decoded(self.name, notes):
                if first and raw.startswith(codecs.BOM_UTF8):
                    self.start = len(codecs.BOM_UTF8)
                first = False
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
                where = f"{source.name}, line {number}"
                raise DataError("line without a tab", where, "lines are ID<tab>TEXT")
            names.append(name)
            yield f"{text}\n"


def _line(record: dict[str, Any]) -> str:
    """JSON in UTF-8; what in a file's name is not is written as an escape."""
    text = json.dumps(record, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace").decode()


def _table(rows: list[tuple[str, Score]]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    columns: dict[str, Callable[[Score], str]] = {
        "tokens": lambda s: f"{s.tokens:,}",
        "unknown": lambda s: f"{100 * s.unknown_rate:.2f} %",
        "nats/token": lambda s: _decimal(s.nats_per_token, 4),
        "bits/char": lambda s: _decimal(s.bits_per_character, 4),
        "bits/byte": lambda s: _decimal(s.bits_per_byte, 4),
        "perplexity": lambda s: _decimal(s.perplexity, 2),
        "of known": lambda s: _decimal(s.perplexity_known, 2),
        "top-1": lambda s: f"{100 * s.accuracy[1]:.1f} %",
        "top-5": lambda s: f"{100 * s.accuracy[5]:.1f} %",
    }
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for name, score in rows:
        shown = escape(name).replace("\n", "\\n").replace("\t", "\\t")
        table.add_row(shown, *(show(score) for show in columns.values()))
    # A narrow terminal breaks the lines: better than figures cut off. A file takes any.
    width = max(_NARROWEST, Console().width) if sys.stdout.isatty() else _WIDEST
    page = io.StringIO()
    Console(file=page, width=width, markup=False, emoji=False, color_system=None).print(table)
    write(page.getvalue())


def _decimal(x: float, digits: int) -> str:
    return f"{x:.{digits}f}" if math.isfinite(x) else "-"
