"""CUDA C of drawing from logits: one block of threads for each sequence.

``sampling.pick`` is what it stands for. Everything is in double precision, as it is there, so that
the same draw takes the same symbol. Each thread has a part of the row, whose symbols are
neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.backend.cuda.blocks import BEFORE, of_all
from charrnn.backend.cuda.sources import Source, source

#: What filters leave of the masses [V]. Ranked by mass, and where that is equal by number, they
#: keep the first so many. The smallest mass of which the first is kept is looked for among all
#: numbers from 0 to 1, whose bits have the order of the numbers: 62 looks, and no sorting.
_KEEP = """
static __device__ inline double larger(double a, double b) { return a > b ? a : b; }
static __device__ inline double smaller(double a, double b) { return a < b ? a : b; }

struct Above { double count, mass; };

static __device__ Above above(double limit, const double *mass, long long begin, long long end)
{
    Above own = {0, 0};
    for (long long j = begin; j < end; j++)
        if (mass[j] > limit) own.count += 1, own.mass += mass[j];
    return {of_all<sum>(own.count), of_all<sum>(own.mass)};
}

static __device__ void keep(double *mass, long long begin, long long end, double total,
                            long long top_k, double top_p, double min_p)
{
    union { long long bits; double value; } low, high, middle;
    low.value = 0;
    high.value = 1;  // the likeliest, and the only one that is always kept
    while (low.bits < high.bits) {
        middle.bits = low.bits + (high.bits - low.bits) / 2;
        const Above found = above(middle.value, mass, begin, end);
        if (found.count < top_k && found.mass < top_p * total) high = middle;
        else low.bits = middle.bits + 1;
    }
    const double last = high.value;
    const Above found = above(last, mass, begin, end);
    double equal = 0;
    for (long long j = begin; j < end; j++) equal += mass[j] == last;
    double n = before(equal);
    for (long long j = begin; j < end; j++) {
        bool kept = mass[j] > last;
        if (mass[j] == last) {
            kept = found.count + n < top_k && found.mass + n * last < top_p * total;
            n += 1;
        }
        if (!kept || mass[j] < min_p) mass[j] = 0;
    }
}
"""

_BODY = """\
    const long long part = (V + blockDim.x - 1) / blockDim.x;
    long long begin = threadIdx.x * part, end = begin + part;
    begin = begin < first ? first : begin;
    end = end < V ? end : V;
    const real *const row = logits + blockIdx.x * V;
    double *const mass = masses + blockIdx.x * V;

    double top = row[first] + bias[first], chosen = V;
    for (long long j = begin; j < end; j++) {
        const real logit = row[j] + bias[j];
        mass[j] = logit;
        top = larger(top, logit);
    }
    top = of_all<larger>(top);

    if (temperature == 0) {
        for (long long j = begin; j < end; j++)
            if (mass[j] == top) chosen = smaller(chosen, j);
        chosen = of_all<smaller>(chosen);
    } else {
        double own = 0, last = -1;
        for (long long j = begin; j < end; j++) own += mass[j] = exp((mass[j] - top) / temperature);
        if (filtered) {
            keep(mass, begin, end, of_all<sum>(own), top_k, top_p, min_p);
            own = 0;
            for (long long j = begin; j < end; j++) own += mass[j];
        }
        // The inverse of the distribution: the first symbol that ends above the draw.
        double mine = before(own);
        const double target = draws[blockIdx.x] * of_all<sum>(own);
        for (long long j = begin; j < end; j++) {
            if (!(mass[j] > 0)) continue;
            mine += mass[j];
            last = j;
            if (mine > target) chosen = smaller(chosen, j);
        }
        // By rounding, all may end below a draw next to 1.
        chosen = of_all<smaller>(chosen);
        last = of_all<larger>(last);
        if (chosen == V) chosen = last;
    }
    if (threadIdx.x == 0)  // of numbers that are none: any symbol that there is
        ids[blockIdx.x] = drawn[blockIdx.x] = chosen >= first && chosen < V ? chosen : first;"""


def draw(dtype: np.dtype[Any]) -> Source:
    """From logits [B, V] without their ``bias`` [V], and draws [B], to ``ids`` and ``drawn`` [B].

    ``masses`` [B, V] is room to work in; ``first`` is the first symbol that may be drawn.
    """
    arrays = {
        "logits": "const real", "bias": "const real", "masses": "double",
        "draws": "const double", "ids": "long long", "drawn": "long long",
    }  # fmt: skip
    numbers = {
        "V": "long long", "first": "long long", "temperature": "double", "filtered": "long long",
        "top_k": "long long", "top_p": "double", "min_p": "double",
    }  # fmt: skip
    return source(dtype, "draw", arrays, numbers, _BODY, device=of_all("double") + BEFORE + _KEEP)
