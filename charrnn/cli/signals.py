"""What signals ask of a training run."""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType, TracebackType
from typing import Self

from charrnn.events import Requests

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """While entered, the first of these to come asks the run to stop, the second ends it at once.

    SIGUSR1 asks it to save and go on. A signal that is ignored stays so, as ``nohup`` and a shell's
    background jobs want it.
    """

    def __init__(self) -> None:
        self.requests = Requests()
        self.stopped_by = 0
        """The number of the signal that was the first to come."""

    def __enter__(self) -> Self:
        wanted = [n for n in _STOP if signal.getsignal(n) is not signal.SIG_IGN]
        self._before = {n: signal.signal(n, self._stop) for n in wanted}
        self._before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._save)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.stopped_by:
            end_by(number)
        self.stopped_by, self.requests.stop = number, True
        with contextlib.suppress(OSError):  # a handler must not use what it may have interrupted
            os.write(2, b"\ncharrnn: finishing this step, saving; once more to end at once\n")

    def _save(self, number: int, frame: FrameType | None) -> None:
        self.requests.save = True


def end_by(number: int) -> None:
    """End this process as the signal would have done."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
