"""Runs that begin with the weights of another model."""

from __future__ import annotations

import numpy as np
import pytest

import charrnn
from charrnn import checkpoint
from charrnn.errors import UsageError
from charrnn.events import Prepared, Saved, Stopped
from charrnn.learner import Learner
from charrnn.params import initial_values
from charrnn.rng import INIT, generator
from charrnn.runs import list_steps
from tests.support.shell import TALES

OLD = TALES.read_text(encoding="utf-8")[:4000]
NEW = "Öffne die Tür, rief sie; und alle, alle kamen. 123\n" * 30
SMALL = {"hidden_size": 12, "layers": 1, "batch_size": 4, "seq_len": 8, "evals": 1}


@pytest.fixture
def text(tmp_path):
    """Writes a text and gives its path."""

    def write(content):
        path = tmp_path / f"text-{len(content)}.txt"
        path.write_text(content, encoding="utf-8")
        return path

    return write


@pytest.fixture
def begin(monkeypatch):
    """The weights that the last run began with, by the name of each parameter."""
    found = {}
    start = Learner.start

    def spy(learner, weights):
        found.clear()
        found.update({name: np.array(value) for name, value in weights.items()})
        start(learner, weights)
        assert not any(b.flat.any() for b in learner.optimizer.buffers.values())

    monkeypatch.setattr(Learner, "start", spy)
    return found


def base(text, folder, **options):
    list(charrnn.train(text(OLD), folder, steps=20, **(SMALL | options)))
    return checkpoint.load(list_steps(folder)[-1])


@pytest.mark.parametrize(
    "options",
    [{"cell": "lstm"}, {"cell": "gru", "layers": 2}, {"tie": True}, {"bidirectional": True}],
    ids=str,
)
@pytest.mark.parametrize("level", [{}, {"level": "word", "min_count": 1}], ids=["char", "word"])
def test_what_was_learned_is_kept_and_what_is_new_begins_anew(
    tmp_path, text, begin, options, level
):
    old = base(text, tmp_path / "base", **options, **level)
    # --min-count is of the text that is learned from now
    extra = {name: value for name, value in level.items() if name == "min_count"}
    events = list(
        charrnn.train(
            text(NEW), tmp_path / "run", steps=2, evals=1, init_from=tmp_path / "base", **extra
        )
    )
    [prepared] = [e for e in events if isinstance(e, Prepared)]
    saved = checkpoint.load(list_steps(tmp_path / "run")[-1])
    symbols, before = saved.vocabulary.symbols, old.vocabulary.symbols
    assert symbols[: len(before)] == before
    added = symbols[len(before) :]
    known = set(checkpoint_symbols(NEW, saved))
    assert set(added) == known - set(before) != set()
    assert f"{len(added):,} symbols are new to the model: {added[0]!r}" in " ".join(prepared.notes)
    config = saved.config.to_dict()
    assert config | {"vocab_size": 0} == old.config.to_dict() | {"vocab_size": 0}
    fresh = initial_values(saved.config, "orthogonal", generator(0, INIT))
    for name, value in begin.items():
        rows = len(old.weights[name])
        np.testing.assert_array_equal(value[:rows], old.weights[name])
        np.testing.assert_array_equal(value[rows:], fresh[name][rows:])
    assert len(begin["encoder.weight"]) == len(old.weights["encoder.weight"]) + len(added)


def checkpoint_symbols(text, saved):
    """The symbols of the training part of a text, as a model's vocabulary splits it."""
    vocabulary = saved.vocabulary
    ids = vocabulary.encode(text)
    return [vocabulary.tokens[i] for i in ids[: len(ids) - round(len(ids) / 10)]]


def test_old_and_new_symbols_are_drawn(tmp_path, text):
    base(text, tmp_path / "base")
    options = {"steps": 60, "evals": 1, "lr": 0.01, "init_from": tmp_path / "base"}
    list(charrnn.train(text(NEW), tmp_path / "run", **options))
    drawn = charrnn.load(tmp_path / "run").sample(length=3000, temperature=1.5, seed=1)
    assert set("Öü") < set(drawn)
    assert set(drawn) & (set(OLD) - set(NEW))


def test_it_knows_more_than_a_new_model(tmp_path, text):
    """After a few steps on more of the same text."""
    base(text, tmp_path / "base", lr=0.01)
    more = text(TALES.read_text(encoding="utf-8")[4000:8000])
    nats = {}
    for name, source in (("new", None), ("tuned", tmp_path / "base")):
        options = SMALL | {"steps": 20, "lr": 0.01, "init_from": source}
        nats[name] = list(charrnn.train(more, tmp_path / name, **options))[-1].nats
    assert nats["tuned"] < nats["new"] - 0.1


def test_dropout_and_the_recipe_may_be_others(tmp_path, text):
    base(text, tmp_path / "base", dropout=0.25)
    for number, (options, dropout) in enumerate([({}, 0.25), ({"dropout": 0.5}, 0.5)]):
        events = charrnn.train(
            text(NEW), tmp_path / f"{number}", init_from=tmp_path / "base", **options
        )
        prepared = next(events)
        events.close()
        assert prepared.model.dropout == dropout
        assert prepared.budget.epochs


@pytest.mark.parametrize(
    "options, named",
    [
        ({"hidden_size": 13}, "--hidden; the model of --init-from has --hidden 12"),
        ({"cell": "gru"}, "--cell; the model of --init-from has --cell lstm"),
        ({"level": "word"}, "--level; the model of --init-from has --level char"),
        ({"tie": True}, "--tie; the model of --init-from has --tie False"),
        ({"min_count": 2}, "--min-count; it needs --level word"),
    ],
)
def test_the_architecture_is_the_model_s(tmp_path, text, options, named):
    base(text, tmp_path / "base")
    with pytest.raises(UsageError, match=named) as caught:
        next(charrnn.train(text(NEW), tmp_path / "run", init_from=tmp_path / "base", **options))
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_words_are_split_as_the_model_s(tmp_path, text):
    base(text, tmp_path / "base", level="word")
    arguments = (text(NEW), tmp_path / "run")
    with pytest.raises(UsageError, match="--pretokenized; it has words"):
        next(charrnn.train(*arguments, init_from=tmp_path / "base", pretokenized=True))


def test_it_says_where_it_comes_from_and_goes_on_like_any_run(tmp_path, text):
    old = base(text, tmp_path / "base")
    options = {"steps": 9, "evals": 9, "init_from": tmp_path / "base"}
    events = list(charrnn.train(text(NEW), tmp_path / "run", **options))
    saved = checkpoint.load(list_steps(tmp_path / "run")[0])
    assert saved.origin["init_from"] == checkpoint.load(tmp_path / "base/best.safetensors").sha256
    assert old.config.hidden_size == saved.config.hidden_size
    longer = list(
        charrnn.train(text(NEW), tmp_path / "run", **(options | {"steps": 12}), resume=True)
    )
    assert [type(e) for e in events].count(Stopped) == 0
    assert [e.step for e in longer if isinstance(e, Saved)][-1] == 12
