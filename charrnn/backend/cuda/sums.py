"""CUDA C of a sum over a whole array, in parts: one number of each block."""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.backend.cuda.blocks import of_all
from charrnn.backend.cuda.sources import Source, source

#: Blocks at most: as many parts are left to be added up.
PARTS = 256

_BODY = """\
    const long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    real own = 0;
    for (long long i = first; i < N; i += (long long)gridDim.x * blockDim.x) own += x[i] * x[i];
    own = of_all<sum>(own);
    if (threadIdx.x == 0) parts[blockIdx.x] = own;"""


def sum_of_squares(dtype: np.dtype[Any]) -> Source:
    """``optim.sum_of_squares`` of x [N], in as many parts as there are blocks."""
    arrays = {"x": "const real", "parts": "real"}
    device = of_all("real")
    return source(dtype, "sum_of_squares", arrays, {"N": "long long"}, _BODY, device=device)
