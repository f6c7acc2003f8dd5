"""What made a run, so that it can be repeated."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from charrnn import __version__
from charrnn.backend import Backend


def provenance(backend: Backend, command: str) -> dict[str, Any]:
    """Command, versions, device and time, for the checkpoints of a run."""
    blas = [info for info in threadpool_info() if info["user_api"] == "blas"]
    return {
        "command": command[:4096],
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "charrnn": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": " ".join(sorted({f"{b['internal_api']} {b['version']}" for b in blas})),
        "threads": backend.threads,
        "kernels": backend.kernels,
        "platform": platform.platform(),
        "device": backend.name,
    }
