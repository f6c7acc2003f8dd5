import errno
import hashlib
import io
import json
import os
import pickle
import signal
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

from charrnn import checkpoint as checkpoints
from charrnn.cells import CELLS
from charrnn.checkpoint import Checkpoint, load, save
from charrnn.config import ModelConfig
from charrnn.errors import (
    DataError,
    DivergedError,
    InputNotFoundError,
    InputOutputError,
    OutputError,
)
from charrnn.params import parameter_shapes
from charrnn.text import CharVocabulary
from charrnn.text.tokens import TOKENIZERS, WORDS
from charrnn.text.words import WordVocabulary
from tests.golden.make_checkpoint import golden
from tests.support.checkpoints import (
    BATCH,
    DOCUMENTS,
    SAVED,
    SYMBOLS,
    WORD_SYMBOLS,
    arrays,
    document,
    sign,
    tiny,
    tiny_of_words,
    without,
    write_signed,
)


def assert_same(a, b):
    for part in ("weights", "slots", "states"):
        one, other = getattr(a, part), getattr(b, part)
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


@pytest.fixture
def raw(path):
    """The bytes of a sound checkpoint."""
    save(tiny(), path)
    return path.read_bytes()


@pytest.mark.parametrize("tie", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("cell", CELLS)
def test_arrays_of_every_cell_come_back(path, cell, tie):
    written = tiny(cell, tie)
    save(written, path)
    assert_same(load(path), written)


def test_everything_else_comes_back(path):
    written = tiny()
    save(written, path)
    read = load(path)
    assert read.vocabulary.symbols == written.vocabulary.symbols
    assert read.config == written.config
    assert {name: getattr(read, name) for name in DOCUMENTS} == DOCUMENTS


def test_weights_alone_will_do(path):
    written = replace(tiny(), slots={}, states={})
    save(written, path)
    assert_same(load(path), written)


def test_every_path_gets_the_same_bytes(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    save(tiny(), *paths)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_arrays_come_back_from_any_memory_order(path):
    written = tiny()
    for part in (written.weights, written.slots, written.states):
        part |= {name: np.asfortranarray(value) for name, value in part.items()}
    save(written, path)
    assert_same(load(path), written)


def test_checkpoint_is_canonical(path, raw):
    again = tiny()
    for part in (again.weights, again.slots, again.states, again.training):
        backwards = list(reversed(part.items()))
        part.clear()
        part.update(backwards)
    save(again, path)
    assert path.read_bytes() == raw


def test_digest_is_that_of_the_file_with_its_field_zeroed(path):
    written = tiny()
    save(written, path)
    zeroed = path.read_bytes().replace(written.sha256.encode(), b"0" * 64)
    assert hashlib.sha256(zeroed).hexdigest() == written.sha256 == load(path).sha256


@pytest.mark.parametrize("first", range(0, 256, 8))
def test_length_of_the_header_does_not_matter(path, first):
    """Its lowest byte opens the file and may look like the first of another format."""
    written = replace(tiny("gru"), slots={}, states={}, origin={"command": ""})
    save(written, path)
    missing = (first - path.read_bytes()[0]) % 256
    written.origin["command"] = "x" * missing
    save(written, path)
    assert path.read_bytes()[0] == first
    assert_same(load(path), written)


@pytest.mark.parametrize(
    ("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)], ids=oct
)
def test_file_mode_is_what_the_umask_leaves(path, mask, mode):
    before = os.umask(mask)
    try:
        save(tiny(), path)
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_no_temporary_file_is_left(path):
    save(tiny(), path)
    save(tiny(), path)
    assert names(path.parent) == [path.name]


def test_older_file_is_replaced_and_never_written_into(path, raw):
    other_name = path.with_name("link")
    other_name.hardlink_to(path)
    save(tiny("gru"), path)
    assert other_name.read_bytes() == raw != path.read_bytes()


@pytest.fixture
def full_disk(monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill():
        monkeypatch.setattr(os, "fsync", fail)

    return fill


def test_failing_write_leaves_the_older_file(path, raw, full_disk):
    full_disk()
    with pytest.raises(InputOutputError) as caught:
        save(tiny("gru"), path)
    assert str(caught.value) == f"cannot write: {path}; No space left on device"
    assert caught.value.exit_code == 74
    assert (path.read_bytes(), names(path.parent)) == (raw, [path.name])


def test_failing_write_leaves_nothing_new(path, full_disk):
    full_disk()
    with pytest.raises(InputOutputError):
        save(tiny(), path)
    assert names(path.parent) == []


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_file_that_cannot_be_created(tmp_path, folder):
    (tmp_path / "file").touch()
    path = tmp_path / folder / "a.safetensors"
    with pytest.raises(OutputError, match=f"^cannot create: {path}; .") as caught:
        save(tiny(), path)
    assert caught.value.exit_code == 73


def test_folder_of_that_name_stays(path):
    path.mkdir()
    with pytest.raises((OutputError, InputOutputError)):
        save(tiny(), path)
    assert names(path.parent) == [path.name]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["weights", "slots", "states"])
def test_what_is_not_finite_is_not_saved(path, part, value):
    """``load`` refuses it, so it must not take the place of a sound checkpoint."""
    diverged = tiny()
    next(iter(getattr(diverged, part).values())).flat[0] = value
    with pytest.raises(DivergedError) as caught:
        save(diverged, path)
    assert (caught.value.exit_code, names(path.parent)) == (3, [])


def test_documents_that_could_not_be_read_are_not_saved(path):
    with pytest.raises(DataError, match="metadata too large for a checkpoint"):
        save(replace(tiny(), corpus={"sources": ["x" * 2**20]}), path)
    assert names(path.parent) == []


def test_no_such_file(path):
    with pytest.raises(InputNotFoundError) as caught:
        load(path)
    assert (str(caught.value), caught.value.exit_code) == (f"no such checkpoint: {path}", 66)


def test_truncated_file_is_refused(path, raw):
    header = 8 + int.from_bytes(raw[:8], "little")
    some = {*range(0, len(raw), 41), 7, 8, 9, header - 1, header, header + 1, len(raw) - 1}
    for length in sorted(some, reverse=True):
        os.truncate(path, length)
        with pytest.raises(DataError):
            load(path)


@pytest.mark.parametrize("bit", [0, 2, 5, 7])
def test_flipped_bit_is_detected(path, raw, bit):
    with path.open("r+b", buffering=0) as file:
        for position in [*range(16), *range(16, len(raw), 17)]:
            os.pwrite(file.fileno(), bytes([raw[position] ^ (1 << bit)]), position)
            with pytest.raises(DataError):
                load(path)
            os.pwrite(file.fileno(), raw[position : position + 1], position)


def test_appended_bytes_are_detected(path, raw):
    path.write_bytes(raw + b"\0")
    with pytest.raises(DataError):
        load(path)


def test_damage_is_told_as_such(path, raw):
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(DataError, match=f"^damaged checkpoint: {path}; .*SHA-256") as caught:
        load(path)
    assert caught.value.exit_code == 65


def written_by(write, *args):
    file = io.BytesIO()
    write(file, *args)
    return file.getvalue()


ONLY = "charrnn reads only sound .safetensors files"
FOREIGN = {
    "zip": (b"PK\x03\x04" + bytes(100), f"it is a zip archive.*{ONLY}"),
    "npz": (written_by(np.savez, np.zeros(3)), f"it is a zip archive.*{ONLY}"),
    "pickle": (pickle.dumps({"weights": [1.0]}), f"it is a Python pickle.*{ONLY}"),
    "pickle 2": (pickle.dumps({"weights": [1.0]}, protocol=2), f"it is a Python pickle.*{ONLY}"),
    "npy": (written_by(np.save, np.zeros(3)), f"it is a NumPy array.*{ONLY}"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), f"it is an HDF5 file.*{ONLY}"),
    "empty": (b"", ONLY),
    "text": (b"It was a dark and stormy night.\n" * 9, ONLY),
    "zeros": (bytes(100), ONLY),
    "no JSON": ((16).to_bytes(8, "little") + bytes(100), ONLY),
    "JSON list": ((4).to_bytes(8, "little") + b"[1] ", ONLY),
    "deep JSON": ((100_000).to_bytes(8, "little") + b"[" * 100_000, "checkpoint"),
    "safetensors": (safetensors.numpy.save({"a": np.zeros(3)}), "lacks our metadata"),
    "safetensors with metadata": (
        safetensors.numpy.save({"a": np.zeros(3)}, metadata={"format": "pt"}),
        "lacks our metadata",
    ),
    "our metadata, no JSON": (
        safetensors.numpy.save({"a": np.zeros(3)}, metadata={"charrnn": "?"}),
        "checkpoint",
    ),
    "our metadata, a list": (
        safetensors.numpy.save({"a": np.zeros(3)}, metadata={"charrnn": "[]"}),
        "checkpoint",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_file_is_refused_with_a_hint(path, kind):
    content, hint = FOREIGN[kind]
    path.write_bytes(content)
    with pytest.raises(DataError, match=hint) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.fixture
def alarm():
    """Interrupts what waits for ever."""

    def ring(number, frame):
        raise AssertionError("waited for a FIFO")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_regular_file_is_refused_at_once(path, make):
    make(path)
    with pytest.raises(DataError, match="not a regular file"):
        load(path)


@pytest.mark.parametrize("version", [3, 99, 10**30, 0, -1, "1", 1.0, True, None])
def test_other_version_is_refused(path, monkeypatch, version):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "VERSION", version)
        save(tiny(), path)
    with pytest.raises(DataError):
        load(path)


def test_newer_version_is_told_as_such(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "VERSION", 3)
        save(tiny(), path)
    with pytest.raises(DataError, match=r"newer charrnn.*version 3; upgrade"):
        load(path)


def more_slots(slots):
    """Three more than an optimiser's two: as many as no optimiser has."""
    values = {name.partition(".")[2]: value for name, value in slots.items()}
    return {f"{slot}.{name}": value for slot in "xyz" for name, value in values.items()}


@pytest.mark.parametrize(
    ("part", "change", "odd"),
    [
        ("weights", lambda w: without(w, "decoder.bias"), "decoder.bias"),
        ("weights", lambda w: w | {"extra": np.zeros(3)}, "extra"),
        ("weights", lambda w: w | {"decoder.bias": np.zeros(3)}, "decoder.bias"),
        ("weights", lambda w: w | {"encoder.weight": w["encoder.weight"].T}, "encoder.weight"),
        ("slots", lambda s: without(s, "exp_avg.decoder.bias"), "optim.exp_avg.decoder.bias"),
        (
            "slots",
            lambda s: s | {"exp_avg_sq.decoder.bias": np.zeros(3)},
            "optim.exp_avg_sq.decoder.bias",
        ),
        ("slots", lambda s: s | {"": np.zeros(3)}, "optim."),
        ("slots", lambda s: s | more_slots(s), "optim.z."),
        ("states", lambda s: without(s, "1.c"), "state.1.c"),
        ("states", lambda s: s | {"2.h": s["0.h"]}, "state.2.h"),
        ("states", lambda s: s | {"0.h": np.zeros((BATCH + 1, 3))}, "state.0.h"),
    ],
)
def test_names_and_shapes_are_those_of_the_configuration(path, part, change, odd):
    checkpoint = tiny()
    save(replace(checkpoint, **{part: change(getattr(checkpoint, part))}), path)
    with pytest.raises(DataError, match=f"missing, unexpected or misshapen: {odd}"):
        load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"model": None},
        {"model": list(tiny().config.to_dict())},
        {"model": without(tiny().config.to_dict(), "cell")},
        {"model": tiny().config.to_dict() | {"layers": True}},
        {"model": tiny().config.to_dict() | {"dropout": float("nan")}},
        {"model": tiny().config.to_dict() | {"hidden_size": 65_536}},
        {"vocabulary": None},
        {"vocabulary": []},
        {"vocabulary": list(SYMBOLS[1:])},
        {"vocabulary": ["a"] * len(SYMBOLS)},
        {"vocabulary": [*SYMBOLS[1:], "ab"]},
        {"vocabulary": list(range(len(SYMBOLS)))},
        {"training": {}},
        {"training": {"config": []}},
        {"counters": "many"},
        {"origin": None},
    ],
    ids=str,
)
def test_signed_nonsense_is_refused(path, raw, change):
    tensors = safetensors.numpy.load(raw)
    write_signed(path, tensors, document(path) | change)
    with pytest.raises(DataError):
        load(path)


