"""What the documentation shows is what the program does."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest

from tests.support.readme import BLOCKS, README, program
from tests.support.shell import PYTHONPATH, ROOT, TALES, charrnn

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "corpora/README.md", "checkpoints/README.md"]

#: ``$ command`` in a fenced block, with its continuation lines.
COMMANDS = re.findall(r"^\$ ((?:.+\\\n)*.+)", README, re.MULTILINE)
ABSENT = ("shakespeare", "wikitext-2")  # texts that are not bundled
RUNNABLE = [c for c in COMMANDS if "charrnn " in c and not any(name in c for name in ABSENT)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """As the README's reader has it, in short: the bundled texts, two logs, a trained model."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "corpora").mkdir()
    for name in ("tales.txt", "messages.txt"):
        text = TALES.with_name(name).read_text(encoding="utf-8")[:50_000]
        (folder / "corpora" / name).write_text(text, encoding="utf-8")
    (folder / "novel.txt").write_text(TALES.read_text(encoding="utf-8")[:20_000], encoding="utf-8")
    subprocess.run([sys.executable, "-c", program("logs.py")], cwd=folder, check=True)
    assert charrnn("train", "corpora/tales.txt", "--steps", "3", cwd=folder).code == 0
    return folder


def test_there_are_commands_to_test():
    assert len(RUNNABLE) >= 5


@pytest.mark.parametrize("command", RUNNABLE)
def test_commands_work(folder, command):
    """As written, but with a budget of three steps instead of minutes."""
    quick = re.sub(r"--(minutes|epochs) [\d.]+", "--steps 3", command)
    if "charrnn train" in quick and "--steps" not in quick:
        quick = quick.replace("charrnn train", "charrnn train --steps 3")
    program = shlex.join([sys.executable, "-m", "charrnn"])
    quick = re.sub(r"charrnn (?=train|sample|complete|eval|info|import)", f"{program} ", quick)
    subprocess.run(
        ["bash", "-o", "pipefail", "-c", quick],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
        check=True,
        capture_output=True,
        timeout=60,
    )


@pytest.mark.parametrize("name", ["train", "sample", "complete", "eval", "info", "import"])
def test_help_blocks_are_the_programs(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    block = re.search(rf"```console\n\$ charrnn {name} --help\n(.+?)```", README, re.DOTALL)
    assert block, f"the README shows charrnn {name} --help"
    assert block[1] == charrnn(name, "--help").out


def test_python_blocks_run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert BLOCKS
    for block in BLOCKS:
        exec(re.sub(r"minutes=[\d.]+", "steps=3", block), {})


@pytest.mark.parametrize("document", [*DOCUMENTS, "charrnn/README.md"])
def test_links_lead_somewhere(document):
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (path.parent / target).exists(), target


def test_make_targets_in_the_documentation_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        named = re.findall(r"(?:`|\$ |^ {4})make ([\w-]+)", (ROOT / document).read_text(), re.M)
        assert set(named) <= targets, document


def test_the_changelog_names_this_version():
    import charrnn as package

    assert f"## [{package.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_path_of_a_developers_machine_is_committed():
    """Documentation shows what a reader has, not where it was written."""
    for path in [*map(ROOT.joinpath, DOCUMENTS), ROOT / "charrnn/README.md", ROOT / "CHANGELOG.md"]:
        assert not re.search(r"(?<!\w)/(?:root|home|work|tmp)/", path.read_text(encoding="utf-8"))


def test_exit_codes_are_those_of_the_errors():
    from charrnn.errors import CharrnnError

    documented = set(map(int, re.findall(r"^\| (\d+) \|", README, re.MULTILINE)))
    raised = {kind.exit_code for kind in (CharrnnError, *CharrnnError.__subclasses__())}
    assert documented == {0, 1} | raised


def test_the_figures_of_eval_are_those_that_are_documented():
    from charrnn.evaluation import Score

    table = re.search(r"^\| figure \|.+\n\|.+\n((?:\|.+\n)+)", README, re.MULTILINE)
    named = [re.findall(r"`(\w+)`", row.split("|")[1]) for row in table[1].splitlines()]
    assert {name for names in named for name in names} == set(Score().to_dict())
