"""Checkpoint files of strangers: whatever is in them, one line says that they are refused."""

import base64
import contextlib
import os
import pickle
import tracemalloc
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from charrnn import container
from charrnn.backend import NumpyBackend
from charrnn.checkpoint import load, save
from charrnn.errors import CharrnnError, DataError, MemoryLimitError
from charrnn.params import count, parameter_shapes
from tests.golden.make_checkpoint import golden
from tests.support.checkpoints import tiny
from tests.support.forgery import Pairs, Raw, edited, forged, framed, render, taken_apart
from tests.support.mutations import judge, mutations
from tests.support.shell import charrnn

SOUND = golden(2, "char").read_bytes()
MEMORY = 1 << 26
DEEP = 100_000


def of_document(*changes):
    """The document with other values: (path, value), or (path,) for one that is taken away."""

    def edit(header, document):
        for path, *value in changes:
            *way, last = path.split(".")
            place = document
            for step in way:
                place = place[step]
            if value:
                place[last] = value[0]
            else:
                del place[last]

    return edited(SOUND, edit)


def of_tensor(name="decoder.bias", **changes):
    """The header with another entry."""
    return edited(SOUND, lambda header, document: header[name].update(changes))


def of_header(edit):
    """The header as a list of names and entries, changed."""
    header, document, data = taken_apart(SOUND)
    pairs = Pairs(header.items())
    edit(pairs)
    return forged(pairs, document, data)


def renamed(old, new):
    return of_header(lambda pairs: pairs.append((new, pairs.pop(index(pairs, old))[1])))


def index(pairs, name):
    return next(n for n, (key, _) in enumerate(pairs) if key == name)


def of_metadata(metadata):
    """Something else for metadata, as JSON."""
    header, document, data = taken_apart(SOUND)
    written = metadata(render(render(document)))
    return framed(render(Pairs([("__metadata__", Raw(written)), *header.items()])).encode(), data)


def large_model(header_too):
    """10^12 parameters; whether the header has their tensors too, or those of a small model."""
    size = {"hidden_size": 65_536, "embed_size": 65_536, "layers": 32}
    config = replace(tiny().config, **size)
    shapes = parameter_shapes(config)
    assert count(shapes) > 10**12
    header, document, data = taken_apart(SOUND)
    document["model"] = config.to_dict()
    if header_too:
        header = container.layout({name: ("F32", shape) for name, shape in shapes.items()})
    return forged(header, document, data)


def pickled():
    return base64.b64encode(pickle.dumps(os.getcwd)).decode()


FLOATS = 4 * taken_apart(SOUND)[0]["decoder.bias"]["shape"][0]
BEGIN, END = taken_apart(SOUND)[0]["decoder.bias"]["data_offsets"]
GENERATOR = {"bit_generator": "MT19937", "state": {"key": [0] * 624, "pos": 10**9}}

