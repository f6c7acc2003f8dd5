"""``python -m tests.bench.encode``: megabytes a second from a text file to ids.

Ours is all of ``Dataset.read`` (reading, hashing, decoding, vocabulary, encoding) and one pass
over the ids that it gives. The other side is what one would write first, one look-up for each
character, and nothing else is timed; it is given less of the same text, as it is slow.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.harness import TALES, Plan, call, main, take_turns
from tests.bench.table import Row

GOAL = 50  # MB/s
LOOKED_UP = 5_000_000  # characters


def measure(plan: Plan) -> Iterator[Row]:
    """One row."""
    case = f"{plan.megabytes} MB of ASCII"
    if not plan.wants(case):
        return
    size = plan.megabytes * 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        tales = TALES.read_bytes()
        text.write_bytes((tales * (size // len(tales) + 1))[:size])
        ours, theirs = take_turns(
            plan,
            lambda: call("tests.bench.ours:encode", path=str(text)),
            lambda: call("tests.bench.encode:look_up", path=str(text), size=min(size, LOOKED_UP)),
        )
    yield Row(
        table="encoding",
        unit="MB/s",
        sides=("charrnn", "a dictionary"),
        case=case,
        ours=[size / seconds / 1e6 for seconds in ours],
        theirs=[min(size, LOOKED_UP) / seconds / 1e6 for seconds in theirs],
        figure="ours alone",
        goal=GOAL,
    )


def look_up(path: str, size: int) -> float:
    """Seconds to turn the first ``size`` characters of an ASCII text into ids, one by one."""
    with Path(path).open(encoding="ascii") as file:
        text = file.read(size)
    table = {symbol: n for n, symbol in enumerate(sorted(set(text)))}
    begin = time.perf_counter()
    ids = [table[symbol] for symbol in text]
    elapsed = time.perf_counter() - begin
    assert len(ids) == size
    return elapsed


if __name__ == "__main__":
    main(measure, __doc__)
