"""Training: what a run does from corpus to checkpoint."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import charrnn
from charrnn import checkpoint, loop, pace
from charrnn.errors import (
    DataError,
    MemoryLimitError,
    OutputError,
    UsageError,
)
from charrnn.events import Finished, Prepared, Sampled, Saved, Step, Validated
from charrnn.layers import Dropout
from charrnn.learner import Learner
from charrnn.model import TrainingWindow
from charrnn.optim import OPTIMIZERS
from charrnn.recipe import Options
from charrnn.text.tokens import PRETOKENIZED, TOKENIZERS
from charrnn.training import train
from tests.support.devices import devices, present
from tests.support.shell import TALES
from tests.support.stacks import cells, model_config
from tests.support.texts import known_characters

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
        with present():
            return list(charrnn.train(corpus, output, **(SMALL | options)))

    return train


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def weights_of(events) -> dict[str, np.ndarray]:
    return checkpoint.load(Path(of(Saved, events)[-1].path)).weights


@devices
def test_overfits_twenty_characters(tmp_path, device):
    """The quickest proof that everything learns: a text of twenty characters, by heart."""
    text = "the quick brown fox "
    path = tmp_path / "fox.txt"
    path.write_text(text * 20, encoding="utf-8")
    options = SMALL | {"steps": 250, "dropout": 0.0, "lr": 0.02, "evals": 1}
    with present():
        list(charrnn.train(path, tmp_path / "run", device=device, **options))
        model = charrnn.load(tmp_path / "run", device)
    assert model.sample("the quick", length=91, temperature=0) == (text * 5)[9:]
    assert model.score(text * 3).nats_per_token < 0.2


@devices
@cells
def test_every_cell_learns_more_than_the_frequencies_of_symbols(run, corpus, cell, device):
    config, options = model_config(cell), {"steps": 150, "dropout": 0.0, "lr": 0.01}
    events = run(cell=config.cell, activation=config.activation, device=device, **options)
    text = corpus.read_text(encoding="utf-8")
    entropy = -sum(n / len(text) * math.log(n / len(text)) for n in Counter(text).values())
    assert of(Finished, events)[0].nats < entropy < of(Step, events)[0].loss


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@devices
def test_every_optimizer_learns_real_text(run, optimizer, device):
    events = run(optimizer=optimizer, steps=60, dropout=0.0, device=device)
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


@devices
def test_the_same_seed_trains_the_same_weights(run, device):
    options = {"steps": 12, "dropout": 0.2, "device": device}
    first, again = (weights_of(run(seed=3, **options)) for _ in range(2))
    other = weights_of(run(seed=4, **options))
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
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: next(clock)))
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
    """Scored anew from the checkpoint: what was trained is what was saved."""
    from charrnn.validation import Scorer

    events = run(steps=10, evals=1)
    model = charrnn.load(Path(events[0].run))
    valid = corpus.read_text(encoding="utf-8")[5400:]
    losses = Scorer(model.model, model.vocabulary.encode(valid), lanes=1).losses()
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
    assert saved.counters.pop("elapsed_s") > 0
    assert saved.counters == {
        "step": 30,
        "epoch": 0,
        "window": 30,
        "tokens": 30 * 64,
        "updates": 30,
        "evals": 1,
        "losses": [],
        "norms": [],
        "bad_steps": 0,
        "rollbacks": 0,
        "rate_scale": 1.0,
    }
    assert sorted(saved.states) == ["0.c", "0.h", "1.c", "1.h"]
    assert len(saved.slots) == 2 * len(saved.weights)
    assert saved.training["config"]["seq_len"] == 16
    assert saved.training["budget"]["steps"] == saved.training["options"]["steps"] == 30
    assert saved.sha256 == of(Saved, events)[-1].sha256


def test_as_many_validations_as_steps(run):
    assert [e.step for e in of(Validated, run(steps=50, evals=50))] == list(range(1, 51))


def test_the_loss_beside_a_validation_is_of_the_steps_just_before(run):
    events = run(steps=14, evals=2, lr=1e-9)
    assert [e.step for e in of(Step, events)] == [7, 10, 14]


def test_the_speed_is_right_after_a_validation(run, monkeypatch):
    """A clock that moves by one second a step, and stands still while validating."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    learn = TrainingWindow.loss_and_grads

    def slow(*args):
        now.seconds += 1
        return learn(*args)

    monkeypatch.setattr(TrainingWindow, "loss_and_grads", slow)
    rates = {e.tokens_per_s for e in of(Step, run(steps=34, evals=2))}
    assert rates == {4 * 16}


