"""The choice of a device: by every command, where there is one, and whatever is missing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from charrnn.backend import NumpyBackend, select_backend
from charrnn.config import PRECISIONS
from charrnn.errors import DeviceUnavailableError, UsageError
from charrnn.events import Finished, Requests, Step, Stopped
from charrnn.recipe import Options
from charrnn.training import train
from tests.support.cuda_host import needs_compiler
from tests.support.evaluated import LEVELS, make_folder
from tests.support.fake_cupy import NO_DEVICE, NO_DRIVER, FakeCupy
from tests.support.shell import charrnn


@pytest.mark.parametrize("device", ["", "tpu", "cpu:1", "gpu:", "gpu:x", "gpu:-1", "auto:0"])
def test_unknown_devices_are_a_usage_error(device):
    with pytest.raises(UsageError, match="--device"):
        select_backend(device)


def test_cpu_never_looks_for_a_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # importing it now fails
    backend, note = select_backend("cpu")
    assert (backend.name, note) == ("cpu", "")


def test_the_cpu_has_compiled_kernels_and_the_threads_it_is_told():
    from charrnn.backend.fused import FusedBackend

    backend, _ = select_backend("cpu", threads=3)
    assert isinstance(backend, FusedBackend)
    assert backend.threads == 3
    assert select_backend("cpu")[0].threads >= 1


def lose_compiler(monkeypatch, error: Exception) -> None:
    """Importing it fails from now on, as where there is none for the machine."""

    def fail(*args, **kwargs):
        if args[0].startswith("llvmlite"):
            raise error
        return real(*args, **kwargs)

    for name in [n for n in sys.modules if n.startswith(("charrnn.backend.fused", "llvmlite"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("charrnn.backend.fused", raising=False)
    real = __import__
    monkeypatch.setattr("builtins.__import__", fail)


@pytest.mark.parametrize(
    "error", [ImportError("No module named 'llvmlite'"), OSError("no such file: libllvmlite.so")]
)
def test_without_a_compiler_the_cpu_is_numpy_with_a_note(monkeypatch, error):
    lose_compiler(monkeypatch, error)
    backend, note = select_backend("cpu")
    assert type(backend) is NumpyBackend
    assert note == f"on NumPy, several times slower; no compiled kernels: {error}"


def test_both_fallbacks_are_told(monkeypatch):
    lose_compiler(monkeypatch, ImportError("No module named 'llvmlite'"))
    monkeypatch.setitem(sys.modules, "cupy", FakeCupy(NO_DRIVER))
    backend, note = select_backend("auto")
    assert type(backend) is NumpyBackend
    assert "CUDA driver version is insufficient" in note
    assert "no compiled kernels" in note


@pytest.mark.parametrize(
    "message, reason",
    [
        ("No module named 'cupy'", "No module named 'cupy'"),
        (
            "\n=====\nCuPy is not correctly installed.\n\nOriginal error:\n  libcuda.so\n=",
            "libcuda.so",
        ),
        ("", "ImportError"),
    ],
)
def test_the_reason_why_cupy_does_not_load_is_told(monkeypatch, message, reason):
    def fail(*args, **kwargs):
        if args[0] == "cupy":
            raise ImportError(message)
        return real(*args, **kwargs)

    real = __import__
    monkeypatch.setattr("builtins.__import__", fail)
    with pytest.raises(DeviceUnavailableError, match=f"does not load: {reason};"):
        select_backend("gpu")


class Broken(FakeCupy):
    """With a driver and a device, but without one of CUDA's libraries."""

    def ones(self, shape: Any, dtype: Any) -> Any:
        raise ImportError("libcublas.so.12: cannot open shared object file")


INSTALL = "pip install 'charrnn[cuda12]', or 'charrnn[cuda13]' for CUDA 13"

