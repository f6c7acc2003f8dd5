"""charrnn complete --interactive: suggestions below the line that is being typed."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import typer
from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import BufferControl, FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.layout.containers import VerticalAlign
from prompt_toolkit.layout.processors import (
    BeforeInput,
    Processor,
    Transformation,
    TransformationInput,
)
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.utils import is_dumb_terminal

from charrnn.cli.console import escape, one_line, write
from charrnn.completion import Completion, Suggestion
from charrnn.completion.request import blanks
from charrnn.errors import UsageError

_DIM = "fg:ansibrightblack"
_NUMBER = re.compile(r"\d[.,:]?$")  # behind it a digit goes on with the number


def check_terminal() -> None:
    """Raises ``UsageError`` unless there is somebody to type, and a screen to draw on."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or is_dumb_terminal():
        raise UsageError("--interactive without a terminal", remedy="give TEXT, or lines on stdin")


class _Request(NamedTuple):
    text: str
    mode: str


class _Answer(NamedTuple):
    request: _Request
    suggestions: tuple[Suggestion, ...]
    ms: float


class _Escaped(Processor):
    """Shows in a line that is being typed what is harmful to a terminal by its escape."""

    def apply_transformation(self, given: TransformationInput) -> Transformation:
        shown: StyleAndTextTuples = []
        ends = [0]  # of each character of the line, as it is shown
        for style, text, *_ in given.fragments:
            for spelled in map(escape, text):
                shown.append((style, spelled))
                ends.append(ends[-1] + len(spelled))
        return Transformation(
            shown,
            source_to_display=lambda place: ends[min(place, len(ends) - 1)],
            display_to_source=lambda place: bisect_right(ends, place) - 1,
        )


