"""What a model makes of texts: the same as when each is read in one go, however it is read."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn import scoring
from charrnn.model import Model
from charrnn.scoring import Lanes, Lines, LongText
from charrnn.text import CharVocabulary
from charrnn.text.segments import Segment
from charrnn.verdicts import Verdicts, judge
from tests.support.devices import GPU
from tests.support.stacks import cells, exact, layers
from tests.support.strict_device import StrictBackend
from tests.support.tiny import expected, tiny_model

ALPHABET = CharVocabulary("\nabcdefg")
START = ALPHABET.start
IDS = np.random.default_rng(0).integers(0, len(ALPHABET), size=2500, dtype=np.int32)

#: The device's stand-in too: what is read must be copied to the host where it is said so.
backends = pytest.mark.parametrize("backend", ["numpy", "fused", "fused-2", "strict", GPU])


@functools.cache
def model_of(backend="numpy", cell="lstm", layers=2):
    """The same weights on every backend."""
    model = tiny_model(ALPHABET, cell=cell, layers=layers)
    if backend == "numpy":
        return model
    made = Model(model.config, StrictBackend(np.float64) if backend == "strict" else exact(backend))
    made.load(dict(model.params))
    return made


def in_one_go(ids, cell="lstm", layers=2, before=START, alternatives=0):
    """The verdicts on ids [N] that follow a symbol, by the plainest means there are."""
    if len(ids) == 0:
        return judge(np.zeros((0, len(ALPHABET))), ids, alternatives)
    p = expected(model_of("numpy", cell, layers), [before, *ids[:-1]])
    own = p[np.arange(len(ids)), ids]
    likeliest = np.argsort(-p, axis=1)[:, :alternatives]
    return Verdicts(
        nats=-np.log(own),
        ranks=1 + (p > own[:, None]).sum(axis=1),
        top=p.max(axis=1),
        entropies=-(p * np.log(p)).sum(axis=1)[: len(ids) if alternatives else 0],
        others=likeliest[: len(ids) if alternatives else 0],
        p=np.take_along_axis(p, likeliest, 1)[: len(ids) if alternatives else 0],
    )


def assert_same(found, wanted):
    for name, ours, theirs in zip(Verdicts._fields, found, wanted, strict=True):
        assert ours.shape == theirs.shape, name
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12, err_msg=name)


def segments_of(ids, *cuts):
    """A text of these symbols, cut at these places."""
    text = ALPHABET.decode(ids)
    places = np.arange(1, len(ids) + 1)
    for a, b in itertools.pairwise([0, *cuts, len(ids)]):
        yield Segment(text[a:b], ids[a:b], places[a:b] - a, places[a:b], a)


def read(reader, ids, *cuts):
    """The verdicts on a text that comes in segments, one after the other."""
    found = [verdicts for _, verdicts in reader.verdicts(segments_of(ids, *cuts), START)]
    return Verdicts.joined(found)


# One long text


@backends
@cells
@layers
@pytest.mark.parametrize("length", [1, 3, 8, 9, 31])
def test_a_text_is_read_as_in_one_go(backend, cell, layers, length, monkeypatch):
    """Shorter than any window, of windows that come out even, and with some of each kind."""
    monkeypatch.setattr(scoring, "_STEPS", (8, 3))
    found = read(LongText(model_of(backend, cell, layers)), IDS[:length])
    assert_same(found, in_one_go(IDS[:length], cell, layers))


@pytest.mark.parametrize("length", [1023, 1024, 1025, 2500])
def test_windows_of_the_usual_size_carry_the_state(length):
    assert_same(read(LongText(model_of("fused-2")), IDS[:length]), in_one_go(IDS[:length]))


@backends
def test_a_text_has_its_details(backend, monkeypatch):
    monkeypatch.setattr(scoring, "_STEPS", (8, 3))
    found = read(LongText(model_of(backend), alternatives=3), IDS[:31], 5, 12)
    assert_same(found, in_one_go(IDS[:31], alternatives=3))


@backends
@pytest.mark.parametrize("reader", [LongText, Lines])
def test_a_large_vocabulary_is_decoded_in_parts(backend, reader, monkeypatch):
    """As many rows at a time as there is room for logits."""
    monkeypatch.setattr("charrnn.layers.head.MAX_LOGITS", 3 * len(ALPHABET))
    made = reader(model_of(backend), alternatives=2)
    lines = reader is Lines
    found = made.verdicts([IDS[:31]], START)[0] if lines else read(made, IDS[:31])
    assert_same(found, in_one_go(IDS[:31], alternatives=2))


@pytest.fixture(scope="module", params=[(1, 1), (2, 1), (8, 3), (16, 16), (1024, 64)], ids=str)
def long_text(request):
    """A reader with windows of these sizes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "_STEPS", request.param)
        yield LongText(model_of("fused-2", layers=3))