#: CuPy, or None where it is not installed; the device asked for; what is told of it.
MISSING = {
    "CuPy": (None, "gpu", f"CuPy is not installed: a GPU needs it; install it with: {INSTALL}"),
    "driver": (
        FakeCupy(NO_DRIVER),
        "gpu",
        f"NVIDIA's driver is missing or too old: {NO_DRIVER}; install the driver, or --device cpu",
    ),
    "device": (FakeCupy(NO_DEVICE), "gpu", "no CUDA device is found; use --device cpu"),
    "any device": (FakeCupy(0), "gpu:1", "no CUDA device is found; use --device cpu"),
    "second device": (
        FakeCupy(1), "gpu:1", "no such CUDA device: gpu:1; gpu:0 is the only one"
    ),
    "third device": (
        FakeCupy(2), "gpu:2", "no such CUDA device: gpu:2; there are gpu:0 to gpu:1"
    ),
    "use of CUDA": (
        FakeCupy("cudaErrorUnknown: unknown error"),
        "gpu",
        "CUDA does not work: cudaErrorUnknown: unknown error; check the driver, or --device cpu",
    ),
    "library": (
        Broken(),
        "gpu:0",
        "the CUDA device does not work: libcublas.so.12: cannot open shared object file; "
        f"if CUDA's libraries are missing, install it with: {INSTALL}",
    ),
}  # fmt: skip

COMMANDS = {
    "train": ["train", "one.txt", "--steps", "1", "--batch-size", "2", "--seq-len", "8"],
    "sample": ["sample", "--length", "70", "--seed", "1"],
    "complete": ["complete", "the "],
    "eval": ["eval", "one.txt"],
}
commands = pytest.mark.parametrize("command", COMMANDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, compiled):
    """Texts, and the model of a run."""
    place = tmp_path_factory.mktemp("devices")
    make_folder(place, LEVELS["char"])
    return place


def on(cupy: Any, device: str, command: str, folder: Path) -> Any:
    """What a command does with a device, where this is CuPy."""
    with mock.patch.dict(sys.modules, {"cupy": cupy}):
        return charrnn(*COMMANDS[command], "--device", device, cwd=folder)


@pytest.mark.parametrize("cupy, device, message", MISSING.values(), ids=MISSING)
@commands
def test_what_is_missing_is_told_in_one_line(folder, command, cupy, device, message):
    """And nothing is left behind."""
    before = sorted(folder.rglob("*"))
    found = on(cupy, device, command, folder)
    assert (found.code, found.out) == (69, "")
    assert found.err == f"charrnn: error: {message}\n"
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("what", ["CuPy", "driver"])
@commands
def test_auto_is_the_cpu_and_says_so_where_that_is_a_surprise(folder, command, what):
    cupy, _, message = MISSING[what]
    found = on(cupy, "auto", command, folder)
    assert found.code == 0, found.err
    note = f"on the CPU: {message.split(';')[0].split(':')[0]}"
    assert (note in found.err) == (cupy is not None)


@needs_compiler
@pytest.mark.parametrize(
    "command, device", [*((command, "gpu:1") for command in COMMANDS), ("sample", "auto")]
)
def test_every_command_runs_on_a_gpu(folder, command, device):
    """Nothing of it is on the CPU: the stand-in lets no array of the host's pass."""
    cupy = FakeCupy(2)
    found = on(cupy, device, command, folder)
    assert found.code == 0, found.err
    assert cupy.copies > 1, "more than the trial of the device"
    assert "CPU" not in found.err
    if command != "train":
        assert found.out == on(None, "cpu", command, folder).out


# A run that goes on elsewhere

SMALL = {"hidden_size": 12, "layers": 1, "batch_size": 8, "seq_len": 8, "evals": 2, "steps": 20}


def trained(
    folder: Path, name: str, device: str, *, stop: bool = False, resume: bool = False, **options
):
    """The events of a run on a device of the stand-in; all of it, or as far as the first report."""
    requests, events = Requests(), []
    text = folder / "long.txt"
    text.write_text((folder / "one.txt").read_text(encoding="utf-8") * 20, encoding="utf-8")
    with mock.patch.dict(sys.modules, {"cupy": FakeCupy()}):
        for event in train(
            [text], folder / name, Options(**(SMALL | options)), device=device,
            threads=None if resume else 1, requests=requests, resume=resume,
        ):  # fmt: skip
            events.append(event)
            requests.stop = stop and isinstance(event, Step)
    assert isinstance(events[-1], Stopped if stop else Finished)
    return events


CHANGED = "not the same to the last bit as without a stop"


