"""The machine that results depend on: what it is, and whether others use it."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1

PACKAGES = {"NumPy": "numpy", "PyTorch": "torch", "charrnn": "charrnn"}

_TICK = 0.01  # the unit that processor time is counted in, in seconds


def machine() -> dict[str, Any]:
    """What results depend on; nothing that tells whose machine it is."""
    return {
        "cpu": _cpu(),
        "cores": CORES,
        "system": platform.system(),
        "Python": platform.python_version(),
        **{name: _version(package) for name, package in PACKAGES.items()},
    }


def describe(machine: dict[str, Any]) -> str:
    """The same in one line."""
    versions = [f"{name} {machine[name]}" for name in ("Python", *PACKAGES) if machine[name]]
    cores = f"{machine['cores']} core{'s' * (machine['cores'] != 1)}"
    return f"{machine['cpu']}, {cores}, {machine['system']}; {', '.join(versions)}"


def _cpu() -> str:
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class OthersUse:
    """How much processor time programs other than this one, and those it started, have used."""

    def __init__(self) -> None:
        self.begin, self.others = time.perf_counter(), _others_seconds()

    def share(self) -> float:
        """Of all that there was since, from 0 to 1; what cannot be told from 0 is 0."""
        there_was = CORES * (time.perf_counter() - self.begin)
        used = _others_seconds() - self.others
        return max(0.0, used - 2 * CORES * _TICK) / there_was


def _others_seconds() -> float:
    """Since the machine started; time that a virtual machine was not run counts as theirs."""
    idle = {"idle", "iowait", "guest", "guest_nice"}  # guests are part of what users have
    everyone = sum(t for name, t in psutil.cpu_times()._asdict().items() if name not in idle)
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return everyone - sum(usage.ru_utime + usage.ru_stime for usage in usages)
