import json
import math
import re

import pytest

from charrnn.cells import CELLS
from charrnn.config import ACTIVATIONS, CELL_KINDS, Budget, ModelConfig, SampleConfig, TrainConfig
from charrnn.errors import UsageError

#: Class, field, option, values just inside the range, values just outside.
RANGES = [
    (ModelConfig, "level", "--level", ["char"], ["byte", ""]),
    (ModelConfig, "cell", "--cell", ["lstm", "gru", "rnn"], ["LSTM", "rnn_tanh"]),
    (ModelConfig, "activation", "--activation", ["tanh"], ["relu", "sigmoid", "gelu"]),
    (ModelConfig, "layers", "--layers", [1, 64], [0, 65]),
    (ModelConfig, "hidden_size", "--hidden", [1, 65_536], [0, 65_537]),
    (ModelConfig, "embed_size", "--embed", [1, 65_536], [0, 65_537]),
    (ModelConfig, "vocab_size", "--vocab-size", [2, 2**21], [1, 2**21 + 1]),
    (ModelConfig, "dropout", "--dropout", [0, 0.999], [-0.1, 1, math.nan]),
    (TrainConfig, "batch_size", "--batch-size", [1, 65_536], [0, 65_537]),
    (TrainConfig, "seq_len", "--seq-len", [1, 65_536], [0, 65_537]),
    (TrainConfig, "lr", "--lr", [1e-9, 99], [0, -1, 101, math.inf, math.nan]),
    (TrainConfig, "optimizer", "--optimizer", ["adam", "rmsprop", "sgd"], ["adamw"]),
    (TrainConfig, "momentum", "--momentum", [0, 0.999], [-0.1, 1, math.nan]),
    (TrainConfig, "weight_decay", "--weight-decay", [0, 1], [-0.1, 1.1, math.nan]),
    (TrainConfig, "schedule", "--schedule", ["cosine", "constant"], ["linear"]),
    (TrainConfig, "warmup", "--warmup", [0, 0.999], [-0.1, 1, math.nan]),
    (TrainConfig, "clip", "--clip", [0, 1e9], [-1, 2e9, math.nan]),
    (TrainConfig, "init", "--init", ["orthogonal", "uniform"], ["zeros"]),
    (TrainConfig, "valid_fraction", "--valid-fraction", [1e-9, 0.5], [0, 0.51, math.nan]),
    (TrainConfig, "evals", "--evals", [1, 10_000], [0, 10_001]),
    (TrainConfig, "seed", "--seed", [0, 2**63 - 1], [-1, 2**63]),
    (TrainConfig, "precision", "--precision", ["fp32", "tf32", "bf16"], ["fp16", "float32", ""]),
    (SampleConfig, "length", "--length", [0, 2**40], [-1, 2**40 + 1]),
    (SampleConfig, "temperature", "--temperature", [0, 1000], [-0.1, 1001, math.nan]),
    (SampleConfig, "top_k", "--top-k", [0, 2**31], [-1, 2**31 + 1]),
    (SampleConfig, "top_p", "--top-p", [1e-9, 1], [0, 1.1, math.nan]),
    (SampleConfig, "min_p", "--min-p", [0, 1], [-0.1, 1.1, math.nan]),
    (SampleConfig, "seed", "--seed", [0, 2**63 - 1], [-1, 2**63]),
    (SampleConfig, "count", "--count", [1, 4096], [0, 4097]),
]

#: One of each class, every field away from its default.
INSTANCES = [
    ModelConfig(7, "char", "rnn", "relu", 2, 5, 5, 0.25, True),
    Budget(epochs=1.5),
    Budget(steps=3),
    Budget(minutes=0.5),
    TrainConfig(
        4, 16, 0.1, "sgd", 0.5, 0.0, "constant", 0.1, 0.5, "uniform", 0.2, 3, 2**40, "bf16"
    ),
    SampleConfig(3, 0.5, 4, 0.9, 0.1, 6, 2),
]


def build(kind, **values):
    return kind(**({"vocab_size": 10} | values if kind is ModelConfig else values))


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [(kind, field, value) for kind, field, _, inside, _ in RANGES for value in inside],
)
def test_value_inside_its_range_is_kept(kind, field, value):
    assert getattr(build(kind, **{field: value}), field) == value