HOSTILE = {
    "10^12 parameters": lambda: large_model(False),
    "10^12 parameters, in the header too": lambda: large_model(True),
    "sizes beyond any": lambda: of_document(("model.hidden_size", 2**62)),
    "product beyond 64 bits": lambda: of_tensor(shape=[2**33, 2**33]),
    "product that comes round to the right one": lambda: of_tensor(shape=[2**63 + 4, 2]),
    "zero dimension": lambda: of_tensor(shape=[0]),
    "zero dimension among others": lambda: of_tensor(shape=[9, 0]),
    "negative dimension": lambda: of_tensor(shape=[-9]),
    "negative dimensions": lambda: of_tensor(shape=[-3, -3]),
    "no dimension": lambda: of_tensor(shape=[]),
    "many dimensions": lambda: of_tensor(shape=[1] * 10_000),
    "bool for a dimension": lambda: of_tensor("decoder.bias", shape=[True]),
    "float for a dimension": lambda: of_tensor(shape=[9.0]),
    "string for a dimension": lambda: of_tensor(shape=["9"]),
    "string for a shape": lambda: of_tensor(shape="9"),
    "no shape": lambda: of_tensor(shape=None),
    "a field more": lambda: of_tensor(strides=[4]),
    "entry that is no object": lambda: edited(SOUND, lambda h, d: h.update({"decoder.bias": 9})),
    "no tensors": lambda: edited(SOUND, lambda h, d: h.clear()),
    "very many tensors": lambda: edited(
        SOUND, lambda h, d: h.update({f"{n:x}": Raw("{}") for n in range(200_000)})
    ),
    "thousands of slots": lambda: edited(
        SOUND,
        lambda h, d: h.update(
            {f"optim.{'x' * n}.x": {} for n in range(2000)}
            | {f"optim.{''.join(name)}.x": 0 for name in product("abcdefghijk", repeat=4)}
        ),
    ),
    "equal tensors": lambda: of_header(lambda pairs: pairs.append(pairs[0])),
    "equal keys in an entry": lambda: of_tensor(shape=Raw('[9],"shape":[9]')),
    "equal keys in the document": lambda: of_document(
        ("format", Raw('"charrnn","format":"charrnn"'))
    ),
    "equal keys deep in it": lambda: of_document(("corpus.a", Raw('{"b":1,"b":1}'))),
    "equal keys in the metadata": lambda: of_metadata(
        lambda text: f'{{"charrnn":{text},"charrnn":{text}}}'
    ),
    "metadata twice": lambda: of_header(
        lambda pairs: pairs.append(("__metadata__", {"charrnn": ""}))
    ),
    "no metadata": lambda: framed(b"{}", b""),
    "metadata that is a list": lambda: of_metadata(lambda text: f"[{text}]"),
    "metadata that is an object": lambda: of_metadata(lambda text: '{"charrnn":{}}'),
    "deep lists in the header": lambda: framed(b"[" * DEEP + b"]" * DEEP, b""),
    "deep objects in the header": lambda: framed(b'{"a":' * DEEP + b"1" + b"}" * DEEP, b""),
    "deep lists in the document": lambda: of_document(("origin.a", Raw("[" * DEEP + "]" * DEEP))),
    "lists as deep as a program may follow": lambda: of_document(
        ("origin.a", Raw("[" * 900 + "]" * 900))
    ),
    "deep lists without an end": lambda: of_document(("origin.a", Raw("[" * DEEP))),
    "a million lists in the header": lambda: framed(b"[" + b"[]," * 800_000 + b"[]]", b""),
    "many lists in the document": lambda: of_document(
        ("origin.a", Raw("[" + "[]," * 300_000 + "[]]"))
    ),
    "header of 2^63 bytes": lambda: (2**63).to_bytes(8, "little") + SOUND[8:],
    "header of 2^64 - 1 bytes": lambda: b"\xff" * 8 + SOUND[8:],
    "header longer than the file": lambda: len(SOUND).to_bytes(8, "little") + SOUND[8:],
    "header of no bytes": lambda: bytes(8) + SOUND[8:],
    "header of 100 MB": lambda: framed(b'{"a":"' + b"x" * 10**8 + b'"}', b""),
    "document of 2 MB": lambda: of_document(("origin.a", "x" * 2**21)),
    "bfloat16": lambda: of_tensor(dtype="BF16", data_offsets=[BEGIN, BEGIN + FLOATS // 2]),
    "float16": lambda: of_tensor(dtype="F16"),
    "float64": lambda: of_tensor(dtype="F64", data_offsets=[BEGIN, BEGIN + 2 * FLOATS]),
    "int8": lambda: of_tensor(dtype="I8"),
    "type that there is not": lambda: of_tensor(dtype="O"),
    "type that is no string": lambda: of_tensor(dtype=["F32"]),
    "offsets that overlap": lambda: of_tensor(data_offsets=[BEGIN - 4, END - 4]),
    "offsets of another tensor": lambda: of_tensor(
        "rnn.bias_ih_l1", data_offsets=taken_apart(SOUND)[0]["rnn.bias_ih_l0"]["data_offsets"]
    ),
    "offsets that leave a gap": lambda: of_tensor(data_offsets=[BEGIN + 4, END + 4]),
    "offsets that run backwards": lambda: of_tensor(data_offsets=[END, BEGIN]),
    "offsets beyond the end": lambda: of_tensor(data_offsets=[2**40, 2**40 + FLOATS]),
    "offsets beyond 64 bits": lambda: of_tensor(data_offsets=[2**64, 2**64 + FLOATS]),
    "negative offsets": lambda: of_tensor(data_offsets=[-FLOATS, 0]),
    "offsets that are bools": lambda: of_tensor(data_offsets=[False, True]),
    "one offset": lambda: of_tensor(data_offsets=[0]),
    "bytes behind the data": lambda: framed(SOUND[8:].partition(b" ")[0], b"x"),
    "escape characters in a name": lambda: renamed("decoder.bias", "\x1b[2J\x1b]0;owned\x07"),
    "line break in a name": lambda: renamed("decoder.bias", "a\ncharrnn: error: b"),
    "name that writes backwards": lambda: renamed("decoder.bias", "a\u202eb"),
    "path for a name": lambda: renamed("decoder.bias", "../../../../etc/passwd"),
    "NUL in a name": lambda: renamed("decoder.bias", "decoder.bias\0"),
    "lone surrogate in a name": lambda: renamed("decoder.bias", "\ud800"),
    "long name": lambda: renamed("decoder.bias", "a" * 10**6),
    "slot that is a path": lambda: renamed("optim.exp_avg.decoder.bias", "optim.../x.decoder.bias"),
    "escape characters in the tokenizer": lambda: of_document(("tokenizer", "\x1b[2J\x9b\u202e")),
    "escape characters in a field": lambda: of_document(
        ("model.cell", "\x1b[2J\n\x1b]0;owned\x07")
    ),
    "escape characters for a key": lambda: of_document(("\x1b[2J", 1)),
    "path for a tokenizer": lambda: of_document(("tokenizer", "../../../../dev/zero")),
    "lone surrogate in the vocabulary": lambda: of_document(("vocabulary", [*"abcdefg", "\ud800"])),
    "stand-in for a byte in the vocabulary": lambda: of_document(
        ("vocabulary", [*"abcdefg", "\udcff"])
    ),
    "lone surrogate in a command": lambda: of_document(("origin.command", "\ud800")),
    "equal symbols": lambda: of_document(("vocabulary", ["a"] * 8)),
    "symbols of two characters": lambda: of_document(("vocabulary", [*"abcdefg", "hi"])),
    "symbols of none": lambda: of_document(("vocabulary", [*"abcdefg", ""])),
    "symbols that are numbers": lambda: of_document(("vocabulary", [*"abcdefg", 1])),
    "a symbol too few": lambda: of_document(("vocabulary", [*"abcdefg"])),
    "a symbol too many": lambda: of_document(("vocabulary", [*"abcdefghi"])),
    "no symbols": lambda: of_document(("vocabulary", [])),
    "symbols as a string": lambda: of_document(("vocabulary", "abcdefgh")),
    "symbols as an object": lambda: of_document(("vocabulary", dict.fromkeys("abcdefgh"))),
    "symbols nowhere": lambda: of_document(("vocabulary", None)),
    "words with a tokenizer of characters": lambda: of_document(("model.level", "word")),
    "NaN": lambda: of_document(("validation.nats", Raw("NaN"))),
    "infinity": lambda: of_document(("validation.nats", Raw("-Infinity"))),
    "1e999": lambda: of_document(("validation.nats", Raw("1e999"))),
    "integer of 100,000 digits": lambda: of_document(("counters.step", Raw("1" * 100_000))),
    "real of 100,000 digits": lambda: of_document(("counters.step", Raw("0." + "1" * 100_000))),
    "version 10^30": lambda: of_document(("version", 10**30)),
    "version true": lambda: of_document(("version", True)),
    "version 0": lambda: of_document(("version", 0)),
    "version 2.0": lambda: of_document(("version", 2.0)),
    "version as a string": lambda: of_document(("version", "2")),
    "true for an integer": lambda: of_document(("model.layers", True)),
    "true for a batch": lambda: of_document(("training.config.batch_size", True)),
    "lanes beyond any": lambda: of_document(("training.config.batch_size", 2**40)),
    "1 for a bool": lambda: of_document(("model.tie", 1)),
    "a field of the model more": lambda: of_document(("model.extra", 1)),
    "a field more in the document": lambda: of_document(("extra", 1)),
    "generator in the document": lambda: of_document(("generator", GENERATOR)),
    "generator in the metadata": lambda: of_metadata(
        lambda text: f'{{"charrnn":{text},"generator":{render(render(GENERATOR))}}}'
    ),
    "pickle in the document": lambda: of_document(("pickle", pickled())),
    "pickle for a tokenizer": lambda: of_document(("tokenizer", pickled())),
    "pickle in the metadata": lambda: of_metadata(
        lambda text: f'{{"charrnn":{text},"pickle":"{pickled()}"}}'
    ),
    "no document": lambda: forged(taken_apart(SOUND)[0], Raw(""), b""),
    "document that is a list": lambda: forged(taken_apart(SOUND)[0], [], b""),
    "document that is no ASCII": lambda: of_document(("origin.a", Raw('"é"'))),
    "not signed": lambda: SOUND[:-1] + bytes([SOUND[-1] ^ 1]),
    "signed with zeros": lambda: edited(SOUND, lambda h, d: d.update(sha256=Raw('"0"'))),
    "header in UTF-16": lambda: framed(SOUND[8:500].decode(errors="replace").encode("utf-16"), b""),
    "header that is not UTF-8": lambda: framed(b'{"\xff":1}', b""),
    "numbers that are not finite": lambda: forged(
        *taken_apart(SOUND)[:2], b"\0\0\xc0\x7f" + taken_apart(SOUND)[2][4:]
    ),
    "empty": lambda: b"",
    "7 bytes": lambda: SOUND[:7],
    "8 bytes": lambda: SOUND[:8],
    "pickle": lambda: pickle.dumps({"a": 1}),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def assert_refused(path, code=65):
    """In one line that a terminal can show."""
    found = charrnn("info", "-m", str(path))
    assert found.code == code, found.err
    assert found.out == ""
    assert found.err.startswith("charrnn: error: ")
    assert str(path) in found.err
    assert len(found.err) < 1000
    assert found.err.rstrip("\n").isprintable()


def assert_takes_little(path, most=MEMORY):
    """To find out that a file is no checkpoint, or to read one that is."""
    tracemalloc.start()
    with contextlib.suppress(CharrnnError):
        load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < most


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused(path, name):
    path.write_bytes(HOSTILE[name]())
    assert_refused(path)
    assert_takes_little(path)


def places(value, path=""):
    """Where something else could stand in the document."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, f"{path}.{key}".lstrip("."))


REQUIRED = [
    place
    for place in places(taken_apart(SOUND)[1])
    if place.split(".")[0] not in ("training", "counters", "validation", "corpus", "origin")
    or "." not in place
]


@pytest.mark.parametrize("value", [None, True, 1.5, -1, "x", [], [[]], {}, {"x": 1}], ids=repr)
@pytest.mark.parametrize("place", REQUIRED)
def test_wrong_type_is_refused_wherever_it_stands(path, place, value):
    """But for objects that are free, whatever is in them."""
    path.write_bytes(of_document((place, value)))
    if isinstance(value, dict) and place in ("counters", "validation", "corpus", "origin"):
        assert getattr(load(path), place) == value
    else:
        with pytest.raises(DataError):
            load(path)


@pytest.mark.parametrize("place", REQUIRED)
def test_gap_is_refused_wherever_it_is(path, place):
    path.write_bytes(of_document((place,)))
    with pytest.raises(DataError):
        load(path)


def assert_sound(path):
    found = charrnn("info", "-m", str(path))
    assert (found.code, found.err) == (0, "")


def test_forgery_without_a_change_is_sound(path):
    """So that the others are refused for what is wrong in them."""
    path.write_bytes(of_document())
    assert_sound(path)
    path.write_bytes(of_header(lambda pairs: None))
    assert_sound(path)
    path.write_bytes(of_metadata(lambda text: f'{{"charrnn":{text}}}'))
    assert_sound(path)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("decoder.bias", "data_offsets", [False, 36]),
        ("decoder.bias", "data_offsets", [0, 36.0]),
        ("rnn.bias_ih_l0", "shape", [True]),
        ("rnn.bias_ih_l0", "shape", [1.0]),
    ],
)
def test_what_equals_a_number_in_python_is_none(path, name, field, value):
    config = replace(tiny("rnn_tanh").config, layers=1, hidden_size=1, embed_size=1)
    shapes = parameter_shapes(config)
    entries = container.layout({name: ("F32", shape) for name, shape in shapes.items()})
    document = taken_apart(SOUND)[1] | {"model": config.to_dict()}
    path.write_bytes(forged(entries, document, bytes(4 * count(shapes))))
    assert_sound(path)
    assert entries[name][field] == value
    entries[name][field] = value
    path.write_bytes(forged(entries, document, bytes(4 * count(shapes))))
    assert_refused(path)


@pytest.mark.parametrize("gigabytes", [4, 63, 65, 4096])
def test_sparse_file_is_refused_by_its_size(path, gigabytes):
    path.write_bytes(SOUND)
    os.truncate(path, gigabytes << 30)
    assert_refused(path)
    told = "not a charrnn checkpoint" if gigabytes > 64 else "damaged checkpoint"
    with pytest.raises(DataError, match=f"{told}.* {gigabytes << 30} bytes|{told}.*bytes of data"):
        load(path)


def test_sound_file_larger_than_the_memory_is_not_read(path, monkeypatch):
    """All is as it should be but the numbers, which are not there: the file is sparse."""
    size = {"hidden_size": 16_384, "embed_size": 1, "layers": 1, "vocab_size": 9, "tie": False}
    config = replace(tiny("gru").config, **size)
    shapes = parameter_shapes(config)
    document = taken_apart(SOUND)[1] | {"model": config.to_dict()}
    header = container.layout({name: ("F32", shape) for name, shape in shapes.items()})
    path.write_bytes(forged(header, document, b""))
    os.truncate(path, path.stat().st_size + 4 * count(shapes))
    monkeypatch.setattr(NumpyBackend, "free_memory", lambda backend: 10**9)
    with pytest.raises(MemoryLimitError, match=r"not enough memory: 3\.0 GiB"):
        load(path)
    assert charrnn("info", "-m", str(path)).code == 71


def test_what_is_no_regular_file_is_refused(tmp_path, path):
    os.mkfifo(path)
    assert_refused(path)
    assert_refused("/dev/zero")
    assert_refused(tmp_path, 66)  # a folder without checkpoints
    with pytest.raises(DataError, match="not a regular file"):
        load(tmp_path)


def test_link_to_a_sound_file_is_followed(path):
    path.symlink_to(golden(2, "char"))
    assert_sound(path)


def test_link_to_itself_is_refused(path):
    path.symlink_to(path)
    assert_refused(path, 74)


@pytest.mark.parametrize("change", [b"x", None], ids=["grows", "shrinks"])
def test_file_that_changes_while_it_is_read_is_refused(path, monkeypatch, change):
    path.write_bytes(SOUND)
    check = container.Container.check

    def change_then(*args):
        check(*args)
        os.truncate(path, len(SOUND) + (1 if change else -1))

    monkeypatch.setattr(container.Container, "check", change_then)
    with pytest.raises(DataError, match="while it is read"):
        load(path)


def test_sound_file_takes_its_own_size_of_memory(path):
    config = replace(tiny("gru").config, layers=1, hidden_size=400, embed_size=400)
    weights = {n: np.ones(s, np.float32) for n, s in parameter_shapes(config).items()}
    save(replace(tiny("gru"), config=config, weights=weights, slots={}, states={}), path)
    load(path)
    assert_takes_little(path, 1.2 * path.stat().st_size)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The bytes of a sound checkpoint of a few kB."""
    path = tmp_path_factory.mktemp("small") / "a.safetensors"
    save(replace(tiny("rnn_tanh"), slots={}, states={}, origin={}, corpus={}), path)
    return path.read_bytes()


def flips(raw, path, step):
    """Each ``step``-th bit flipped; how many of them there were."""
    path.write_bytes(raw)
    load(path)
    with path.open("r+b", buffering=0) as file:
        for bit in range(0, 8 * len(raw), step):
            at, mask = bit // 8, 1 << bit % 8
            os.pwrite(file.fileno(), bytes([raw[at] ^ mask]), at)
            with pytest.raises(CharrnnError) as caught:
                load(path)
            assert caught.value.exit_code == 65, bit
            os.pwrite(file.fileno(), raw[at : at + 1], at)
    return len(range(0, 8 * len(raw), step))


def test_every_truncation_is_refused(small, path):
    path.write_bytes(small)
    for length in reversed(range(len(small))):
        os.truncate(path, length)
        with pytest.raises(DataError):
            load(path)


def test_flipped_bits_are_refused(small, path):
    assert flips(small, path, 7) > 1000


def test_mutations_are_refused_or_sound(path):
    """`make torture` tries a hundred thousand, every bit and every length."""
    sound = 0
    for what, raw in mutations(0, 2000):
        try:
            sound += judge(raw, path)
        except Exception as error:
            raise AssertionError(what) from error
    assert 100 < sound < 1000  # neither guard alone refuses all of them
