"""Makes ``checkpoint-vVERSION-LEVEL.safetensors``: a small checkpoint of the present version.

    python -m tests.golden.make_checkpoint

Run it from the repository's root once for each new version, and never again: those of earlier
versions stay as the program of that time wrote them, and must be read for ever.
"""

from __future__ import annotations

from pathlib import Path

from charrnn.checkpoint import VERSION, save
from tests.support.checkpoints import SAVED


def golden(version: int, level: str) -> Path:
    """The file of a version and a level."""
    return Path(__file__).with_name(f"checkpoint-v{version}-{level}.safetensors")


def main() -> None:
    """Write the files."""
    for level, saved in SAVED.items():
        with golden(VERSION, level).open("xb"):  # fails for one that is there
            pass
        save(saved(), golden(VERSION, level))


if __name__ == "__main__":
    main()
