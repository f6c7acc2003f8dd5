from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import DataError
from charrnn.text import CharVocabulary
from charrnn.text.streams import TrainingStream, scoring_lanes
from tests.support.texts import stored


@pytest.fixture(autouse=True, scope="module", params=[1, 50, 1 << 20])
def ahead(request):
    """Everything holds however many symbols are read at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charrnn.text.streams._AHEAD", request.param)
        yield


def stream(length, batch_size=3, seq_len=5, seed=0):
    """Over ids that are their own positions."""
    return TrainingStream(np.arange(length, dtype=np.int32), batch_size, seq_len, seed)


def epoch(source, number):
    """Inputs and targets of an epoch's windows, [windows, T, B] each."""
    x, y = zip(*source.windows(number), strict=True)
    return np.stack(x), np.stack(y)


@st.composite
def streams(draw):
    batch_size, seq_len = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    length = draw(st.integers(batch_size * seq_len + 1, 400))
    return stream(length, batch_size, seq_len, draw(st.integers(0, 99)))


@given(streams(), st.integers(0, 9))
def test_targets_are_the_inputs_shifted_by_one(source, number):
    x, y = epoch(source, number)
    np.testing.assert_array_equal(y, x + 1)


@given(streams(), st.integers(0, 9))
def test_lanes_run_on_from_window_to_window_and_into_each_other(source, number):
    x, _ = epoch(source, number)
    lanes = np.concatenate(x).T.ravel()
    np.testing.assert_array_equal(lanes, lanes[0] + np.arange(len(lanes)))


@given(streams())
def test_epoch_has_as_many_windows_as_fit(source):
    x, _ = epoch(source, 0)
    assert x.shape == (source.steps_per_epoch, source.seq_len, source.batch_size)
    assert 0 <= len(source.ids) - 1 - x.size < source.batch_size * source.seq_len


def test_windows_of_a_stored_text_are_those_of_its_ids():
    text, vocabulary = stored("the raven " * 20), CharVocabulary("ehnrtav")
    ids = text.encoded(vocabulary, 3, 150)
    for ours, theirs in zip(
        epoch(TrainingStream(ids, 3, 5, seed=1), 2),
        epoch(TrainingStream(ids[:], 3, 5, seed=1), 2),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def starts(seed):
    source = stream(3 * 50 + 40, seq_len=50, seed=seed)
    return [int(epoch(source, number)[0][0, 0, 0]) for number in range(20)]


def test_epochs_start_at_many_offsets():
    assert len(set(starts(seed=1))) > 10


def test_offsets_reach_both_ends_of_the_text():
    seen = [epoch(stream(18), number)[1] for number in range(20)]
    assert {int(y.max()) for y in seen} == {15, 16, 17}


def test_same_seed_same_offsets():
    assert starts(seed=1) == starts(seed=1)


def test_other_seed_other_offsets():
    assert starts(seed=1) != starts(seed=2)


@pytest.mark.parametrize("windows", [1, 2, 7])
def test_text_that_fits_exactly_is_used_whole(windows):
    x, y = epoch(stream(windows * 15 + 1), 3)
    assert (len(x), x.min(), y.max()) == (windows, 0, windows * 15)


@pytest.mark.parametrize("length", [0, 1, 2, 15])
def test_text_shorter_than_one_window_is_refused(length):
    with pytest.raises(DataError, match=f"{length} symbols.*3 x 5 needs 16;.*--seq-len") as caught:
        stream(length)
    assert caught.value.exit_code == 65


@given(st.integers(1, 400), st.integers(1, 50))
def test_every_symbol_but_the_first_is_a_target_once_in_order(length, lanes):
    ids = np.arange(length, dtype=np.int32)
    x, y = scoring_lanes(ids, lanes)
    np.testing.assert_array_equal(y.T[y.T >= 0], ids[1:])
    np.testing.assert_array_equal(x.T[y.T >= 0], ids[:-1])


@given(st.integers(1, 400), st.integers(1, 50))
def test_lanes_differ_by_one_and_are_padded_at_their_end(length, lanes):
    x, y = scoring_lanes(np.arange(length, dtype=np.int32), lanes)
    assert x.shape == y.shape == (-(-(length - 1) // lanes), lanes)
    assert (y[:-1] >= 0).all()


def test_ids_are_scored_as_they_are():
    x, y = scoring_lanes(np.array([5, 5, 7, 0, 9], np.int32), 2)
    assert (x.tolist(), y.tolist()) == ([[5, 7], [5, 0]], [[5, 0], [7, 9]])


@given(st.integers(2, 400))
def test_one_lane_is_the_text_itself(length):
    _, y = scoring_lanes(np.arange(length, dtype=np.int32), 1)
    assert all(b == a + 1 for a, b in pairwise(y[:, 0].tolist()))