@functools.cache
def long_verdicts():
    return in_one_go(IDS[:80], layers=3)


@settings(max_examples=30)
@given(st.integers(1, 80), st.lists(st.integers(1, 79), max_size=9, unique=True))
def test_neither_windows_nor_segments_make_a_difference(long_text, length, cuts):
    """Every segment comes back in order, with what is made of it."""
    places = sorted(cut for cut in cuts if cut < length)
    given_segments = list(segments_of(IDS[:length], *places))
    found = list(long_text.verdicts(given_segments, START))
    assert [segment for segment, _ in found] == given_segments
    for a, b, (_, verdicts) in zip([0, *places], [*places, length], found, strict=True):
        assert_same(verdicts, long_verdicts().part(slice(a, b)))


def test_a_text_is_not_read_far_ahead(monkeypatch):
    """The first verdicts come when each layer has something to do."""
    monkeypatch.setattr(scoring, "_STEPS", (8, 3))
    segments = segments_of(IDS, *range(8, len(IDS), 8))
    next(LongText(model_of(layers=3)).verdicts(segments, START))
    assert len(list(segments)) > len(IDS) / 8 - 9


@pytest.mark.parametrize("abandoned", [False, True])
def test_a_second_text_is_read_as_the_first(abandoned, monkeypatch):
    """From a zero state, even if the first was not read to its end."""
    monkeypatch.setattr(scoring, "_STEPS", (8, 3))
    reader = LongText(model_of())
    first = reader.verdicts(segments_of(IDS[:50], 10, 20), START)
    assert len(list(itertools.islice(first, 1 if abandoned else None)))
    assert_same(read(reader, IDS[50:90]), in_one_go(IDS[50:90]))


def test_the_start_is_what_the_first_symbol_follows():
    [(_, found)] = LongText(model_of()).verdicts(segments_of(IDS[:9]), 5)
    assert_same(found, in_one_go(IDS[:9], before=5))


@backends
def test_there_are_no_verdicts_on_an_empty_text(backend):
    assert list(LongText(model_of(backend)).verdicts([], START)) == []


# Many short texts


def cut_at_random(count, longest, seed=0):
    """Texts of any length, in no order; some of them empty."""
    rng = np.random.default_rng(seed)
    starts, lengths = rng.integers(0, 1000, size=count), rng.integers(0, longest, size=count)
    return [IDS[a : a + n] for a, n in zip(starts, lengths, strict=True)]


@pytest.fixture(params=[(1, 1), (3, 4), (32, 64)], ids=str)
def line_window(request, monkeypatch):
    """Lanes and steps."""
    monkeypatch.setattr(scoring, "_LANES", request.param[0])
    monkeypatch.setattr(scoring, "_LINE_STEPS", request.param[1])


@pytest.mark.usefixtures("line_window")
@backends
@cells
@pytest.mark.parametrize("count", [1, 7])
def test_each_line_is_read_as_alone(backend, cell, count):
    """Those that go over several windows, and empty ones too."""
    lines = [*cut_at_random(count, 15), IDS[:0], IDS[5:6]]
    found = Lines(model_of(backend, cell)).verdicts(lines, START)
    for verdicts, line in zip(found, lines, strict=True):
        assert_same(verdicts, in_one_go(line, cell))


