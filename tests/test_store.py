"""Texts in a temporary file."""

import gc
import io
import tempfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import InputOutputError
from charrnn.text import UNKNOWN, CharVocabulary
from charrnn.text.store import StoredCharacters
from tests.support.texts import stored, text_of


@pytest.fixture(autouse=True, scope="module", params=[7, 1 << 20])
def part(request):
    """Everything holds however many numbers are read at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charrnn.text.store._PART", request.param)
        yield


@given(st.lists(st.text(min_size=1), min_size=1))
def test_text_is_kept_as_it_is(pieces):
    text = stored(*pieces)
    assert text_of(text) == "".join(pieces)
    assert len(text) == len("".join(pieces))
    assert text.symbols == "".join(dict.fromkeys("".join(pieces)))


@given(st.text(min_size=1), st.data())
def test_symbols_of_the_beginning(text, data):
    length = data.draw(st.integers(1, len(text)))
    assert stored(text).vocabulary(length).symbols == tuple(sorted(set(text[:length])))


ALL = "".join(map(chr, [*range(1, 0xD800), *range(0xE000, 0x14000)]))


@pytest.mark.parametrize("count", [254, 255, 256, 257, 65534, 65535, 65536, 65537])
def test_numbers_get_wider_when_symbols_get_too_many(count, monkeypatch):
    monkeypatch.setattr("charrnn.text.store._PART", 4096)
    symbols = ALL[:count]
    text = stored(symbols[:70], symbols[:200], symbols, symbols)
    assert text_of(text) == symbols[:70] + symbols[:200] + symbols + symbols
    assert text.symbols == symbols


def test_file_is_as_small_as_the_symbols_allow(monkeypatch):
    files = watched(monkeypatch)
    text = stored("ab" * 500)
    assert files[-1].seek(0, io.SEEK_END) == 1000
    text.append(ALL[:1000])
    assert files[-1].seek(0, io.SEEK_END) == 2 * 2000


@pytest.mark.parametrize(
    "part",
    [
        slice(None),
        slice(2, 5),
        slice(5, 2),
        slice(0, 0),
        slice(None, 99),
        slice(90, 99),
        slice(-3, None),
        slice(None, -3),
        slice(-99, 2),
    ],
    ids=str,
)
def test_slices_are_those_of_an_array(part):
    text, vocabulary = "to be, or not", CharVocabulary("obent")
    ids = stored(text).encoded(vocabulary, 2, 11)
    expected = vocabulary.encode(text[2:11])
    assert len(ids) == len(expected)
    assert ids[part].dtype == np.int32
    np.testing.assert_array_equal(ids[part], expected[part])


@given(st.text("abcé", min_size=1), st.text(min_size=1))
def test_unknown_symbols_are_counted(text, known):
    vocabulary = CharVocabulary.of(known)
    ids = stored("__", text).encoded(vocabulary, 2, len(text) + 2)
    assert ids.unknown() == (vocabulary.encode(text) == UNKNOWN).sum()


def watched(monkeypatch):
    """A list that the temporary files made from now on get into."""
    files, make = [], tempfile.TemporaryFile

    def watch(*args, **kwargs):
        files.append(make(*args, **kwargs))
        return files[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", watch)
    return files


def test_files_go_with_the_last_that_needs_them(monkeypatch):
    files = watched(monkeypatch)
    text = stored("ab", ALL[:300])
    gc.collect()
    assert [file.closed for file in files] == [True, False]
    ids = text.encoded(CharVocabulary("ab"), 0, 2)
    del text
    gc.collect()
    assert ids[:].tolist() == [1, 2]
    del ids
    gc.collect()
    assert files[-1].closed


def test_what_is_written_in_part_is_written_on(monkeypatch, tmp_path):
    class Reluctant(io.FileIO):
        def write(self, raw):
            return super().write(raw[:3])

    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda buffering: Reluctant(tmp_path / "x", "w+")
    )
    assert text_of(stored("hello world")) == "hello world"


def test_full_disk_is_one_line(monkeypatch):
    full = open("/dev/full", "r+b", buffering=0)  # noqa: PTH123, SIM115
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda buffering: full)
    text = StoredCharacters()
    with pytest.raises(InputOutputError) as caught:
        text.append("ab")
    assert str(caught.value) == (
        "cannot keep the text in a temporary file: No space left on device; "
        "set TMPDIR to a folder with room for it"
    )
    assert caught.value.exit_code == 74


def test_folder_that_takes_no_file_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(InputOutputError, match="No such file or directory; set TMPDIR"):
        StoredCharacters()
