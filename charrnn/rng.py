"""Random generators by purpose: each is derived from seed, purpose and position alone.

Nothing needs to be saved for an exact resume, and a draw for one purpose never shifts another.
"""

from __future__ import annotations

import numpy as np

INIT, DROPOUT, STREAM, SAMPLE, BOOTSTRAP = range(5)


def generator(seed: int, purpose: int, *position: int) -> np.random.Generator:
    """PCG64, seeded with (seed, purpose, position...): the same draws with the same NumPy."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, purpose, *position])))