def test_lines_of_the_usual_window_are_read_as_alone():
    """More of them than stand side by side, some longer than it."""
    lines = cut_at_random(70, 200)
    found = Lines(model_of("fused-2")).verdicts(lines, START)
    for verdicts, line in zip(found, lines, strict=True):
        assert_same(verdicts, in_one_go(line))


@pytest.mark.usefixtures("line_window")
@backends
def test_lines_have_their_details(backend):
    lines = [*cut_at_random(5, 15), IDS[:0]]
    found = Lines(model_of(backend), alternatives=3).verdicts(lines, START)
    for verdicts, line in zip(found, lines, strict=True):
        assert_same(verdicts, in_one_go(line, alternatives=3))


@backends
@pytest.mark.parametrize("count", [0, 1, 40])
def test_there_is_nothing_to_say_of_empty_lines(backend, count):
    found = Lines(model_of(backend)).verdicts([IDS[:0]] * count, START)
    assert [len(verdicts.nats) for verdicts in found] == [0] * count


def test_lines_start_after_the_symbol_that_is_given():
    [found] = Lines(model_of()).verdicts([IDS[:9]], 5)
    assert_same(found, in_one_go(IDS[:9], before=5))


def test_lines_are_read_again_from_a_zero_state():
    reader = Lines(model_of())
    reader.verdicts([IDS[:100]], START)
    [again] = reader.verdicts([IDS[:100]], START)
    assert_same(again, in_one_go(IDS[:100]))


# One text in lanes


def in_lanes(reader):
    """Ids and nats, in an order of their own, and how many parts they came in."""
    parts = list(reader.verdicts(START))
    ids = np.concatenate([np.zeros(0, int), *(ids for ids, _ in parts)])
    nats = np.concatenate([np.zeros(0), *(verdicts.nats for _, verdicts in parts)])
    order = np.argsort(nats)
    return ids[order].tolist(), nats[order]


def parts_in_one_go(ids, count, cell="lstm"):
    """Each from a zero state, and from the symbol before it on."""
    bounds = [len(ids) * n // count for n in range(count + 1)]
    nats = np.concatenate([
        in_one_go(ids[a:b], cell, before=ids[a - 1] if a else START).nats
        for a, b in itertools.pairwise(bounds)
    ])  # fmt: skip
    order = np.argsort(nats)
    return ids[order].tolist(), nats[order]


@backends
@cells
@pytest.mark.parametrize("count", [2, 5, 8])
@pytest.mark.parametrize("length", [1, 7, 40, 61])
def test_each_lane_is_read_as_alone(backend, cell, count, length, monkeypatch):
    """Also where there are more of them than symbols."""
    monkeypatch.setattr(scoring, "CHUNK", 4)
    reader = Lanes(model_of(backend, cell), count)
    reader.append(IDS[:length])
    ids, nats = in_lanes(reader)
    wanted_ids, wanted_nats = parts_in_one_go(IDS[:length], count, cell)
    assert ids == wanted_ids
    np.testing.assert_allclose(nats, wanted_nats, rtol=1e-9)


@pytest.mark.parametrize("chunk", [1, 3, 10, 128, 1000])
def test_lanes_do_not_depend_on_the_window_nor_on_how_the_text_comes(chunk, monkeypatch):
    monkeypatch.setattr(scoring, "CHUNK", chunk)
    reader = Lanes(model_of("fused-2"), 3)
    for a, b in itertools.pairwise([0, 1, 1, 50, 300]):
        reader.append(IDS[a:b])
    ids, nats = in_lanes(reader)
    wanted_ids, wanted_nats = parts_in_one_go(IDS[:300], 3)
    assert ids == wanted_ids
    np.testing.assert_allclose(nats, wanted_nats, rtol=1e-9)


def test_lanes_forget_a_text_and_its_state():
    reader = Lanes(model_of(), 2)
    for start in (0, 30):
        reader.append(IDS[start : start + 30])
        _, nats = in_lanes(reader)
        np.testing.assert_allclose(nats, parts_in_one_go(IDS[start : start + 30], 2)[1], rtol=1e-9)


@backends
def test_lanes_say_nothing_of_an_empty_text(backend):
    assert list(Lanes(model_of(backend), 3).verdicts(START)) == []
