"""Weights for PyTorch and from it, as files; what PyTorch makes of them is in ``test_torch.py``."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

from charrnn.checkpoint import Checkpoint, load, save
from charrnn.config import ModelConfig
from charrnn.errors import DataError
from charrnn.exchange import read
from charrnn.params import parameter_shapes
from charrnn.text import CharVocabulary
from tests.support.checkpoints import DOCUMENTS, arrays, tiny, tiny_of_words
from tests.support.shell import charrnn

SYMBOLS = "\n abé\U0001f600"
CONFIG = ModelConfig(
    len(SYMBOLS) + 1, cell="gru", layers=2, hidden_size=3, embed_size=3, tie=True
)  # tied: with and without the decoder's weight
WEIGHTS = arrays(parameter_shapes(CONFIG), 1)
DESCRIBED = {"model": CONFIG.to_dict(), "tokenizer": "char", "vocabulary": list(SYMBOLS)}


@pytest.fixture
def given(tmp_path):
    """Writes weights and description, and imports them."""

    def imported(weights=WEIGHTS, described=DESCRIBED):
        safetensors.numpy.save_file(weights, tmp_path / "weights.safetensors")
        (tmp_path / "weights.json").write_text(json.dumps(described), encoding="utf-8")
        return read(tmp_path / "weights.safetensors", tmp_path / "weights.json")

    return imported


def run_import(folder):
    return charrnn("import", "weights.safetensors", "weights.json", "-o", "made", cwd=folder)


@pytest.mark.parametrize("tie", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("change", [{}, {"bidirectional": True}], ids=["left", "both"])
def test_what_is_exported_comes_back(tmp_path, tie, change):
    config = replace(CONFIG, tie=tie, **change)
    weights = arrays(parameter_shapes(config), 2)
    save(Checkpoint(config, CharVocabulary(SYMBOLS), weights, **DOCUMENTS), tmp_path / "model")
    found = charrnn("info", "-m", "model", "--export", "weights.safetensors", cwd=tmp_path)
    assert (found.code, found.out) == (0, "weights.safetensors\nweights.json\n")

    exported = safetensors.numpy.load_file(tmp_path / "weights.safetensors")
    decoder = weights["encoder.weight" if tie else "decoder.weight"]
    expected = weights | {"decoder.weight": decoder}
    assert exported.keys() == expected.keys()
    assert all(np.array_equal(exported[name], value) for name, value in expected.items())
    described = json.loads((tmp_path / "weights.json").read_text(encoding="utf-8"))
    assert described == DESCRIBED | {"model": config.to_dict()}

    assert run_import(tmp_path).out == "made\n"
    made = load(tmp_path / "made")
    assert made.config == config
    assert made.vocabulary.symbols == tuple(SYMBOLS)
    assert made.weights.keys() == weights.keys()
    assert all(np.array_equal(made.weights[name], value) for name, value in weights.items())


def test_words_are_exchanged_too(tmp_path):
    words = tiny_of_words()
    save(words, tmp_path / "model")
    charrnn("info", "-m", "model", "--export", "weights.safetensors", cwd=tmp_path)
    made = read(tmp_path / "weights.safetensors", tmp_path / "weights.json")
    assert made.vocabulary.symbols == words.vocabulary.symbols
    assert made.vocabulary.tokenizer == "words"
    assert made.slots == made.states == {}


def test_imported_model_works(tmp_path, given):
    save(given(), tmp_path / "model")
    (tmp_path / "text").write_text("ab é\n", encoding="utf-8")
    for command in (
        ["sample", "--length", "5", "--seed", "1"],
        ["complete", "a"],
        ["eval", "text"],
        ["info"],
    ):
        found = charrnn(command[0], "-m", "model", *command[1:], cwd=tmp_path)
        assert found.code in (0, 1 if command[0] == "complete" else 0), found.err


def test_description_may_leave_out_what_has_defaults(given):
    config = ModelConfig(len(SYMBOLS) + 1, hidden_size=3, embed_size=2)
    described = {"model": {"hidden_size": 3, "embed_size": 2}, "vocabulary": SYMBOLS}
    made = given(arrays(parameter_shapes(config), 1), described)
    assert made.config == config
    assert made.vocabulary.symbols == tuple(SYMBOLS)


def bfloat16(value):
    """As 16 bits, cut off."""
    return (np.ascontiguousarray(value).view(np.uint32) >> 16).astype(np.uint16)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_weights_of_any_width_are_read_as_float32(given, dtype):
    made = given({name: value.astype(dtype) for name, value in WEIGHTS.items()})
    for name, value in WEIGHTS.items():
        assert made.weights[name].dtype == np.float32
        np.testing.assert_array_equal(made.weights[name], value.astype(dtype).astype(np.float32))


def test_weights_of_bfloat16_and_in_another_order_are_read(tmp_path, given):
    """NumPy's own safetensors cannot write these; the order is that of the names, backwards."""
    header, data = {}, b""
    for name in sorted(WEIGHTS, reverse=True):
        piece = bfloat16(WEIGHTS[name]).tobytes()
        entry = {"dtype": "BF16", "shape": list(WEIGHTS[name].shape)}
        header[name] = entry | {"data_offsets": [len(data), len(data) + len(piece)]}
        data += piece
    given()
    text = json.dumps(header).encode()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    made = read(path, tmp_path / "weights.json")
    for name, value in WEIGHTS.items():
        np.testing.assert_allclose(made.weights[name], value, rtol=2**-7)