@pytest.mark.parametrize("missing", ["model", "vocabulary", "training", "origin", "version"])
def test_signed_gap_is_refused(path, raw, missing):
    write_signed(path, safetensors.numpy.load(raw), without(document(path), missing))
    with pytest.raises(DataError):
        load(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.full(len(SYMBOLS) + 1, np.nan, np.float32), "not finite.*decoder.bias"),
        (np.zeros(len(SYMBOLS) + 1, np.float16), "misshapen"),
        (np.zeros(len(SYMBOLS) + 1, np.float64), "misshapen"),
    ],
    ids=["nan", "float16", "float64"],
)
def test_signed_tensor_of_another_kind_is_refused(path, raw, value, message):
    tensors = safetensors.numpy.load(raw) | {"decoder.bias": value}
    write_signed(path, tensors, document(path))
    with pytest.raises(DataError, match=message):
        load(path)


def test_signed_file_is_read_if_sound(path, raw):
    """So that the tests above are refused for what is wrong in them."""
    write_signed(path, safetensors.numpy.load(raw), document(path))
    assert_same(load(path), tiny())


tokenizers = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)


@tokenizers
def test_words_come_back(path, tokenizer):
    written = tiny_of_words(tokenizer)
    save(written, path)
    read = load(path)
    assert read.vocabulary.symbols == written.vocabulary.symbols
    assert read.vocabulary.tokenizer == tokenizer.name
    assert read.config == written.config
    assert_same(read, written)


