"""``charrnn``, and ``python -m charrnn``."""

from __future__ import annotations

import gc
from typing import NoReturn


def main() -> NoReturn:
    """The command line."""
    gc.set_threshold(200_000)  # loading makes many objects; to look for waste in them takes 10 ms
    try:
        from charrnn.cli import main as run

        run()
    finally:
        gc.freeze()  # nor is there any use in it now: all memory goes back, which saves 25 ms


if __name__ == "__main__":
    main()