@pytest.mark.parametrize(
    ("kind", "field", "option", "value"),
    [(kind, field, option, value) for kind, field, option, _, out in RANGES for value in out],
)
def test_value_outside_its_range_is_refused_by_name(kind, field, option, value):
    message = f"^invalid value: {option} {re.escape(str(value))}; ."
    with pytest.raises(UsageError, match=message) as caught:
        build(kind, **{field: value})
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("cell", "activation", "name"),
    [
        ("lstm", "tanh", "lstm"),
        ("gru", "tanh", "gru"),
        ("rnn", "tanh", "rnn_tanh"),
        ("rnn", "relu", "rnn_relu"),
        ("rnn", "sigmoid", "rnn_sigmoid"),
    ],
)
def test_cell_name(cell, activation, name):
    assert ModelConfig(10, cell=cell, activation=activation).cell_name == name


def test_tied_embedding_of_another_size_is_refused():
    with pytest.raises(UsageError, match="--tie with --embed 4"):
        ModelConfig(10, hidden_size=5, embed_size=4, tie=True)


@pytest.mark.parametrize("unit", ["epochs", "steps", "minutes"])
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
def test_budget_is_positive_and_finite(unit, value):
    with pytest.raises(UsageError, match=f"budget {value:g} {unit}.*greater than 0") as caught:
        Budget(**{unit: value})
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "none"),
        ({"epochs": 1, "steps": 2}, "1 epochs and 2 steps"),
        ({"epochs": 1, "steps": 2, "minutes": 3}, "1 epochs and 2 steps and 3 minutes"),
    ],
)
def test_budget_is_exactly_one(values, said):
    with pytest.raises(UsageError, match=f"budget {said}; give one of --epochs, --steps, --min"):
        Budget(**values)


def test_budget_describes_itself():
    assert Budget(minutes=8.0).describe() == "8 minutes"


@pytest.mark.parametrize("config", INSTANCES, ids=repr)
def test_json_round_trip(config):
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("config", INSTANCES, ids=repr)
def test_unknown_field_is_refused(config):
    with pytest.raises(UsageError, match=r"unknown or missing fields: extra$"):
        type(config).from_dict(config.to_dict() | {"extra": 1})


@pytest.mark.parametrize(
    ("config", "field"),
    [(config, field) for config in INSTANCES for field in config.to_dict()],
)
def test_missing_field_is_refused(config, field):
    values = config.to_dict()
    del values[field]
    with pytest.raises(UsageError, match=f"unknown or missing fields: {field}$"):
        type(config).from_dict(values)


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (ModelConfig(10), "layers", True),
        (ModelConfig(10), "layers", 1.0),
        (ModelConfig(10), "layers", "1"),
        (ModelConfig(10), "layers", None),
        (ModelConfig(10), "layers", [1]),
        (ModelConfig(10), "tie", 1),
        (ModelConfig(10), "tie", "false"),
        (ModelConfig(10), "cell", None),
        (ModelConfig(10), "cell", ["lstm"]),
        (ModelConfig(10), "dropout", "0.1"),
        (ModelConfig(10), "dropout", False),
        (ModelConfig(10), "dropout", None),
        (Budget(steps=1), "steps", 1.5),
        (Budget(steps=1), "steps", True),
        (Budget(epochs=1), "epochs", True),
        (Budget(epochs=1), "epochs", "1"),
    ],
)
def test_field_of_the_wrong_type_is_refused(config, field, value):
    message = re.escape(f"wrong type: {field}={value!r}")
    with pytest.raises(UsageError, match=message) as caught:
        type(config).from_dict(config.to_dict() | {field: value})
    assert caught.value.exit_code == 2


def test_integer_will_do_for_a_float():
    assert ModelConfig.from_dict(ModelConfig(10).to_dict() | {"dropout": 0}).dropout == 0


def test_ranges_hold_for_dictionaries_too():
    with pytest.raises(UsageError, match="--layers 0"):
        ModelConfig.from_dict(ModelConfig(10).to_dict() | {"layers": 0})


def test_every_cell_that_can_be_named_exists():
    named = {ModelConfig(5, cell=c).cell_name for c in CELL_KINDS}
    named |= {ModelConfig(5, cell="rnn", activation=a).cell_name for a in ACTIVATIONS}
    assert named == set(CELLS)