def test_decoder_of_a_tied_model_may_be_there(given):
    made = given(WEIGHTS | {"decoder.weight": WEIGHTS["encoder.weight"]})
    assert made.weights.keys() == WEIGHTS.keys()


NOT_FITTING = {
    "missing": ({"decoder.bias": None}, "decoder.bias is missing"),
    "unexpected": ({"extra": np.zeros(3, np.float32)}, "extra is not in this model"),
    "misshapen": (
        {"decoder.bias": np.zeros((7, 1), np.float32)},
        r"decoder.bias has shape \[7, 1\] instead of \[7\]",
    ),
    "transposed": (
        {"encoder.weight": WEIGHTS["encoder.weight"].T.copy()},
        r"encoder.weight has shape \[3, 7\] instead of \[7, 3\]",
    ),
    "integers": ({"decoder.bias": np.zeros(7, np.int64)}, "decoder.bias is I64, must be one of"),
    "NaN": ({"decoder.bias": np.full(7, np.nan, np.float32)}, "not finite.*decoder.bias"),
    "too large": ({"decoder.bias": np.full(7, 1e300)}, "not finite.*decoder.bias"),
    "not tied": (
        {"decoder.weight": WEIGHTS["encoder.weight"] + 1},
        'decoder.weight is not encoder.weight; say "tie": false',
    ),
}


@pytest.mark.parametrize("name", NOT_FITTING)
def test_weights_that_do_not_fit_are_told_by_name(tmp_path, given, name):
    change, message = NOT_FITTING[name]
    weights = {n: value for n, value in (WEIGHTS | change).items() if value is not None}
    with pytest.raises(DataError, match=message) as caught:
        given(weights)
    assert str(tmp_path / "weights.safetensors") in str(caught.value)


def model(**changes):
    return {"model": CONFIG.to_dict() | changes}


