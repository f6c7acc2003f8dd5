"""The structure: imports point down, and nothing heavy is loaded before it is needed."""

from __future__ import annotations

import ast
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "charrnn"

#: From the bottom to the top; a module may import those of earlier rows, and within a package
#: its own. ``charrnn`` itself, the public API, imports lazily.
LAYERS = [
    {"charrnn", "errors"},
    {"config", "rng", "files", "strict_json"},
    {"events", "pace"},
    {"text", "backend"},
    {"cells", "container", "verdicts"},
    {"layers"},
    {"params"},
    {"network"},
    {"model"},
    {"reading", "scoring"},
    {"optim", "sampling", "evaluation", "validation", "recipe"},
    {"preflight", "checkpoint", "provenance", "completion", "comparison"},
    {"learner", "beginnings"},
    {"log"},
    {"runs", "simulation", "adaptation", "exchange"},
    {"loop"},
    {"training", "api"},
    {"cli"},
    {"__main__"},
]


def top_level_of(module: str) -> str:
    """``charrnn.text.corpus`` -> ``text``; the package itself -> ``charrnn``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def is_module(name: str) -> bool:
    path = PACKAGE.parent / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def imports_of(path: Path) -> set[str]:
    """The modules of the package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "charrnn":
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in names if is_module(name)} or {str(node.module)}
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == "charrnn"}
    return {top_level_of(name) for name in found}


#: Whether kernels are linked without LLVM here.
LINKED = sys.platform == "linux" and platform.machine() == "x86_64"

FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return "charrnn" if str(relative) == "__init__.py" else relative.parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    rank = {name: n for n, names in enumerate(LAYERS) for name in names}
    own = name_of(path)
    if own == "charrnn":
        pytest.skip("the public API imports lazily from above")
    wrong = {name for name in imports_of(path) - {own} if rank[name] >= rank[own]}
    assert not wrong, f"{own} may not import {wrong}"


@pytest.mark.parametrize(
    "folder, forbidden",
    [
        ("cells", {"numpy", "cupy"}),
        ("layers", {"os", "pathlib", "sys"}),
        ("network.py", {"os", "pathlib", "sys"}),
        ("model.py", {"os", "pathlib", "sys"}),
        ("training.py", {"sys", "typer", "rich", "tqdm"}),
        ("evaluation.py", {"sys", "typer", "rich", "tqdm"}),
        ("scoring.py", {"os", "pathlib", "sys"}),
        ("checkpoint.py", {"pickle"}),
        ("container.py", {"pickle"}),
        ("cli", {"numpy", "cupy"}),
    ],
)
def test_what_a_part_may_not_touch(folder, forbidden):
    place = PACKAGE / folder
    for path in [place] if place.is_file() else place.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not {n.split(".")[0] for n in names} & forbidden, path


@pytest.mark.parametrize(
    "library, place", [("cupy", "backend/cupy_backend.py"), ("llvmlite", "backend/fused/")]
)
def test_a_library_of_one_backend_is_imported_there_alone(library, place):
    pattern = re.compile(rf"^\s*(import|from) {library}", re.MULTILINE)
    users = [p for p in FILES if pattern.search(p.read_text(encoding="utf-8"))]
    assert users
    assert all(p.relative_to(PACKAGE).as_posix().startswith(place) for p in users)


def test_compiled_kernels_are_loaded_without_what_makes_them():
    """Those on disk already: what emits their code stays away, and so does LLVM."""
    code = """if True:
        import sys
        import numpy as np
        from charrnn.backend import select_backend
        from charrnn.config import ModelConfig
        from charrnn.model import Model
        backend, note = select_backend("cpu", 1, lambda message: print("compiles"))
        Model(ModelConfig(vocab_size=3), backend).window(1, 1).logits(np.zeros((1, 1), int))
        print([note, *(m for m in sys.modules if m in {absent!r})])
    """.format(absent=["charrnn.backend.fused.emit", *["llvmlite.binding"] * LINKED])
    for expected in ("", "['']\n"):  # the first may have to compile
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert found.stdout == expected or not expected


@pytest.mark.parametrize(
    "code, absent",
    [
        ("import charrnn", ["cupy", "llvmlite", "rich", "numpy", "typer"]),
        (
            "import charrnn.cli; charrnn.cli.app([])",
            ["cupy", "llvmlite", "numpy", "rich", "tqdm"],
        ),
        (
            "import charrnn.cli; charrnn.cli.app(['--debug', 'info', 'train'])",
            ["charrnn.cli.train", "charrnn.cli.complete", "charrnn.cli.evaluate"],
        ),
        (
            "import charrnn.api",
            ["cupy", "llvmlite", "rich", "typer", "tqdm", "psutil", "charrnn.training", "tempfile"],
        ),
    ],
)
def test_nothing_heavy_is_loaded_early(code, absent):
    check = f"{code}; import sys; print([m for m in {absent!r} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
