"""The sizes that kernels are cut to: those of the registers that a processor has."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.backend.fused.shape import Host, Shape


@pytest.mark.parametrize(
    "features, size",
    [
        ("+avx,+avx2,+avx512f,+sse2", 64),
        ("+avx,+avx2,-avx512f", 32),
        ("+avxvnni,-avx", 16),
        ("+neon", 16),
        ("", 16),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_are_as_wide_as_the_processor_has_them(features, size, dtype):
    shape = Shape.of_host(Host("a processor", features), np.dtype(dtype))
    assert shape.width * shape.dtype.itemsize == size
