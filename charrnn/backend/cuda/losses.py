"""CUDA C of softmax, cross-entropy and its gradient: one block of threads for each row."""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.backend.cuda.blocks import of_all
from charrnn.backend.cuda.sources import Source, source

_BODY = """\
    const int first = threadIdx.x, threads = blockDim.x;
    real *const row = logits + blockIdx.x * V;
    const long long target = targets[blockIdx.x];
    const real logit = row[target];  // by all, before the barriers: it is overwritten below

    real top = row[0];
    for (long long j = first; j < V; j += threads) top = maximum(top, row[j]);
    top = of_all<maximum>(top);

    real total = 0;
    for (long long j = first; j < V; j += threads) total += exp(row[j] - top);
    total = of_all<sum>(total);

    if (first == 0) losses[blockIdx.x] = log(total) - (logit - top);
    if (scale == 0) return;
    const real one = scale, factor = one / total;
    for (long long j = first; j < V; j += threads)
        row[j] = exp(row[j] - top) * factor - (j == target ? one : 0);"""


def cross_entropy(dtype: np.dtype[Any]) -> Source:
    """``layers.head.cross_entropy``; without a scale the logits stay what they are."""
    arrays = {"logits": "real", "targets": "const long long", "losses": "real"}
    numbers = {"V": "long long", "scale": "double"}
    return source(dtype, "cross_entropy", arrays, numbers, _BODY, device=of_all("real"))
