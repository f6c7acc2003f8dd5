"""CUDA C of what the threads of a block work out together."""

from __future__ import annotations

#: Threads of a block at most; their number must be a power of 2.
THREADS = 256


def threads_for(N: int) -> int:
    """How many threads read a row of N numbers: up to one each, in whole warps."""
    return min(THREADS, max(32, 1 << (N - 1).bit_length()))


def of_all(number: str) -> str:
    """``of_all<combine>(own)``: what all threads have, combined.

    As a tree, of which each level is half as wide. The first barrier keeps this call from the
    numbers that the one before it still reads.
    """
    return f"""
static __device__ inline {number} sum({number} a, {number} b) {{ return a + b; }}

template <{number} combine({number}, {number})> static __device__ {number} of_all({number} own)
{{
    __shared__ {number} part[{THREADS}];
    const int n = threadIdx.x;
    __syncthreads();
    part[n] = own;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {{
        __syncthreads();
        if (n < half) part[n] = combine(part[n], part[n + half]);
    }}
    __syncthreads();
    return part[0];
}}
"""


#: ``before(own)``: the sum of what the threads before this one have. At each level every thread
#: adds what twice as many have summed up; between two barriers all read, or all write.
BEFORE = f"""
static __device__ double before(double own)
{{
    __shared__ double part[{THREADS}];
    const int n = threadIdx.x;
    __syncthreads();
    part[n] = own;
    for (int step = 1; step < blockDim.x; step *= 2) {{
        __syncthreads();
        const double left = n < step ? 0 : part[n - step];
        __syncthreads();
        part[n] += left;
    }}
    __syncthreads();
    return n ? part[n - 1] : 0;
}}
"""
