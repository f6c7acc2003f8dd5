import json
import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from charrnn.checkpoint import Checkpoint, load
from charrnn.config import ModelConfig
from charrnn.errors import InputNotFoundError, OutputError
from charrnn.params import parameter_shapes
from charrnn.runs import RunFolder, find_checkpoint, list_steps
from charrnn.text import CharVocabulary

BEST = "best.safetensors"


def step(number):
    return f"step-{number:09}.safetensors"


def tiny(number):
    """A checkpoint of a step."""
    config = ModelConfig(vocab_size=3, hidden_size=1, embed_size=1)
    weights = {name: np.zeros(shape) for name, shape in parameter_shapes(config).items()}
    return Checkpoint(config, CharVocabulary("ab"), weights, counters={"step": number})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def make(run, *files, time=1):
    """A run folder with empty files, last changed at this time."""
    run.mkdir(parents=True)
    for name in files:
        (run / name).touch()
        os.utime(run / name, (time, time))
    return run


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def named_after(stem):
    with closing(RunFolder.named_after(stem)) as run:
        return run.path


def test_each_run_gets_a_folder_of_its_own(here):
    found = [named_after("tale") for _ in range(3)]
    assert found == [Path("checkpoints") / name for name in ("tale", "tale-2", "tale-3")]
    assert names(here / "checkpoints") == ["tale", "tale-2", "tale-3"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("a b", "a-b"),
        ("v1.2_x", "v1.2_x"),
        ("\u00e9t\u00e9", "\u00e9t\u00e9"),
        ("../up", "up"),
        ("-rf", "rf"),
        ("a/b", "a-b"),
        ("\udcff\n", "run"),
        ("...", "run"),
        ("", "run"),
    ],
    ids=ascii,
)
def test_folder_name_is_harmless(stem, name):
    assert named_after(stem) == Path("checkpoints") / name


@pytest.mark.parametrize("file", ["log.jsonl", step(10), BEST])
def test_existing_run_is_refused_and_left_alone(tmp_path, file):
    make(tmp_path / "run", file)
    with pytest.raises(OutputError, match=r"already holds a run.*choose another with -o") as caught:
        RunFolder(tmp_path / "run").close()
    assert (caught.value.exit_code, names(tmp_path / "run")) == (73, [file])


def test_folder_without_a_run_is_taken(tmp_path):
    make(tmp_path / "run", "notes.txt")
    with closing(RunFolder(tmp_path / "run")):
        assert names(tmp_path / "run") == ["log.jsonl", "notes.txt"]


@pytest.mark.parametrize("path", ["file", "file/run"])
def test_folder_that_cannot_be_made(tmp_path, path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"^cannot create: ") as caught:
        RunFolder(tmp_path / path).close()
    assert caught.value.exit_code == 73


def test_log_is_on_the_disk_line_by_line(tmp_path):
    records = [{"event": "step", "loss": 2.5}, {"event": "sampled", "text": "\u00e9\n\U0001f600"}]
    with closing(RunFolder(tmp_path / "run")) as run:
        for record in records:
            run.log(record)
        lines = (run.path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == records


def test_last_three_and_the_best_are_kept(tmp_path):
    with closing(RunFolder(tmp_path)) as run:
        for number in (8, 9, 10, 11, 12):
            run.save(tiny(number), number, best=number == 9)
    assert names(tmp_path) == [BEST, "log.jsonl", step(10), step(11), step(12)]
    assert load(tmp_path / BEST).counters == {"step": 9}


def test_save_gives_the_path_of_the_step(tmp_path):
    with closing(RunFolder(tmp_path)) as run:
        path = run.save(tiny(7), 7, best=True)
    assert path == tmp_path / step(7)
    assert load(path).counters == {"step": 7}


def test_steps_are_listed_oldest_first(tmp_path):
    make(tmp_path / "run", step(100), step(20), step(3), BEST, "log.jsonl")
    assert [p.name for p in list_steps(tmp_path / "run")] == [step(3), step(20), step(100)]


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([BEST, step(1), step(2)], BEST),
        ([step(9), step(10)], step(10)),
        ([BEST], BEST),
    ],
)
def test_folder_means_its_best_or_latest_checkpoint(tmp_path, files, found):
    run = make(tmp_path / "run", *files)
    assert find_checkpoint(run) == run / found


def test_file_means_itself(tmp_path):
    run = make(tmp_path / "run", BEST, step(1), step(2))
    assert find_checkpoint(run / step(1)) == run / step(1)


def test_folder_without_checkpoints(tmp_path):
    run = make(tmp_path / "run", "log.jsonl")
    with pytest.raises(InputNotFoundError, match="folder without checkpoints") as caught:
        find_checkpoint(run)
    assert caught.value.exit_code == 66


def test_over_long_name_is_an_expected_error():
    with pytest.raises(InputNotFoundError):
        load(find_checkpoint(Path("x" * 300)))


@pytest.mark.parametrize("newest", ["a", "b", "c"])
def test_no_model_means_the_newest_run(here, newest):
    for name in "abc":
        make(here / "checkpoints" / name, step(1), BEST, time=2 if name == newest else 1)
    make(here / "checkpoints" / "unfinished", "log.jsonl", time=3)
    assert find_checkpoint(None) == Path("checkpoints") / newest / BEST


@pytest.mark.parametrize(
    "files", [[], ["checkpoints/run/log.jsonl"], ["checkpoints/" + BEST], ["checkpoints"]]
)
def test_no_model_and_no_run(here, files):
    for file in files:
        (here / file).parent.mkdir(parents=True, exist_ok=True)
        (here / file).touch()
    with pytest.raises(InputNotFoundError, match=r"no run found.*charrnn train TEXT") as caught:
        find_checkpoint(None)
    assert caught.value.exit_code == 66
