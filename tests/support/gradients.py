"""Central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.support.devices import host, put


def numeric_gradient(
    function: Callable[[], float], array: Any, step: float = 1e-6
) -> np.ndarray[Any, Any]:
    """d function / d array by central differences; ``function`` reads ``array`` anew.

    ``array`` may be of any backend.
    """
    values = host(array)
    gradient = np.zeros_like(values)
    for index in np.ndindex(values.shape):
        before, found = values[index], []
        for value in (before + step, before - step):
            values[index] = value
            put(array, values)
            found.append(function())
        above, below = found
        gradient[index] = (above - below) / (2 * step)
        values[index] = before
    put(array, values)
    return gradient