def test_every_epoch_starts_from_a_zero_state(run, monkeypatch):
    states = []
    learn = TrainingWindow.loss_and_grads

    def spy(window, *args):
        states.append(max(abs(s).max() for layer in window.states for s in layer))
        return learn(window, *args)

    monkeypatch.setattr(TrainingWindow, "loss_and_grads", spy)
    per_epoch = (5400 - 1) // (4 * 16)
    run(epochs=3.0)
    assert [n for n, size in enumerate(states) if size == 0] == [0, per_epoch, 2 * per_epoch]


def test_dropout_masks_differ_from_step_to_step(run, monkeypatch):
    seen = []
    draw = Dropout.draw

    def spy(layer, *args):
        draw(layer, *args)
        if layer.dropped:
            seen.append(layer.drawn.copy())

    monkeypatch.setattr(Dropout, "draw", spy)
    run(steps=2, dropout=0.5, threads=1)
    masks = len(seen) // 2
    assert masks == 2, "one on the embedding, one before the decoder"
    assert not np.array_equal(seen[0], seen[masks])


def test_several_texts_are_one_corpus(tmp_path, corpus):
    events = list(charrnn.train([corpus, corpus], tmp_path / "run", **SMALL, steps=1))
    assert of(Prepared, events)[0].corpus["characters"] == 12_000


def test_the_callers_error_settings_are_its_own(tmp_path, corpus):
    before = np.geterr()
    for _ in charrnn.train(corpus, tmp_path / "run", **SMALL, steps=2):
        assert np.geterr() == before


def test_a_long_text_is_validated_on_its_first_part_and_the_signature_says_so(run, monkeypatch):
    monkeypatch.setattr(loop, "_MAX_VALID", 300)
    prepared = of(Prepared, run(steps=1))[0]
    assert "|split:last-10%:300|" in prepared.signature
    assert "first 300 symbols" in " ".join(prepared.notes)


def test_nothing_happens_before_the_first_event(tmp_path):
    charrnn.train("no such file", tmp_path / "run")
    assert not (tmp_path / "run").exists()


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
        ("hello world" * 50, {"sample_length": -1}, UsageError, "--show-sample -1"),
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


def test_threads_are_limited_while_training_and_set_back(tmp_path, corpus):
    def limits():
        return {i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        events = charrnn.train(corpus, tmp_path / "run", steps=1, threads=1, **SMALL)
        during = {(type(event), *limits()) for event in events}
        assert limits() == {2}
    assert during == {(kind, 1) for kind in (Prepared, Step, Validated, Saved, Finished)}
    assert checkpoint.load(tmp_path / "run/best.safetensors").origin["threads"] == 1


def test_what_a_validation_takes_does_not_count_as_training(tmp_path, corpus, monkeypatch):
    """A step takes a second here, and a validation a hundred."""
    clock = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: clock[0])

    def taking(seconds, work):
        def timed(*arguments):
            clock[0] += seconds
            return work(*arguments)

        return timed

    monkeypatch.setattr(Learner, "learn", taking(1, Learner.learn))
    monkeypatch.setattr(loop.Scorer, "losses", taking(100, loop.Scorer.losses))
    events = list(charrnn.train(corpus, tmp_path / "run", steps=30, evals=6, **SMALL))
    assert {e.tokens_per_s for e in of(Step, events)} == {4 * 16}
    assert of(Finished, events)[0].elapsed_s == 30 + 6 * 100


def test_of_a_command_as_much_is_kept_as_there_is_room_for(tmp_path, corpus):
    command = "charrnn train " + "x" * 10**6
    list(train([corpus], tmp_path / "run", Options(steps=1, **SMALL), command=command))
    saved = checkpoint.load(tmp_path / "run/best.safetensors")
    assert saved.origin["command"] == command[:4096]


