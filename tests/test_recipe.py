import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import LEVELS, Budget
from charrnn.errors import UsageError
from charrnn.recipe import Options, recommend, resolve

OPEN = {
    "layers",
    "hidden_size",
    "embed_size",
    "dropout",
    "batch_size",
    "seq_len",
    "epochs",
    "lr",
    "weight_decay",
}
sizes = st.integers(1, 10**9)


def values(resolved):
    """All fields of the three configurations."""
    return resolved.model.to_dict() | resolved.train.to_dict() | resolved.budget.to_dict()


@pytest.mark.parametrize("symbols", [1, 100, 5_000, 5_001, 300_000, 10**6, 10**7, 10**9])
def test_what_is_left_open_is_filled_and_listed(symbols):
    resolved = resolve(Options(), symbols, vocab_size=10)
    assert resolved.chosen == {name: values(resolved)[name] for name in OPEN}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layers", 3),
        ("hidden_size", 7),
        ("embed_size", 9),
        ("dropout", 0.0),
        ("batch_size", 5),
        ("seq_len", 11),
        ("epochs", 2.5),
        ("lr", 0.5),
        ("weight_decay", 0.3),
    ],
)
def test_what_is_given_is_kept_and_not_listed(name, value):
    resolved = resolve(Options(**{name: value}), 10**6, vocab_size=10)
    assert values(resolved)[name] == value
    assert resolved.chosen.keys() == OPEN - {name}


@pytest.mark.parametrize("budget", [{"epochs": 3}, {"steps": 3}, {"minutes": 3}], ids=str)
def test_no_budget_is_chosen_beside_a_given_one(budget):
    resolved = resolve(Options(**budget), 10**6, vocab_size=10)
    assert resolved.budget == Budget(**budget)
    assert resolved.chosen.keys() == OPEN - {"epochs"}


@pytest.mark.parametrize(
    "budget",
    [
        {"epochs": 1, "steps": 1},
        {"steps": 1, "minutes": 1},
        {"epochs": 1, "minutes": 1},
        {"epochs": 1, "steps": 1, "minutes": 1},
    ],
    ids=str,
)
def test_budgets_exclude_each_other(budget):
    with pytest.raises(UsageError, match="give one of --epochs, --steps, --minutes") as caught:
        resolve(Options(**budget), 10**6, vocab_size=10)
    assert caught.value.exit_code == 2


def test_embedding_is_as_wide_as_a_given_hidden_layer():
    assert resolve(Options(hidden_size=7, tie=True), 10**6, vocab_size=10).model.embed_size == 7


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_plain_rnn_learns_more_slowly(optimizer):
    gated, plain = (
        resolve(Options(cell=cell, optimizer=optimizer), 10**6, vocab_size=10).train.lr
        for cell in ("lstm", "rnn")
    )
    assert plain < gated


@pytest.mark.parametrize(
    ("option", "options"),
    [
        ("--cell elman", {"cell": "elman"}),
        ("--optimizer lion", {"optimizer": "lion"}),
        ("--hidden 0", {"hidden_size": 0}),
        ("--seq-len 0", {"seq_len": 0}),
        ("--lr 0", {"lr": 0}),
        ("--level byte", {"level": "byte"}),
        ("--min-count 0", {"level": "word", "min_count": 0}),
        ("--vocab-size 1", {"level": "word", "vocab_size": 1}),
    ],
)
def test_nonsense_is_refused_by_the_name_of_its_option(option, options):
    with pytest.raises(UsageError, match=f"^invalid value: {option};"):
        resolve(Options(**options), 10**6, vocab_size=10)


@pytest.mark.parametrize("symbols", [1, 5_000, 10**5, 10**7, 10**9])
def test_words_share_one_matrix_unless_told(symbols):
    resolved = resolve(Options(level="word"), symbols, vocab_size=10)
    chosen = OPEN | {"tie", "optimizer", "momentum", "clip"}
    assert resolved.chosen == {name: values(resolved)[name] for name in chosen}
    assert resolved.model.tie


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("adam", 4e-3, 0.9, 1.0)),
        ({"optimizer": "sgd"}, ("sgd", 1.0, 0.9, 1.0)),
        ({"level": "word"}, ("sgd", 20.0, 0.0, 0.25)),
        ({"level": "word", "clip": 1.0, "momentum": 0.5}, ("sgd", 20.0, 0.5, 1.0)),
        ({"level": "word", "cell": "rnn"}, ("sgd", 8.0, 0.0, 0.25)),
        ({"level": "word", "optimizer": "adam", "lr": 1.0}, ("adam", 1.0, 0.0, 0.25)),
    ],
    ids=str,
)
def test_descent_depends_on_the_level(options, expected):
    train = resolve(Options(**options), 10**6, vocab_size=10).train
    assert (train.optimizer, train.lr, train.momentum, train.clip) == expected


@pytest.mark.parametrize(
    ("options", "tie"),
    [
        ({"level": "word", "embed_size": 9}, False),
        ({"level": "word", "tie": False}, False),
        ({"level": "char"}, False),
        ({"level": "char", "tie": True}, True),
    ],
    ids=str,
)
def test_matrices_are_shared_where_it_fits_and_pays(options, tie):
    assert resolve(Options(**options), 10**6, vocab_size=10).model.tie == tie


@pytest.mark.parametrize(
    ("option", "options"),
    [
        ("--vocab-size", {"vocab_size": 9}),
        ("--min-count", {"min_count": 2}),
        ("--pretokenized", {"pretokenized": True}),
        ("--pretokenized", {"pretokenized": False}),
    ],
    ids=str,
)
def test_options_of_words_are_refused_without_them(option, options):
    Options(level="word", **options).settled()
    with pytest.raises(UsageError, match=f"without effect: {option}; it needs --level word"):
        Options(**options).settled()


def test_reading_from_both_sides_takes_two_steps():
    with pytest.raises(UsageError, match="--seq-len 1; --bidirectional needs at least 2"):
        resolve(Options(bidirectional=True, seq_len=1), 10**6, vocab_size=10)
    assert resolve(Options(bidirectional=True, seq_len=2), 10**6, vocab_size=10).model.bidirectional


def test_vocabulary_size_is_the_models():
    assert resolve(Options(), 10**6, vocab_size=10).model.vocab_size == 10


levels = pytest.mark.parametrize("level", LEVELS)


@levels
@given(symbols=st.integers(64, 10**9))
def test_text_fills_four_windows(level, symbols):
    recipe = recommend(symbols, level=level)
    assert 4 * recipe.batch_size * recipe.seq_len <= symbols


@levels
@given(symbols=st.integers(0, 63))
def test_tiniest_texts_get_the_smallest_window(level, symbols):
    recipe = recommend(symbols, level=level)
    assert (recipe.batch_size, recipe.seq_len) == (1, 16)


@levels
@given(a=sizes, b=sizes)
def test_larger_texts_get_no_smaller_models_and_no_more_epochs(level, a, b):
    small, large = recommend(min(a, b), level=level), recommend(max(a, b), level=level)
    assert small.layers * small.hidden_size <= large.layers * large.hidden_size
    assert small.batch_size * small.seq_len <= large.batch_size * large.seq_len
    assert small.epochs >= large.epochs