def test_many_words_need_no_room_in_the_metadata(path):
    words = [f"{n:040}" for n in range(30_000)]
    config = ModelConfig(len(words) + 1, level="word", hidden_size=1, embed_size=1, tie=True)
    weights = arrays(parameter_shapes(config), 1)
    save(Checkpoint(config, WordVocabulary(words, WORDS), weights), path)
    assert load(path).vocabulary.symbols == tuple(words)


@pytest.fixture
def raw_of_words(path, monkeypatch):
    """A sound checkpoint of words, in a tensor as if they were many, which is at ``path`` too."""
    monkeypatch.setattr(checkpoints, "_MAX_INLINE", 0)
    save(tiny_of_words(), path)
    return path.read_bytes()


def raw_tensor(content):
    return np.frombuffer(content, np.uint8)


def listed(*symbols):
    return raw_tensor(json.dumps(symbols).encode())


LISTED = WORD_SYMBOLS[WORDS]
NO_LIST = "not a list of so many strings"


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (raw_tensor(b"the cat"), NO_LIST),
        (raw_tensor(b"[\xff]"), NO_LIST),
        (raw_tensor(b'["\xff"]'), "UnicodeDecodeError"),
        (raw_tensor(b'["\n"]'), "JSONDecodeError"),
        (raw_tensor(b"[" * 100_000), NO_LIST),
        (raw_tensor(b"[" + b"[]," * 100_000 + b"[]]"), NO_LIST),
        (raw_tensor(b'["a",]'), NO_LIST),
        (raw_tensor(b'["a"]]'), NO_LIST),
        (raw_tensor(b""), NO_LIST),
        (raw_tensor(b'{"the": 1}'), NO_LIST),
        (raw_tensor(b'"the"'), NO_LIST),
        (listed(*LISTED[1:], 1), NO_LIST),
        (listed(*LISTED[1:], None), NO_LIST),
        (listed(*LISTED, "one"), NO_LIST),
        (listed(), "not a set of words"),
        (listed(*LISTED[1:], LISTED[1]), "not a set of words"),
        (listed(*LISTED[1:], "the cat"), "not a set of words"),
        (listed(*LISTED[1:], ""), "not a set of words"),
        (listed(*LISTED[1:], "\ud800"), "not a set of words"),
        (listed(*LISTED[1:]), "differ in size"),
        (listed(*LISTED).astype(np.float32), "misshapen: vocabulary"),
        (listed(*LISTED, "xx").reshape(2, -1), "misshapen: vocabulary"),
        (None, "missing.*: vocabulary"),
    ],
)
def test_signed_nonsense_for_words_is_refused(path, raw_of_words, tensor, message):
    tensors = safetensors.numpy.load(raw_of_words) | {"vocabulary": tensor}
    write_signed(path, {n: t for n, t in tensors.items() if t is not None}, document(path))
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("shape", [[2**62], [2**27 + 1], [2**26], [], [1, 2**40], [-1]], ids=str)
def test_absurd_number_of_words_is_refused(path, raw_of_words, shape):
    end = 8 + int.from_bytes(raw_of_words[:8], "little")
    header = json.loads(raw_of_words[8:end])
    zeroed = document(path) | {"sha256": "0" * 64}
    header["__metadata__"]["charrnn"] = json.dumps(zeroed, separators=(",", ":"))
    header["vocabulary"]["shape"] = shape
    text = json.dumps(header).encode()
    sign(path, len(text).to_bytes(8, "little") + text + raw_of_words[end:])
    with pytest.raises(DataError, match="misshapen: vocabulary"):
        load(path)


