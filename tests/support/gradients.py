"""Central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def numeric_gradient(
    function: Callable[[], float], array: np.ndarray[Any, Any], step: float = 1e-6
) -> np.ndarray[Any, Any]:
    """d function / d array by central differences; ``function`` reads ``array`` anew."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        before = array[index]
        array[index] = before + step
        above = function()
        array[index] = before - step
        below = function()
        array[index] = before
        gradient[index] = (above - below) / (2 * step)
    return gradient
