"""A training run as a person sees it: tables before, a live bar or plain lines, a summary."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from types import TracebackType
from typing import Any, Self

from rich import filesize
from tqdm import tqdm

from charrnn.cli.console import (
    bars_are_wanted,
    escape,
    on_a_terminal_or_not,
    one_line,
    rich_console,
    shell_word,
    two_columns,
    write,
)
from charrnn.cli.summary import layer_summary
from charrnn.events import (
    Event,
    Finished,
    NotSaved,
    Prepared,
    RolledBack,
    Sampled,
    Skipped,
    Step,
    Validated,
)
from charrnn.recipe import option

_LINE_EVERY_S = 10.0  # where there is no terminal for a bar
_FIRST_ESTIMATE = 20  # steps: the first are slower than the rest
_clock = tqdm.format_interval

_UNITS = {"char": ("character", "char"), "word": ("word", "word")}


class Progress:
    """Draws the events of a run on stderr; the run folder's name goes to stdout."""

    def __init__(self) -> None:
        self.console = rich_console(stderr=True)
        self.bar: tqdm[Any] | None = None
        self.train_loss = math.nan
        self.line_due = time.monotonic() + _LINE_EVERY_S
        self.estimated = False
        self.unit, self.short = _UNITS["char"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            with contextlib.suppress(OSError):
                self.bar.close()

    def show(self, event: Event) -> None:
        """Draw one event.

        What cannot be shown, since the terminal has gone or the disk is full, is left out: the
        work goes on.
        """
        with contextlib.suppress(OSError):
            self._draw(event)
        if isinstance(event, Finished):
            with on_a_terminal_or_not():
                write(event.run + "\n")

    def _draw(self, event: Event) -> None:
        match event:
            case Prepared():
                self._prepared(event)
            case Step():
                self._step(event)
            case Validated():
                self._validated(event)
            case Sampled():
                self._print(_indent(escape(event.text)))
            case NotSaved():
                self._print(f"warning: {escape(event.reason)}; trying again at the next checkpoint")
            case Skipped():
                self._print(f"step {event.step} skipped: its loss or gradient is not finite")
            case RolledBack():
                self._print(
                    f"diverged: back from step {event.step} to {event.to}, "
                    f"at {event.rate_scale:g} times the learning rate"
                )
            case Finished():
                self._finished(event)

    def _print(self, text: str) -> None:
        """A line above the bar."""
        if self.bar is None:
            print(text, file=sys.stderr)
        else:
            self.bar.write(text, file=sys.stderr)

    def _prepared(self, event: Prepared) -> None:
        corpus, chosen = event.corpus, _named(event.chosen)
        self.unit, self.short = _UNITS[event.model.level]
        rows = [
            ("corpus", ", ".join(corpus["sources"])),
            ("corpus", f"{filesize.decimal(corpus['bytes'])}, {corpus['characters']:,} characters"),
            ("split", f"{corpus['train_symbols']:,} to train on{_outside(corpus, 'train')}"),
            (
                "split",
                f"{corpus['valid_symbols']:,} to validate on ({corpus['split']})"
                f"{_outside(corpus, 'valid')}",
            ),
            ("vocabulary", f"{event.model.vocab_size - 1:,} {self.unit}s and the unknown one"),
            ("budget", _budget(event)),
            ("chosen", chosen or "nothing: all was given"),
            ("memory", f"about {filesize.decimal(event.memory)}, on {event.device}"),
            ("run", event.run + (f", from step {event.resumed:,} on" if event.resumed else "")),
        ]
        self._print(two_columns(rows).rstrip("\n"))
        self.console.print(layer_summary(event.model, event.train.seq_len, event.train.batch_size))
        for note in event.notes:
            self._print(f"note: {one_line(note)}")
        if bars_are_wanted():
            form = "{percentage:3.0f}%|{bar}| {desc}"
            self.bar = tqdm(total=1.0, bar_format=form, leave=False, dynamic_ncols=True)

    def _step(self, event: Step) -> None:
        self.train_loss = event.loss
        if not self.estimated and event.step >= _FIRST_ESTIMATE:
            self.estimated = True
            rate = f"{event.tokens_per_s:,.0f} {self.unit}s/s"
            self._print(f"expected time: {_clock(event.remaining_s)}, at {rate}")
        text = (
            f"step {event.step}  loss {event.loss:.3f}  norm {event.grad_norm:.2f}  "
            f"{event.tokens_per_s / 1000:.1f}k {self.short}s/s  {_clock(event.remaining_s)} left"
        )
        if self.bar is not None:
            self.bar.n = event.progress
            self.bar.set_description_str(text)
        elif time.monotonic() >= self.line_due:
            self.line_due = time.monotonic() + _LINE_EVERY_S
            self._print(f"{event.progress:4.0%}  {text}")

    def _validated(self, event: Validated) -> None:
        self._print(
            f"{_clock(event.elapsed_s):>7}  step {event.step}  epoch {event.epoch:.2f}  "
            f"train {self.train_loss:.4f}  valid {event.nats:.4f} nats/{self.short}  "
            f"{self._derived(event.nats, event.bits_per_character)}{'  best' if event.best else ''}"
        )

    def _finished(self, event: Finished) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        self._print(
            f"done in {_clock(event.elapsed_s)}: {event.best_nats:.4f} nats/{self.short}, "
            f"{self._derived(event.best_nats, event.best_bits_per_character)} "
            f"at step {event.best_step} (best)\n"
            f"{escape(event.signature)}\n"
            f"try it: charrnn sample -m {shell_word(event.run)}"
        )

    def _derived(self, nats: float, bits_per_character: float) -> str:
        """Of words the perplexity, which is what others publish; bits compare with characters."""
        perplexity = f"perplexity {math.exp(nats):,.4g}, " if self.unit == "word" else ""
        return f"{perplexity}{bits_per_character:.4f} bits/char"


def _outside(corpus: dict[str, Any], part: str) -> str:
    return f", {corpus[f'{part}_unknown']:,} of them outside the vocabulary"


def _budget(event: Prepared) -> str:
    steps = f", {event.steps:,} steps" if event.steps and event.budget.steps is None else ""
    unit, _ = _UNITS[event.model.level]
    window = f"windows of {event.train.seq_len} {unit}s in {event.train.batch_size} lanes"
    evals = min(event.train.evals, event.steps or event.train.evals)
    return f"{event.budget.describe()}{steps}; {window}; {evals} validations"


def _named(chosen: dict[str, Any]) -> str:
    names = {name: option(name) for name in chosen}
    return " ".join(
        names[name].replace("--", "--" if value else "--no-")
        if isinstance(value, bool)
        else f"{names[name]} {value if isinstance(value, str) else f'{value:g}'}"
        for name, value in chosen.items()
    )


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
