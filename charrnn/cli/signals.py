"""What signals ask of a training run."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from charrnn.events import Requests

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TOGETHER = 0.2  # seconds in which nobody types Ctrl-C twice


class Signals:
    """While entered, SIGUSR1 asks a run to save and go on, and those that end a process to stop.

    They are caught from when ``catch_ends`` is called; a SIGINT after the first of them ends the
    run at once, but not just after: signals may come twice of themselves, from the shell and the
    terminal, or to a process and its group, as those of ``timeout``. A signal that is ignored stays
    so, as ``nohup`` and a shell's background jobs want it.
    """

    def __init__(self) -> None:
        self.requests = Requests()
        self.stopped_by = 0
        """The number of the signal that was the first to come."""
        self._stopped_at = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._catch(signal.SIGUSR1, self._save)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def catch_ends(self) -> None:
        """From now on there is something to save."""
        for number in _ENDS:
            self._catch(number, self._stop)

    def _catch(self, number: int, handler: Callable[[int, FrameType | None], None]) -> None:
        if signal.getsignal(number) is not signal.SIG_IGN:
            self._before[number] = signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.stopped_by:
            if number == signal.SIGINT and time.monotonic() - self._stopped_at > _TOGETHER:
                end_by(number)
            return
        self.stopped_by, self.requests.stop = number, True
        self._stopped_at = time.monotonic()
        with contextlib.suppress(OSError):  # a handler must not use what it may have interrupted
            os.write(2, b"\ncharrnn: finishing this step, saving; Ctrl-C ends it at once\n")

    def _save(self, number: int, frame: FrameType | None) -> None:
        self.requests.save = True


def end_by(number: int) -> None:
    """End this process as the signal would have done."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
