"""``python -m tests.bench``: all benchmarks, one after the other, and their results as JSON."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.bench import complete, encode, evaluate, sample, startup, train
from tests.bench.harness import parser, run
from tests.bench.machine import machine
from tests.bench.table import Row

SUBJECTS = (train, sample, evaluate, startup, encode, complete)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--json", type=Path, default=Path("bench.json"), metavar="PATH")
    arguments = options.parse_args()
    begin = time.monotonic()

    def keep(rows: list[Row]) -> None:
        document = {
            "machine": machine(),
            "quick": arguments.quick,
            "minutes": round((time.monotonic() - begin) / 60, 1),
            "rows": [row.to_json() for row in rows],
        }
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    run([subject.measure for subject in SUBJECTS], arguments, keep)


if __name__ == "__main__":
    main()
