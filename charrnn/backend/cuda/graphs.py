"""A step of the device's work captured in a CUDA graph, which one call launches again.

Nothing here imports CuPy: its module comes with the backend.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Generic

from charrnn.backend.base import Result
from charrnn.backend.cuda.cublas import Cublas


class CapturedStep(Generic[Result]):
    """See ``Backend.capture``.

    The first call is the step as it stands: whatever is compiled or set up when it is first used
    must be there before the second, which captures. Where that fails the step stays what it is,
    several times slower, and ``announce`` is told why.
    """

    def __init__(
        self,
        cupy: Any,
        cublas: Cublas,
        announce: Callable[[str], None],
        step: Callable[[], Result],
    ) -> None:
        self.cupy, self.cublas, self.announce, self.step = cupy, cublas, announce, step
        self.calls = 0
        self.graph: Any = None

    def __call__(self) -> Result:
        self.calls += 1
        if self.calls == 2:
            try:
                self.result = self._capture()
            except RuntimeError as error:  # CUDA's, cuBLAS's, and what CuPy does not capture
                self.announce(f"steps are not captured in a CUDA graph, so slower: {error}")
        if self.graph is None:
            return self.step()
        self.graph.launch()  # on the stream that all else is on
        return self.result

    def _capture(self) -> Result:
        """Queue the step where nothing is run, on a stream of its own; gives its result to be.

        What it allocates is the graph's: from a pool that nobody else gets memory from, and that
        is not given back before the graph is.
        """
        cuda = self.cupy.cuda
        stream, self.pool = cuda.Stream(non_blocking=True), cuda.MemoryPool()
        current = cuda.get_current_stream().ptr
        with stream, cuda.using_allocator(self.pool.malloc), self.cublas.on(stream.ptr, current):
            stream.begin_capture()
            try:
                result = self.step()
            except BaseException:
                with contextlib.suppress(RuntimeError):  # of a capture that is broken already
                    stream.end_capture()
                raise
            self.graph = stream.end_capture()
        return result