NOT_DESCRIBING = {
    "list": ([], "must be {"),
    "no model": ({"vocabulary": SYMBOLS}, "must be {"),
    "no vocabulary": ({"model": {}}, "must be {"),
    "unknown field": (DESCRIBED | {"tokeniser": "char"}, "must be {"),
    "model that is a list": (DESCRIBED | {"model": []}, "not an object"),
    "unknown field of the model": (DESCRIBED | model(heads=8), "unknown or missing fields: heads"),
    "wrong type": (DESCRIBED | model(layers="2"), "wrong type: layers='2'"),
    "out of range": (DESCRIBED | model(layers=0), "--layers 0"),
    "other size": (DESCRIBED | model(vocab_size=8), "8 symbols, 7 with the unknown one"),
    "symbols of two characters": (DESCRIBED | {"vocabulary": ["ab"]}, "not a set of characters"),
    "numbers": (DESCRIBED | {"vocabulary": [1]}, "not a list of strings"),
    "a string of words": (DESCRIBED | model(level="word"), "unknown kind: .*'char'"),
    "words in one string": (
        DESCRIBED | model(level="word") | {"vocabulary": SYMBOLS, "tokenizer": "words"},
        "not a list of words",
    ),
    "unknown tokenizer": (DESCRIBED | {"tokenizer": "bpe"}, "unknown kind.*'bpe'"),
}


@pytest.mark.parametrize("name", NOT_DESCRIBING)
def test_description_that_is_none_is_told(tmp_path, given, name):
    described, message = NOT_DESCRIBING[name]
    with pytest.raises(DataError, match=message) as caught:
        given(described=described)
    assert str(tmp_path / "weights.json") in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", '{"model": {}, "model": {}}', "NaN", "[" * 10**5, "\ud800"]
)
def test_description_that_is_no_json_is_refused(tmp_path, given, text):
    given()
    (tmp_path / "weights.json").write_text(text, errors="surrogatepass")
    found = run_import(tmp_path)
    assert found.code == 65
    assert found.err.startswith("charrnn: error: not a description of a model: weights.json; ")
    assert not (tmp_path / "made").exists()


def test_weights_that_are_no_safetensors_are_refused(tmp_path, given):
    given()
    (tmp_path / "weights.safetensors").write_bytes(b"PK\x03\x04" + bytes(100))
    found = run_import(tmp_path)
    assert found.code == 65
    assert "not a safetensors file: weights.safetensors; it is a zip archive" in found.err


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.json"])
def test_what_is_not_there_and_what_would_be_waited_for(tmp_path, given, name):
    given()
    (tmp_path / name).unlink()
    assert (run_import(tmp_path).code, run_import(tmp_path).out) == (66, "")
    os.mkfifo(tmp_path / name)
    assert run_import(tmp_path).code == 65


def test_import_replaces_nothing(tmp_path, given):
    given()
    (tmp_path / "made").write_text("hours of work")
    found = run_import(tmp_path)
    assert (found.code, found.err) == (
        73,
        "charrnn: error: file exists already: made; give the checkpoint another name\n",
    )
    assert (tmp_path / "made").read_text() == "hours of work"


def export(folder, name):
    return charrnn("info", "-m", "model.safetensors", "--export", name, cwd=folder)


def test_export_replaces_an_earlier_one_and_nothing_else(tmp_path):
    save(tiny(), tmp_path / "model.safetensors")
    save(tiny("gru"), tmp_path / "other.safetensors")
    raw = (tmp_path / "model.safetensors").read_bytes()
    assert export(tmp_path, "a.safetensors").code == 0
    assert export(tmp_path, "a.safetensors").code == 0
    for name in ("model.safetensors", "other.safetensors"):
        found = export(tmp_path, name)
        assert (found.code, found.err.partition(";")[0]) == (
            73,
            f"charrnn: error: would replace a checkpoint: {name}",
        )
    (tmp_path / "package.json").write_text('{"name": "mine"}')
    found = export(tmp_path, "package.safetensors")
    assert (found.code, found.err.partition(";")[0]) == (
        73,
        "charrnn: error: would replace another file: package.json",
    )
    assert not (tmp_path / "package.safetensors").exists()
    assert (tmp_path / "model.safetensors").read_bytes() == raw


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--export", "a.pt"], "ends in .safetensors"),
        (["--json", "--export", "a.safetensors"], "excl"),
    ],
)
def test_export_that_makes_no_sense(tmp_path, arguments, message):
    save(tiny(), tmp_path / "model.safetensors")
    found = charrnn("info", "-m", "model.safetensors", *arguments, cwd=tmp_path)
    assert found.code == 2
    assert message in found.err