class Session:
    """Reads lines, with suggestions for what stands before the cursor, or for a line's blanks.

    Completions are made one at a time, on a thread of their own: what is typed meanwhile makes one
    request, the newest. Suggestions that are older than the line are dim and cannot be taken.
    """

    def __init__(self, load: Callable[[], Callable[..., Completion]], mode: str) -> None:
        """``load`` gives what completes a text; ``mode`` is its mode unless it has blanks."""
        self._load, self._mode = load, mode
        self._answer: _Answer | None = None
        self._taken = False  # the word before the cursor: so it is whole
        self._ended: typer.Exit | None = None  # by a signal
        self._changed = asyncio.Event()
        self._buffer = Buffer(
            multiline=False,
            accept_handler=self._accept,
            on_text_changed=self._notice,
            on_cursor_position_changed=self._notice,
        )
        line = BufferControl(
            self._buffer, input_processors=[_Escaped(), BeforeInput("> ", style=_DIM)]
        )
        windows = [
            Window(control, wrap_lines=True, dont_extend_height=True)
            for control in (line, FormattedTextControl(self._below))
        ]
        self._app: Application[str] = Application(
            Layout(HSplit(windows, align=VerticalAlign.TOP)),
            key_bindings=self._keys(),
            erase_when_done=True,
        )

    def run(self) -> None:
        """Print each line that is entered; until the input ends, or a ``KeyboardInterrupt``."""
        # An event loop that closes may be told just then, through a pipe, what its thread has done.
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        with ThreadPoolExecutor(1) as self._thread:
            self._complete = self._thread.submit(self._load).result()  # a GPU is a thread's
            while True:
                try:
                    with patch_stdout():  # notes on stderr go above the line
                        line = self._app.run(pre_run=self._begin)
                except EOFError:
                    return
                write(line + "\n")
                if self._ended:
                    raise self._ended

    def _begin(self) -> None:
        self._taken = False
        self._changed = asyncio.Event()  # an event loop has its own
        self._app.create_background_task(self._keep_up())
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, self._end_by, number)

    def _end_by(self, number: int) -> None:
        """End as the signal would, which would leave the terminal as it is; a second one does."""
        asyncio.get_running_loop().remove_signal_handler(number)
        self._ended = typer.Exit(128 + number)
        if not self._app.is_done:  # by Enter, or by another signal, just now
            self._app.exit(exception=self._ended)

    def _accept(self, buffer: Buffer) -> bool:
        self._app.exit(result=buffer.text)
        return False

    def _notice(self, buffer: Buffer) -> None:
        self._taken = False
        self._changed.set()

    async def _keep_up(self) -> None:
        """Answer the newest request, for as long as a line is typed."""
        loop = asyncio.get_running_loop()
        while True:
            if self._settled():
                await self._changed.wait()
                self._changed.clear()
                continue
            try:
                request = self._request()
                self._answer = await loop.run_in_executor(self._thread, self._answered, request)
            except Exception as error:
                self._app.exit(exception=error)
                return
            self._app.invalidate()

    def _request(self) -> _Request:
        document = self._buffer.document
        if blanks(document.text):
            return _Request(document.text, "auto")
        return _Request(document.text_before_cursor, "next" if self._taken else self._mode)

    def _answered(self, request: _Request) -> _Answer:
        begin = time.perf_counter()
        found = self._complete(request.text, mode=request.mode)
        return _Answer(request, found.suggestions, 1000 * (time.perf_counter() - begin))

    def _settled(self) -> bool:
        """Whether what is shown is for the line as it stands."""
        return self._answer is not None and self._answer.request == self._request()

    def _below(self) -> StyleAndTextTuples:
        """The suggestions, each behind the digit that takes it, and how long they took."""
        if self._answer is None:
            return []
        style = "" if self._settled() else _DIM
        shown: StyleAndTextTuples = []
        for number, suggestion in enumerate(self._answer.suggestions, 1):
            label = f"{number} " if number < 10 else ""
            shown += [(_DIM, label), (style, one_line(suggestion.text) + "   ")]
        if not shown:
            shown = [(style, "nothing to suggest   ")]
        return [*shown, (_DIM, f"{self._answer.ms:.1f} ms")]

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        keys.add("tab")(lambda event: self._take(1))
        for digit in "123456789":
            means_a_suggestion = Condition(partial(self._takes, int(digit)))
            keys.add(digit, filter=means_a_suggestion)(lambda event: self._take(int(event.data)))
        for digit in "0123456789":
            keys.add("escape", digit)(lambda event: self._buffer.insert_text(event.data))
        for key in ("c-c", "<sigint>"):
            keys.add(key)(lambda event: event.app.exit(exception=KeyboardInterrupt))
        keys.add("c-z")(lambda event: event.app.suspend_to_background())
        # Text that is typed or pasted may look like a click ("\x1b[31m", a colour), which
        # prompt_toolkit then fails to read; clicks that are real are not asked for.
        keys.add(Keys.Vt100MouseEvent)(lambda event: None)
        at_an_empty_line = Condition(lambda: not self._buffer.text)
        keys.add("c-d", filter=at_an_empty_line)(lambda event: event.app.exit(exception=EOFError))
        return keys

    def _takes(self, number: int) -> bool:
        """Whether a digit takes a suggestion; else it is typed."""
        before = self._buffer.document.text_before_cursor
        return self._offered(number) is not None and not _NUMBER.search(before)

    def _offered(self, number: int) -> Suggestion | None:
        found = self._answer.suggestions if self._answer and self._settled() else ()
        return found[number - 1] if number <= len(found) else None

    def _take(self, number: int) -> None:
        """Insert the suggestion of this number, in place of the blanks if there are any."""
        suggestion = self._offered(number)
        if suggestion is None:
            return
        gaps = blanks(self._buffer.text)
        if not gaps:
            self._buffer.insert_text(suggestion.insert)
            self._taken = True
            return
        words = suggestion.insert.split(" ")
        filled = "".join(
            gap.left + gap.prefix + word for gap, word in zip(gaps, words, strict=True)
        )
        text = filled + gaps[-1].right
        behind = min(len(self._buffer.document.text_after_cursor), len(gaps[-1].right))
        self._buffer.document = Document(text, len(text) - behind)
