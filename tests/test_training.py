"""Training: what a run does from corpus to checkpoint."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn import checkpoint, pace
from charrnn.errors import DataError, DivergedError, MemoryLimitError, OutputError, UsageError
from charrnn.events import Finished, Prepared, Sampled, Saved, Step, Validated
from charrnn.optim import OPTIMIZERS
from tests.support.stacks import cells

TALES = Path(__file__).parents[1] / "corpora" / "tales.txt"
SMALL = {"hidden_size": 16, "layers": 1, "batch_size": 4, "seq_len": 16}


@pytest.fixture
def corpus(tmp_path):
    """The first 6 kB of the bundled tales."""
    path = tmp_path / "text.txt"
    path.write_text(TALES.read_text(encoding="utf-8")[:6000], encoding="utf-8")
    return path


@pytest.fixture
def run(tmp_path, corpus):
    """Trains on the small corpus into a new folder and gives the events."""
    numbers = itertools.count()

    def train(**options):
        output = tmp_path / f"run-{next(numbers)}"
        return list(charrnn.train(corpus, output, **(SMALL | options)))

    return train


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def weights_of(events) -> dict[str, np.ndarray]:
    return checkpoint.load(Path(of(Saved, events)[-1].path)).weights


def test_overfits_twenty_characters(tmp_path):
    """The quickest proof that everything learns: a text of twenty characters, by heart."""
    text = "the quick brown fox "
    path = tmp_path / "fox.txt"
    path.write_text(text * 20, encoding="utf-8")
    list(charrnn.train(path, tmp_path / "run", **SMALL, steps=250, dropout=0.0, lr=0.02, evals=1))
    model = charrnn.load(tmp_path / "run")
    assert model.sample("the quick", length=91, temperature=0) == (text * 5)[9:]
    assert model.score(text * 3).nats_per_token < 0.2


@cells
def test_every_cell_learns_real_text(run, cell):
    kind, _, activation = cell.partition("_")
    events = run(cell=kind, activation=activation or "tanh", steps=150, dropout=0.0, lr=0.01)
    unigram = 2.95  # nats: what knowing the frequencies of the symbols alone would reach
    assert of(Finished, events)[0].nats < unigram < of(Step, events)[0].loss


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_every_optimizer_learns_real_text(run, optimizer):
    events = run(optimizer=optimizer, steps=60, dropout=0.0)
    assert of(Step, events)[-1].loss < of(Step, events)[0].loss - 0.3


def test_events_come_in_order(run):
    events = run(steps=20, evals=2, sample_length=5)
    milestone = [Step, Validated, Saved, Sampled]
    assert [type(e) for e in events] == [Prepared, *milestone, *milestone, Finished]
    assert [e.step for e in of(Validated, events)] == [10, 20]
    assert [len(e.text) for e in of(Sampled, events)] == [5, 5]


def test_the_log_has_every_event(run):
    events = run(steps=20, evals=2)
    folder = Path(events[0].run)
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [r["event"] for r in records] == [type(e).__name__.lower() for e in events]
    assert records[-1]["nats"] == of(Finished, events)[0].nats
    assert records[0]["train"]["seq_len"] == 16


def test_the_same_seed_trains_the_same_weights(run):
    first, again = (weights_of(run(steps=12, seed=3, dropout=0.2)) for _ in range(2))
    other = weights_of(run(steps=12, seed=4, dropout=0.2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    assert not np.array_equal(first["decoder.weight"], other["decoder.weight"])


def test_a_steps_budget_is_kept_exactly(run):
    events = run(steps=23)
    assert of(Finished, events)[0].step == 23
    assert of(Step, events)[-1].step == 23, "the last steps are reported too"


def test_an_epochs_budget_is_whole_passes_over_the_text(run):
    events = run(epochs=2.5)
    per_epoch = (5400 - 1) // (4 * 16)
    assert of(Prepared, events)[0].steps == of(Finished, events)[0].step == 2.5 * per_epoch


def test_a_minutes_budget_ends_by_the_clock_and_with_it_the_schedule(run, monkeypatch):
    clock = itertools.count(step=0.05)
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(clock))
    events = run(minutes=0.5, lr=0.004, evals=3)
    assert of(Finished, events)[0].elapsed_s == pytest.approx(30, abs=3)
    assert of(Step, events)[-1].lr == pytest.approx(0.00004, rel=0.1)
    assert [round(e.elapsed_s) for e in of(Validated, events)] == pytest.approx([10, 20, 30], abs=2)


def test_the_learning_rate_follows_the_schedule_to_its_end(run):
    rates = [e.lr for e in of(Step, run(steps=100, lr=0.01, warmup=0.1))]
    assert rates[0] == pytest.approx(0.01)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.0001)


def test_validation_is_on_the_end_of_the_text(run, corpus):
    prepared = of(Prepared, run(steps=1, valid_fraction=0.2))[0]
    assert prepared.corpus["train_symbols"] == 4800
    assert prepared.corpus["valid_symbols"] == 1200
    assert "split:last-20%" in prepared.signature


def test_the_vocabulary_is_that_of_the_training_part(run, corpus, tmp_path):
    held_out = tmp_path / "valid.txt"
    held_out.write_text("the snowman \N{SNOWMAN}\N{SNOWMAN}", encoding="utf-8")
    events = run(steps=1, valid=held_out)
    prepared = of(Prepared, events)[0]
    assert prepared.corpus["valid_unknown"] == 2
    assert "split:file:valid.txt" in prepared.signature
    assert math.isfinite(of(Finished, events)[0].nats)
    saved = checkpoint.load(Path(of(Saved, events)[-1].path))
    assert set(saved.vocabulary.symbols) == set(corpus.read_text(encoding="utf-8"))


def test_validation_loss_is_that_of_the_saved_model(run, corpus):
    """Scored anew from the checkpoint, in as many lanes: what was trained is what was saved."""
    from charrnn.evaluation import Scorer

    events = run(steps=10, evals=1)
    model = charrnn.load(Path(events[0].run))
    valid = corpus.read_text(encoding="utf-8")[5400:]
    losses = Scorer(model.model, model.vocabulary.encode(valid), lanes=3).losses()
    assert losses.mean() == pytest.approx(of(Finished, events)[0].nats, rel=1e-6)


def test_best_is_kept_although_later_ones_are_worse(run, corpus, tmp_path):
    """What helps to read a text at last does harm on the same text read backwards."""
    backwards = tmp_path / "backwards.txt"
    backwards.write_text(corpus.read_text(encoding="utf-8")[::-1], encoding="utf-8")
    events = run(steps=200, evals=5, lr=0.02, dropout=0.0, valid=backwards)
    validated = of(Validated, events)
    best = min(validated, key=lambda e: e.nats)
    assert best.step < validated[-1].step, "or the test shows nothing"
    kept = checkpoint.load(Path(events[0].run) / "best.safetensors")
    assert kept.counters["step"] == best.step == of(Finished, events)[0].best_step


def test_a_checkpoint_has_all_that_a_resume_needs(run):
    events = run(steps=30, evals=1, cell="lstm", layers=2)
    saved = checkpoint.load(Path(of(Saved, events)[-1].path))
    assert saved.counters | {"elapsed_s": 0} == {
        "step": 30,
        "epoch": 0,
        "window": 30,
        "tokens": 30 * 64,
        "elapsed_s": 0,
    }
    assert sorted(saved.states) == ["0.c", "0.h", "1.c", "1.h"]
    assert len(saved.slots) == 2 * len(saved.weights)
    assert saved.training["config"]["seq_len"] == 16
    assert saved.training["budget"]["steps"] == 30
    assert saved.sha256 == of(Saved, events)[-1].sha256


def test_nothing_happens_before_the_first_event(tmp_path):
    charrnn.train("no such file", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_divergence_is_an_error_and_nothing_bad_is_saved(run, tmp_path):
    with pytest.raises(DivergedError) as error:
        run(cell="rnn", activation="relu", lr=100.0, clip=0.0, steps=200, optimizer="sgd")
    assert error.value.exit_code == 3
    for path in tmp_path.rglob("*.safetensors"):
        assert all(np.isfinite(v).all() for v in checkpoint.load(path).weights.values())


@pytest.mark.parametrize(
    "text, options, error, message",
    [
        ("aaaaaaaaaa" * 100, {}, DataError, "single symbol"),
        ("ab", {}, DataError, "shorter than one window"),
        ("hello world", {}, DataError, "shorter than one window"),
        ("hello world" * 50, {"seq_len": 5000}, DataError, "shorter than one window"),
        ("hello world" * 50, {"hidden_size": 60_000, "layers": 60}, MemoryLimitError, "GiB"),
        ("hello world" * 50, {"steps": 3, "epochs": 1.0}, UsageError, "3 steps"),
        ("hello world" * 50, {"device": "tpu"}, UsageError, "--device tpu"),
        ("hello world" * 50, {"threads": 0}, UsageError, "--threads 0"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_a_folder_is_made(
    tmp_path, text, options, error, message
):
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(error, match=message):
        next(iter(charrnn.train(path, tmp_path / "run", **options)))
    assert not (tmp_path / "run").exists()


def test_a_folder_with_a_run_is_not_touched(run, corpus):
    folder = Path(run(steps=2)[0].run)
    before = {p: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(OutputError, match="already holds a run"):
        list(charrnn.train(corpus, folder, steps=2))
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize("length", [150, 600, 3000])
def test_defaults_work_on_the_smallest_texts(tmp_path, length):
    path = tmp_path / "text.txt"
    path.write_text(TALES.read_text(encoding="utf-8")[:length], encoding="utf-8")
    events = list(charrnn.train(path, tmp_path / "run", epochs=1))
    assert of(Finished, events)[0].step >= 3


def test_threads_are_limited_while_training_and_set_back(run):
    from threadpoolctl import threadpool_info

    def threads():
        return {i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"}

    before = threads()
    saved = checkpoint.load(Path(of(Saved, run(steps=1, threads=1))[-1].path))
    assert saved.origin["threads"] == 1
    assert threads() == before
