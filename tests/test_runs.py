import json
import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from charrnn.checkpoint import Checkpoint, load
from charrnn.config import ModelConfig
from charrnn.errors import DataError, InputNotFoundError, InputOutputError, LockedError, OutputError
from charrnn.params import parameter_shapes
from charrnn.runs import RunFolder, find_checkpoints, list_steps, load_model
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


def test_runs_need_a_folder(here):
    (here / "checkpoints").touch()
    with pytest.raises(OutputError, match="cannot create: checkpoints/tale"):
        RunFolder.named_after("tale")


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


def test_what_a_killed_process_left_is_removed(steps):
    (steps / ".charrnn-0123456789abcdef.tmp").touch()
    RunFolder(steps, resume=True).close()
    assert names(steps) == [".lock", BEST, "log.jsonl", step(1), step(2), step(3)]


def test_folder_without_a_run_is_taken(tmp_path):
    make(tmp_path / "run", "notes.txt")
    with closing(RunFolder(tmp_path / "run")):
        assert names(tmp_path / "run") == [".lock", "log.jsonl", "notes.txt"]


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
            run.log.add(record)
        lines = (run.path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == records


def test_last_three_and_the_best_are_kept(tmp_path):
    with closing(RunFolder(tmp_path)) as run:
        for number in (8, 9, 10, 11, 12):
            run.save(tiny(number), number, best=number == 9)
    assert names(tmp_path) == [".lock", BEST, "log.jsonl", step(10), step(11), step(12)]
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
        ([BEST, step(1), step(2)], [BEST, step(2), step(1)]),
        ([step(9), step(10)], [step(10), step(9)]),
        ([step(999_999_999), step(10**9)], [step(10**9), step(999_999_999)]),
        ([BEST], [BEST]),
    ],
)
def test_folder_means_its_best_then_its_latest_checkpoint(tmp_path, files, found):
    run = make(tmp_path / "run", *files)
    assert [p.name for p in find_checkpoints(run)] == found


def test_file_means_itself(tmp_path):
    run = make(tmp_path / "run", BEST, step(1), step(2))
    assert find_checkpoints(run / step(1)) == [run / step(1)]


def test_folder_without_checkpoints(tmp_path):
    run = make(tmp_path / "run", "log.jsonl")
    with pytest.raises(InputNotFoundError, match="folder without checkpoints") as caught:
        find_checkpoints(run)
    assert caught.value.exit_code == 66


def test_over_long_name_is_an_expected_error():
    with pytest.raises(InputNotFoundError):
        load_model(Path("x" * 300), print)


@pytest.mark.parametrize("newest", ["a", "b", "c"])
def test_no_model_means_the_newest_run(here, newest):
    for name in "abc":
        make(here / "checkpoints" / name, step(1), BEST, time=2 if name == newest else 1)
    make(here / "checkpoints" / "unfinished", "log.jsonl", time=3)
    assert find_checkpoints(None)[0] == Path("checkpoints") / newest / BEST


@pytest.mark.parametrize(
    "files", [[], ["checkpoints/run/log.jsonl"], ["checkpoints/" + BEST], ["checkpoints"]]
)
def test_no_model_and_no_run(here, files):
    for file in files:
        (here / file).parent.mkdir(parents=True, exist_ok=True)
        (here / file).touch()
    with pytest.raises(InputNotFoundError, match=r"no run found.*charrnn train TEXT") as caught:
        find_checkpoints(None)
    assert caught.value.exit_code == 66


def test_a_run_is_one_process_s(tmp_path):
    with closing(RunFolder(tmp_path / "run")):
        for resume in (False, True):
            with pytest.raises(LockedError, match=f"in use: .*by process {os.getpid()}$") as caught:
                RunFolder(tmp_path / "run", resume=resume)
    assert caught.value.exit_code == 75
    RunFolder(tmp_path / "run", resume=True).close()


def test_a_lock_of_a_dead_process_is_none(tmp_path):
    make(tmp_path / "run").joinpath(".lock").write_text("1\n", encoding="utf-8")
    RunFolder(tmp_path / "run").close()
    assert (tmp_path / "run/.lock").read_text(encoding="utf-8").split() == [str(os.getpid())]


def test_a_run_to_resume_must_be_there(tmp_path):
    with pytest.raises(InputNotFoundError, match="no such run") as caught:
        RunFolder(tmp_path / "run", resume=True)
    assert (caught.value.exit_code, names(tmp_path)) == (66, [])


@pytest.fixture
def steps(tmp_path):
    """A run with checkpoints of three steps, the best being the second."""
    with closing(RunFolder(tmp_path / "run")) as run:
        for number in (1, 2, 3):
            run.save(tiny(number), number, best=number == 2)
    return tmp_path / "run"


def damage(path):
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def latest(run, told):
    with closing(RunFolder(run, resume=True)) as folder:
        checkpoint = folder.latest(told.append)
    return checkpoint and checkpoint.counters["step"]


