"""Run the sections, then print what was run, how often, how many survived, and the seconds."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.torture import damage, saves, training
from tests.torture.section import Section, Setting

_MEMORY = Path("/dev/shm")  # flushing costs nothing there


def main() -> int:
    """1 if anything did not survive."""
    sections = [Section(*each) for each in (*saves.SECTIONS, *damage.SECTIONS, *training.SECTIONS)]
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn at random")
    parser.add_argument(
        "--only", action="append", choices=[s.name for s in sections], help="may be repeated"
    )
    parser.add_argument(
        "--share", type=float, default=1.0, help="of what is drawn at random: 0.1 is a tenth"
    )
    given = parser.parse_args()
    chosen = [section for section in sections if not given.only or section.name in given.only]
    with tempfile.TemporaryDirectory() as cache:
        os.environ.update(CHARRNN_CACHE=cache, OPENBLAS_NUM_THREADS="1", COLUMNS="200")
        for section in chosen:
            with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
                section.execute(Setting(Path(folder), given.seed, given.share))
    _print_table([("section", "what", "trials", "survived", "seconds"), *(s.row() for s in chosen)])
    return int(any(section.failed for section in chosen))


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, subject, *figures in rows:
        cells = [name.ljust(widths[0]), subject.ljust(widths[1])]
        cells += [text.rjust(width) for text, width in zip(figures, widths[2:], strict=True)]
        print("  ".join(cells).rstrip())


if __name__ == "__main__":
    sys.exit(main())
