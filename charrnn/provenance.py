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
        "blas": " ".join(sorted({_blas(info) for info in blas})),
        "threads": backend.threads,
        "kernels": backend.kernels,
        "platform": platform.platform(),
        "device": backend.name,
    }


def _blas(info: dict[str, Any]) -> str:
    parts = (info.get(key) for key in ("internal_api", "version", "architecture"))
    return " ".join(part for part in parts if part)


#: What decides on the last bits of a result.
_BITS = ("charrnn", "numpy", "blas", "threads", "kernels", "device")


def differences(then: dict[str, Any], now: dict[str, Any]) -> str:
    """Which of two provenances' entries may change results in their last bits, and how; or ""."""
    return ", ".join(
        f"{name} {then.get(name)} then, {now[name]} now"
        for name in _BITS
        if then.get(name) != now[name]
    )