@pytest.mark.parametrize("tokenizer", ["char", "sentencepiece", "", None, 1, ["words"]], ids=str)
def test_unknown_tokenizer_is_refused(path, raw_of_words, tokenizer):
    tensors = safetensors.numpy.load(raw_of_words)
    write_signed(path, tensors, document(path) | {"tokenizer": tokenizer})
    with pytest.raises(DataError):
        load(path)


def test_words_without_a_tokenizer_are_refused(path, raw_of_words):
    tensors = safetensors.numpy.load(raw_of_words)
    write_signed(path, tensors, without(document(path), "tokenizer"))
    with pytest.raises(DataError, match="not as it should be: tokenizer"):
        load(path)


def test_words_of_a_model_of_characters_are_refused(path, raw):
    tensors = safetensors.numpy.load(raw) | {"vocabulary": listed(*LISTED)}
    write_signed(path, tensors, document(path))
    with pytest.raises(DataError, match="unexpected or misshapen: vocabulary"):
        load(path)


def test_signed_words_are_read_if_sound(path, raw_of_words):
    """So that the tests above are refused for what is wrong in them."""
    write_signed(path, safetensors.numpy.load(raw_of_words), document(path))
    assert load(path).vocabulary.symbols == tuple(LISTED)


def test_all_of_unicode_can_be_symbols(path):
    """More than there is room for in the metadata, at the level of characters too."""
    symbols = [chr(n) for n in range(0x110000) if not 0xD800 <= n < 0xE000]
    config = ModelConfig(len(symbols) + 1, hidden_size=1, embed_size=1, tie=True)
    save(Checkpoint(config, CharVocabulary(symbols), arrays(parameter_shapes(config), 1)), path)
    assert load(path).vocabulary.symbols == tuple(symbols)


