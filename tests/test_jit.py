"""Compiled code: what is kept of it on disk, and how it gets from there into memory."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.backend import NumpyBackend, select_backend
from charrnn.backend.fused import compiler, jit, linker
from charrnn.backend.fused.shape import Host
from tests.support.kernels import ScanCase, UpdateCase

_ADD = """
define void @add(ptr %place, i64 %number) {
  %before = load i64, ptr %place
  %after = add i64 %before, %number
  store i64 %after, ptr %place
  ret void
}
"""


class Kept:
    """A small module under a cache folder; counts how often it is announced and built."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.announced: list[str] = []
        self.built = 0
        self.monkeypatch = monkeypatch

    def check(self) -> None:
        """Load it as a new process would, and see that it works."""
        self.monkeypatch.setattr(jit, "_linked", _Forgetful())

        def build() -> str:
            self.built += 1
            return _ADD

        announce = self.announced.append
        functions = jit.functions("small", {"add": 2}, build, "test", announce, {})
        total = np.array([40])
        functions["add"](total.ctypes.data, 2)
        assert total == [42]


class _Forgetful(dict[Any, Any]):
    """Modules in memory, numbered on from those of before so that no two have the same name."""

    count = 10_000

    def __len__(self) -> int:
        type(self).count += 1
        return self.count


@pytest.fixture(autouse=True)
def known_host() -> None:
    """Kept elsewhere, so that the folders of the tests have nothing but code."""
    jit.host()


@pytest.fixture
def kept(monkeypatch) -> Kept:
    return Kept(monkeypatch)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A cache folder that does not exist yet."""
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "kernels"))
    return tmp_path / "kernels"


def test_code_is_compiled_once_and_then_read(folder, kept):
    kept.check()
    kept.check()
    assert kept.announced == [f"compiling kernels for this processor, kept in {folder}"]
    assert kept.built == 1
    [path] = folder.iterdir()  # and no temporary file
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        flip,
        lambda path: path.chmod(0o620),
        lambda path: path.chmod(0o602),
        lambda path: path.unlink(),
        pytest.param(
            lambda path: os.chown(path, 12345, -1),
            marks=pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away"),
        ),
    ],
    ids=["empty", "short", "long", "flipped", "group-writable", "writable", "gone", "foreign"],
)
def test_code_that_is_not_ours_whole_is_made_anew(folder, kept, spoil):
    kept.check()
    [path] = folder.iterdir()
    good = path.read_bytes()
    spoil(path)
    kept.check()
    assert (len(kept.announced), kept.built) == (2, 2)
    assert [path.read_bytes() for path in folder.iterdir()] == [good]
    kept.check()
    assert kept.built == 2


def test_a_folder_that_cannot_be_made_does_no_harm(tmp_path, monkeypatch, kept):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "kernels"
    monkeypatch.setenv("CHARRNN_CACHE", str(place))
    kept.check()
    assert kept.announced[1] == (
        f"kernels cannot be kept in {place}: Not a directory; set CHARRNN_CACHE"
    )
    kept.check()
    assert kept.built == 2


@pytest.mark.parametrize("name", ["CHARRNN_CACHE", "XDG_CACHE_HOME"])
def test_without_an_absolute_folder_nothing_is_kept(tmp_path, monkeypatch, kept, name):
    """As for a user without a home, whose ``~`` means nothing."""
    monkeypatch.setenv("CHARRNN_CACHE", "")
    monkeypatch.setenv(name, "~/kernels")
    monkeypatch.chdir(tmp_path)
    kept.check()
    assert kept.announced == ["compiling kernels for this processor"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError("the disk is full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_nothing(folder, monkeypatch, kept, error):
    def fail(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(os, "replace", fail)
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            kept.check()
    else:
        kept.check()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "name, value", [("_sources", b"as if a file had changed"), ("host", Host("another", ""))]
)
def test_other_sources_and_processors_are_other_code(folder, monkeypatch, kept, name, value):
    kept.check()
    monkeypatch.setattr(jit, name, lambda: value)
    kept.check()
    assert kept.built == 2
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    "place, name, value",
    [
        (jit, "__version__", "0.0"),
        (jit.llvmlite, "__version__", "0.0"),
        (sys, "platform", "another"),
        (sys, "maxsize", 2**31 - 1),
    ],
    ids=["charrnn", "llvmlite", "system", "32 bits"],
)
def test_other_versions_and_systems_are_other_sources(monkeypatch, place, name, value):
    before = jit._sources.__wrapped__()
    monkeypatch.setattr(place, name, value)
    assert jit._sources.__wrapped__() != before


def test_a_file_that_has_changed_is_another_source(tmp_path, monkeypatch):
    monkeypatch.setattr(jit, "__file__", str(tmp_path / "jit.py"))
    digests = set()
    for text in ("one", "two"):
        (tmp_path / "other.py").write_text(text)
        digests.add(jit._sources.__wrapped__())
    assert len(digests) == 2


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({"CHARRNN_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"CHARRNN_CACHE": "", "XDG_CACHE_HOME": "/b"}, "/b/charrnn"),
        ({"CHARRNN_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/charrnn"),
    ],
)
def test_where_code_is_kept(monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert jit.cache_folder() == Path(expected)


def test_a_backend_announces_once_what_it_compiles_and_another_nothing(folder, monkeypatch):
    announced: list[str] = []
    monkeypatch.setattr(jit, "_linked", _Forgetful())
    for _ in range(2):
        backend, _ = select_backend("cpu", 1, announced.append)
        case = ScanCase.make("rnn_relu", 1, 1, 1)
        case.run(backend, "rnn_relu", reverse=False, strided=False)
        UpdateCase.make("sgd", np.float32, 1).run(backend, "sgd")
        assert announced == [f"compiling kernels for this processor, kept in {folder}"]


def test_a_compiler_that_fails_is_told_and_numpy_does_the_work(folder, monkeypatch):
    def fail(*arguments: Any) -> None:
        raise RuntimeError("no executable memory\nmore")

    monkeypatch.setattr(jit, "_linked", _Forgetful())
    monkeypatch.setattr(jit, "_link", fail)
    backend, note = select_backend("cpu")
    assert type(backend) is NumpyBackend
    assert note.endswith("no compiled kernels: no executable memory")


def test_code_goes_from_process_to_process(folder):
    """What one has compiled works in another, which compiles nothing."""
    code = """if True:
        import numpy as np
        from charrnn.backend.fused import FusedBackend
        backend = FusedBackend(np.float32, 1, lambda message: print("compiles"))
        weight = backend.weight(np.full((2, 3), 2, np.float32), backward=False)
        out = np.empty((1, 2), np.float32)
        backend.linear(np.ones((1, 3), np.float32), weight, out)
        print(out)
    """
    found = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [f.stdout for f in found] == ["compiles\n[[6. 6.]]\n", "[[6. 6.]]\n"]


def test_code_that_only_llvm_can_link_is_linked_by_it(folder, kept, monkeypatch):
    linked = []
    monkeypatch.setattr(linker, "link", lambda *arguments: linked.append(arguments))
    kept.check()
    kept.check()
    assert (len(linked), kept.built) == (2, 1)


# The processor

CPUINFO = """processor	: 0
vendor_id	: GenuineIntel
cpu family	: 6
model		: 167
model name	: Intel(R) Xeon(R) Processor: 8
stepping	: 1
cpu MHz		: 2600.000
flags		: fpu avx fma
power management:

processor	: 1
vendor_id	: GenuineIntel
flags		: fpu
"""


def known(folder: Path, text: str) -> list[str]:
    (folder / "cpuinfo").write_text(text)
    return jit.known_to_the_system(folder / "cpuinfo")


def test_a_processor_is_told_from_others_but_not_by_its_clock(tmp_path):
    said = known(tmp_path, CPUINFO)
    assert said[-3:] == ["Intel(R) Xeon(R) Processor: 8", "1", "fpu avx fma"]
    assert known(tmp_path, CPUINFO.replace("2600.000", "800.123")) == said
    others = [("fma\n", "fma avx2\n"), (": 167", ": 168"), ("GenuineIntel", "AMD"), (": 6", ": 7")]
    for old, new in others:
        assert known(tmp_path, CPUINFO.replace(old, new)) != said


@pytest.mark.parametrize("text", ["", "\n", "processor : 0\nFeatures : fp asimd\n"])
def test_a_processor_of_which_the_system_says_less_is_not_known(tmp_path, text):
    assert known(tmp_path, text) == []
    assert jit.known_to_the_system(tmp_path / "none") == []


def test_what_llvm_says_of_a_processor_is_kept(folder, monkeypatch):
    monkeypatch.setattr(jit, "known_to_the_system", lambda: ["a processor"])
    seen = Host("a new one", "")
    monkeypatch.setattr(compiler, "host", lambda: seen)
    assert jit.host.__wrapped__() == seen
    monkeypatch.setattr(compiler, "host", lambda: Host("another", "+sse"))
    assert jit.host.__wrapped__() == seen
    monkeypatch.setattr(jit, "known_to_the_system", lambda: ["another processor"])
    assert jit.host.__wrapped__() == Host("another", "+sse")
    monkeypatch.setattr(jit, "_sources", lambda: b"as if a file of the folder had changed")
    monkeypatch.setattr(compiler, "host", lambda: seen)
    assert jit.host.__wrapped__() == seen
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("folder", ["relative", "/dev/null/kernels"])
def test_where_nothing_can_be_kept_a_processor_is_asked_for_each_time(monkeypatch, capfd, folder):
    monkeypatch.setenv("CHARRNN_CACHE", folder)
    monkeypatch.setattr(jit, "known_to_the_system", lambda: ["a processor"])
    for name in ("one", "two"):
        monkeypatch.setattr(compiler, "host", lambda name=name: Host(name, "+neon"))
        assert jit.host.__wrapped__().name == name
    assert capfd.readouterr() == ("", "")


def test_a_processor_that_the_system_does_not_know_is_asked_for_each_time(folder, monkeypatch):
    monkeypatch.setattr(jit, "known_to_the_system", list)
    for name in ("one", "two"):
        monkeypatch.setattr(compiler, "host", lambda name=name: Host(name, "+neon"))
        assert jit.host.__wrapped__().name == name
    assert not folder.exists()