def test_overfits_a_sentence_of_words(tmp_path):
    text = "the quick, brown fox. "
    path = tmp_path / "fox.txt"
    path.write_text(text * 40, encoding="utf-8")
    options = SMALL | {"level": "word", "steps": 150, "dropout": 0.0, "lr": 0.02, "evals": 1}
    options |= {"optimizer": "adam", "clip": 1.0}  # quick where every word is frequent
    list(charrnn.train(path, tmp_path / "run", **options))
    model = charrnn.load(tmp_path / "run")
    assert model.sample("the qu", length=17, temperature=0) == (text * 3)[6:]
    assert model.score(text * 9).nats_per_token < 0.2


def benchmark_text(text: str) -> str:
    """Its words between spaces, every tenth of them marked as rare."""
    words = [w if n % 10 else "<unk>" for n, w in enumerate(text.split(" "))]
    return " " + " ".join(words).replace("\n", " \n ")


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    "options, tokenizer",
    [
        ({"min_count": 1}, "words"),
        ({"min_count": 1, "pretokenized": True}, "pretokenized"),
        ({}, "words"),
        ({"vocab_size": 40, "min_count": 3}, "words"),
    ],
    ids=str,
)
def test_words_are_trained_on_as_told(run, corpus, options, tokenizer, bidirectional):
    """Sizes, unknown words and bits for each character, from their definitions."""
    events = run(level="word", bidirectional=bidirectional, steps=10, sample_length=20, **options)
    splitter = TOKENIZERS[tokenizer]
    tokens = splitter.split(corpus.read_text(encoding="utf-8"))
    cut = len(tokens) - round(len(tokens) / 10)
    counts = Counter(tokens[:cut]).most_common(options.get("vocab_size", 10_000) - 1)
    known = {t for t, n in counts if n >= options.get("min_count", 2)}
    prepared, finished = of(Prepared, events)[0], of(Finished, events)[0]
    assert prepared.model.vocab_size == len(known) + 1
    found = prepared.corpus
    assert (found["train_symbols"], found["valid_symbols"]) == (cut, len(tokens) - cut)
    assert found["train_unknown"] == sum(t not in known for t in tokens[:cut])
    nats = finished.nats * (len(tokens) - cut)
    characters = known_characters(tokens[cut:], known, splitter)
    assert finished.bits_per_character == pytest.approx(nats / math.log(2) / characters)
    vocabulary = f"|level:word|tokenizer:{tokenizer}|vocab:{len(known) + 1}|"
    assert vocabulary in finished.signature
    assert ("|bidirectional|" in finished.signature) == bidirectional
    assert all(e.text for e in of(Sampled, events))
    saved = charrnn.load(Path(prepared.run))
    assert (saved.vocabulary.tokenizer, saved.config.level) == (tokenizer, "word")
    assert saved.sample("It", length=5, seed=1) == saved.sample("It", length=5, seed=1) != ""


@pytest.mark.parametrize(
    "marked, pretokenized, tokenizer",
    [
        (True, None, "pretokenized"),
        (True, False, "words"),
        (False, None, "words"),
        (False, True, "pretokenized"),
    ],
)
def test_benchmark_text_is_recognised_unless_told(run, corpus, marked, pretokenized, tokenizer):
    text = corpus.read_text(encoding="utf-8")
    corpus.write_text(benchmark_text(text) if marked else text, encoding="utf-8")
    events = run(level="word", pretokenized=pretokenized, steps=1)
    saved = checkpoint.load(Path(of(Saved, events)[-1].path))
    assert saved.vocabulary.tokenizer == tokenizer
    expected = TOKENIZERS[tokenizer].split(corpus.read_text(encoding="utf-8"))
    found = of(Prepared, events)[0].corpus
    assert found["train_symbols"] + found["valid_symbols"] == len(expected)


def test_rare_words_of_benchmark_text_are_unknown_ones(run, corpus):
    corpus.write_text(benchmark_text(corpus.read_text(encoding="utf-8")), encoding="utf-8")
    found = of(Prepared, run(level="word", steps=1))[0].corpus
    tokens = PRETOKENIZED.split(corpus.read_text(encoding="utf-8"))
    assert found["train_unknown"] == tokens[: found["train_symbols"]].count("<unk>")


@pytest.mark.slow
def test_defaults_learn_the_bundled_tales(tmp_path):
    """Eight epochs with what is chosen for a text of this size: words, not just letters."""
    events = list(charrnn.train(TALES, tmp_path / "run", epochs=8))
    assert of(Finished, events)[0].best_nats < 1.75
