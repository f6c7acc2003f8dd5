"""Set up before any test module is imported."""

import os
import shutil
import sys
import tempfile

# The matrices of the tests are tiny: a second thread only gets in the way of other work.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
# Kernels are compiled anew for every session, and the user's own are not touched.
os.environ["CHARRNN_CACHE"] = tempfile.mkdtemp(prefix="charrnn-kernels-")

import pytest
from hypothesis import settings

from tests.support import devices

# The same examples every time, however busy the machine.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--gpu", choices=["real", "stand-in"], default="real", help="what tests marked gpu run on"
    )


def pytest_configure(config: pytest.Config) -> None:
    devices.kind = config.getoption("gpu")
    if "gpu" not in config.getoption("markexpr").replace("not gpu", ""):
        sys.modules["cupy"] = None  # type: ignore[assignment]  # whatever there is, it is not used


def pytest_runtest_setup(item: pytest.Item) -> None:
    """The one place that decides whether there is a GPU to run on."""
    if item.get_closest_marker("gpu") and (reason := devices.why_not(devices.kind)):
        pytest.skip(reason)


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    shutil.rmtree(os.environ["CHARRNN_CACHE"], ignore_errors=True)


@pytest.fixture(scope="session")
def compiled() -> None:
    """All kernels there are, so that no command that follows says that it compiles some."""
    from charrnn.backend.fused import FusedBackend
    from charrnn.cells import CELLS
    from charrnn.config import TrainConfig
    from charrnn.optim import OPTIMIZERS, Optimizer
    from charrnn.params import Buffer

    backend = FusedBackend(threads=1)
    for cell in CELLS.values():
        backend.cell(cell)
        backend.generation(cell)
    for name in OPTIMIZERS:
        params, grads = (Buffer(backend, {"x": (1,)}) for _ in range(2))
        for momentum in (0.0, 0.9):
            config = TrainConfig(optimizer=name, weight_decay=0, momentum=momentum)
            Optimizer(backend, params, grads, config).step(1.0)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """The batches of the tests are small; cut them over threads all the same."""
    monkeypatch.setattr("charrnn.model.MIN_LANES", 1)