@pytest.mark.parametrize("least", [0, 1])
@pytest.mark.parametrize("level", ["char", "word"])
def test_long_vocabulary_is_a_tensor(path, monkeypatch, level, least):
    written = tiny() if level == "char" else tiny_of_words()
    listed = json.dumps(written.vocabulary.symbols, ensure_ascii=False, separators=(",", ":"))
    monkeypatch.setattr(checkpoints, "_MAX_INLINE", len(listed.encode()) - least)
    save(written, path)
    tensors = safetensors.numpy.load(path.read_bytes())
    assert ("vocabulary" in tensors) == (document(path)["vocabulary"] is None) == (least == 1)
    assert load(path).vocabulary.symbols == written.vocabulary.symbols


@pytest.mark.parametrize("level", ["char", "word"])
@pytest.mark.parametrize("version", range(1, checkpoints.VERSION + 1))
def test_file_of_every_version_is_read(version, level):
    """As they were written when that was the version: see ``tests/golden/make_checkpoint.py``."""
    read, expected = load(golden(version, level)), SAVED[level]()
    assert_same(read, expected)
    for name in ("config", *DOCUMENTS):
        assert getattr(read, name) == getattr(expected, name)
    for name in ("symbols", "tokenizer"):
        assert getattr(read.vocabulary, name) == getattr(expected.vocabulary, name)


@pytest.mark.parametrize("level", SAVED)
def test_golden_files_are_of_the_present_version(path, level):
    save(SAVED[level](), path)
    assert path.read_bytes() == golden(checkpoints.VERSION, level).read_bytes()


def test_first_checkpoints_are_read(path, raw):
    """Those before there were words and a second direction."""
    first = without(document(path), "tokenizer") | {"version": 1}
    first["model"] = without(first["model"], "bidirectional")
    write_signed(path, safetensors.numpy.load(raw), first)
    read = load(path)
    assert (read.config, read.vocabulary.tokenizer) == (tiny().config, "char")
    assert_same(read, tiny())


@pytest.mark.parametrize("missing", ["tokenizer", "bidirectional"])
def test_what_only_the_first_lacked_must_be_there(path, raw, missing):
    now = without(document(path), missing)
    now["model"] = without(now["model"], missing)
    write_signed(path, safetensors.numpy.load(raw), now)
    with pytest.raises(DataError, match=missing):
        load(path)