@pytest.mark.parametrize("damaged", [[], [3], [3, 2], [3, 2, 1]], ids=str)
def test_the_latest_is_the_highest_step_that_is_sound(steps, damaged):
    for number in damaged:
        damage(steps / step(number))
    before, told = names(steps), []
    assert latest(steps, told) == ([3, 2, 1, 2][len(damaged)])
    assert len(told) == len(damaged)
    assert all("SHA-256" in text and " is taken instead" in text for text in told)
    assert names(steps) == before, "what is damaged is left alone"


def test_time_says_nothing_about_what_is_latest(steps):
    os.utime(steps / step(1), (2**31, 2**31))
    assert latest(steps, []) == 3


def test_a_run_without_checkpoints_has_no_latest(tmp_path):
    assert latest(make(tmp_path / "run", "log.jsonl"), []) is None


def test_a_run_of_damaged_checkpoints_is_an_error(steps):
    for path in (*list_steps(steps), steps / BEST):
        damage(path)
    with pytest.raises(DataError, match=step(3)):
        latest(steps, [])


def test_a_damaged_best_is_passed_over(steps):
    damage(steps / BEST)
    told = []
    path, checkpoint = load_model(steps, told.append)
    assert (path, checkpoint.counters["step"]) == (steps / step(3), 3)
    assert len(told) == 1 and BEST in told[0] and f"; {step(3)} is taken instead" in told[0]


def test_two_sound_ones_are_there_before_any_is_removed(steps):
    """Of those that were there one has been read; the others may be damaged."""
    damage(steps / step(3))
    with closing(RunFolder(steps, resume=True)) as run:
        assert run.latest([].append).counters["step"] == 2
        run.save(tiny(4), 4, best=False)
        assert [p.name for p in list_steps(steps)] == [step(2), step(3), step(4)]
        run.save(tiny(5), 5, best=False)
        run.save(tiny(6), 6, best=False)
    assert [p.name for p in list_steps(steps)] == [step(4), step(5), step(6)]


def logged(run):
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture
def logging(tmp_path):
    """A run with a log: steps and what was saved; gives the folder and the checkpoint of step 2."""
    saved = tiny(2)
    with closing(RunFolder(tmp_path / "run")) as run:
        run.log.add({"event": "prepared"})
        run.log.add({"event": "step", "step": 1})
        run.log.add({"event": "step", "step": 2})
        run.save(saved, 2, best=False)
        run.log.add({"event": "saved", "step": 2, "sha256": saved.sha256})
        run.log.add({"event": "sampled", "step": 2})
        run.log.add({"event": "step", "step": 3})
    return tmp_path / "run", saved


def rewind(run, checkpoint):
    with closing(RunFolder(run, resume=True)) as folder:
        if checkpoint:
            folder.log.cut(2, checkpoint.sha256)
        else:
            folder.log.cut()
        folder.log.add({"event": "prepared", "resumed": 2})
    return [(r["event"], r.get("step")) for r in logged(run)]


def test_the_log_is_cut_back_to_the_checkpoint(logging):
    assert rewind(*logging) == [
        *[("prepared", None), ("step", 1), ("step", 2), ("saved", 2), ("prepared", None)]
    ]


def test_a_damaged_line_does_not_take_the_others_with_it(logging):
    run, saved = logging
    lines = (run / "log.jsonl").read_bytes().splitlines(keepends=True)
    (run / "log.jsonl").write_bytes(b"".join([lines[0], b"?" + lines[1], *lines[2:]]))
    with closing(RunFolder(run, resume=True)) as folder:
        folder.log.cut(2, saved.sha256)
    assert (run / "log.jsonl").read_bytes().splitlines(keepends=True)[2:] == lines[2:4]


def test_the_log_is_no_program(logging):
    assert not (logging[0] / "log.jsonl").stat().st_mode & 0o111


@pytest.mark.parametrize("rest", [b"", b'{"event": "st', b'{"event"}\n', b"[1]\n", b"\xff\n"])
def test_the_log_may_end_before_it_says_what_was_saved(logging, rest):
    run, saved = logging
    lines = (run / "log.jsonl").read_bytes().splitlines(keepends=True)
    (run / "log.jsonl").write_bytes(b"".join(lines[:3]) + rest)
    assert rewind(run, saved) == [("prepared", None), ("step", 1), ("step", 2), ("prepared", None)]


def test_without_a_checkpoint_the_log_begins_anew(logging):
    assert rewind(logging[0], None) == [("prepared", None)]


def test_what_a_full_disk_takes_in_part_is_no_half_line(tmp_path, monkeypatch):
    with closing(RunFolder(tmp_path / "run")) as run:
        write, room = os.write, [10]

        def nearly_full(descriptor, data):
            if not room[0]:
                raise OSError(28, "No space left on device")
            written = write(descriptor, data[: room[0]])
            room[0] -= written
            return written

        monkeypatch.setattr(os, "write", nearly_full)
        run.log.add({"step": 1})
        run.log.add({"step": 2})
        with pytest.raises(InputOutputError, match=r"log\.jsonl; No space left"):
            run.save(tiny(2), 2, best=False)
        monkeypatch.undo()
    assert logged(tmp_path / "run") == [{"step": 1}, {"step": 2}]