@needs_compiler
@pytest.mark.parametrize("first, then", [("cpu", "gpu"), ("gpu", "cpu"), ("gpu", "gpu")])
def test_a_run_goes_on_elsewhere_with_a_warning(folder, first, then):
    """And ends where it would have, but for rounding; on the same device to the bit."""
    stopped = trained(folder, f"{first}-{then}", first, stop=True)
    resumed = trained(folder, f"{first}-{then}", then, resume=True)
    assert stopped[-1].step == resumed[0].resumed == 10
    notes = "; ".join(resumed[0].notes)
    names = {"cpu": "cpu", "gpu": "gpu:0"}
    if first == then:
        assert CHANGED not in notes
    else:
        assert CHANGED in notes
        assert f"device {names[first]} then, {names[then]} now" in notes
    whole = trained(folder, f"{first} then {then}", first)
    assert resumed[-1].nats == pytest.approx(whole[-1].nats, rel=0 if first == then else 1e-4)


@needs_compiler
def test_the_threads_of_a_gpu_are_not_those_of_the_cpu(folder, monkeypatch):
    """There is one, which says nothing of how many there should be elsewhere."""
    monkeypatch.setattr("charrnn.backend.fused.backend.available_threads", lambda: 3)
    trained(folder, "threads", "gpu", stop=True)
    [note] = [n for n in trained(folder, "threads", "cpu", resume=True)[0].notes if CHANGED in n]
    assert "threads 1 then, 3 now" in note


# Precision

CPU_ONLY = "invalid value: --precision bf16 with --device cpu; a CPU computes in fp32"


#: A device, CuPy, and what comes of bf16 there.
REFUSED = {
    "CPU": ("cpu", FakeCupy(), 2, CPU_ONLY),
    "no CuPy": ("auto", None, 69, MISSING["CuPy"][2]),
    "no driver": ("auto", FakeCupy(NO_DRIVER), 69, MISSING["driver"][2]),
    "old device": (
        "gpu", FakeCupy(capability="75"), 69,
        "the device has no bf16: gpu:0, compute capability 75; use fp32",
    ),
}  # fmt: skip


@pytest.mark.parametrize("device, cupy, code, message", REFUSED.values(), ids=REFUSED)
def test_less_than_fp32_is_of_a_gpu(folder, device, cupy, code, message):
    """Nobody gets another precision than was asked for, not even by ``auto``."""
    with mock.patch.dict(sys.modules, {"cupy": cupy}):
        found = charrnn("train", "one.txt", "--precision", "bf16", "--device", device, cwd=folder)
    assert (found.code, found.out, found.err) == (code, "", f"charrnn: error: {message}\n")


@needs_compiler
def test_curves_of_all_precisions_agree(folder):
    """And are three different ones: numbers are rounded as they say."""
    losses = {}
    for precision in PRECISIONS:
        events = trained(folder, precision, "gpu", precision=precision, steps=60, evals=3)
        curve = [e.loss for e in events if isinstance(e, Step)]
        losses[precision] = np.array([*curve, events[-1].nats])
    fp32 = losses["fp32"]
    assert fp32[0] - fp32[-1] > 0.3, "it learns"
    for precision, allowed in {"tf32": 1e-3, "bf16": 1e-2}.items():
        difference = np.abs(losses[precision] - fp32).max()
        assert 0 < difference < allowed, precision
    assert not np.array_equal(losses["tf32"], losses["bf16"])


@needs_compiler
def test_the_precision_of_a_run_is_kept(folder):
    """Over a stop and to the bit; with another it does not go on, nor where there is none such."""
    stopped = trained(folder, "bf16-stopped", "gpu", stop=True, precision="bf16")
    assert stopped[0].train.precision == "bf16"
    with pytest.raises(UsageError, match="--precision; it has --precision bf16"):
        trained(folder, "bf16-stopped", "gpu", resume=True, precision="tf32")
    with pytest.raises(UsageError, match="a CPU computes in fp32"):
        trained(folder, "bf16-stopped", "cpu", resume=True)
    resumed = trained(folder, "bf16-stopped", "gpu", resume=True)
    whole = trained(folder, "bf16-whole", "gpu", precision="bf16")
    assert resumed[-1].nats == whole[-1].nats != trained(folder, "fp32-whole", "gpu")[-1].nats


def test_a_run_from_before_there_was_a_choice_is_of_fp32():
    options = Options(hidden_size=3).settled().to_dict()
    del options["precision"]
    assert Options.from_dict(options).precision == "fp32"
