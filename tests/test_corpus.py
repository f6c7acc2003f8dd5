import codecs
import errno
import gzip
import hashlib
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import DataError, InputNotFoundError, InputOutputError, UsageError
from charrnn.text.corpus import STDIN, Corpus, read_corpus
from tests.support.shell import ROOT
from tests.support.texts import text_of

GZ = gzip.compress(b"some text\n" * 20, mtime=0)

#: File name, content and what the error says.
UNUSABLE = {
    "empty": ("a.txt", b"", ["empty file"]),
    "only a byte-order mark": ("a.txt", codecs.BOM_UTF8, ["empty file"]),
    "stray byte": ("a.txt", b"ab\xffc", ["invalid UTF-8", "byte 0xff at offset 2"]),
    "offset in bytes": ("a.txt", b"\xc3\xa9\xc3\xa9\xff", ["byte 0xff at offset 4"]),
    "offset with the mark": ("a.txt", codecs.BOM_UTF8 + b"ab\xff", ["byte 0xff at offset 5"]),
    "cut symbol": ("a.txt", b"abc\xe2\x82", ["invalid UTF-8", "byte 0xe2 at offset 3"]),
    "surrogate": ("a.txt", b"\xed\xa0\x80", ["invalid UTF-8", "byte 0xed at offset 0"]),
    "latin-1": ("a.txt", "Füße".encode("latin-1"), ["byte 0xfc at offset 1", "convert"]),
    "stray byte far in": ("a.txt", "aé".encode() * 50 + b"\x80", ["byte 0x80 at offset 150"]),
    "UTF-16 mark far in": ("a.txt", b"a" * 60 + codecs.BOM_UTF16_LE, ["byte 0xff at offset 60"]),
    "symbol cut by another": ("a.txt", b"abcd\xf0\x9f\x98a", ["byte 0xf0 at offset 4"]),
    "NUL": ("a.txt", b"ab\0c", ["binary file", "NUL byte at offset 2"]),
    "NUL far in": ("a.txt", b"abcdefgh" * 9 + b"a\0b\0", ["NUL byte at offset 73"]),
    "NUL far after a stray byte": ("a.txt", b"\xff" + b"a" * 99 + b"\0", ["at offset 100"]),
    "NUL with the mark": ("a.txt", codecs.BOM_UTF8 + b"ab\0c", ["NUL byte at offset 5"]),
    "PNG": ("a.txt", b"\x89PNG\r\n\x1a\n\0\0\0\r", ["binary file", "NUL byte at offset 8"]),
    "UTF-16 LE": ("a.txt", codecs.BOM_UTF16_LE + "ab".encode("utf-16-le"), ["UTF-16", "iconv"]),
    "UTF-16 BE": ("a.txt", codecs.BOM_UTF16_BE + "ab".encode("utf-16-be"), ["UTF-16", "iconv"]),
    "not gzip": ("a.txt.gz", b"plain text", ["damaged, or not a gzip file"]),
    "cut gzip": ("a.txt.gz", GZ[:-12], ["damaged, or not a gzip file"]),
    "gzip with a wrong CRC": (
        "a.txt.gz",
        GZ[:-8] + b"0000" + GZ[-4:],
        ["damaged, or not a gzip file"],
    ),
    "gzip with a wrong body": ("a.txt.gz", GZ[:10] + b"\xff" * 20, ["damaged, or not a gzip file"]),
    "empty gzip": ("a.txt.gz", gzip.compress(b""), ["empty file"]),
    "gzip of a stray byte": ("a.txt.gz", gzip.compress(b"ab\xff"), ["byte 0xff at offset 2"]),
}


@pytest.fixture(autouse=True, scope="module", params=[3, 4, 5, 1 << 18])
def chunk(request):
    """Everything holds however many bytes are read at once, from a byte-order mark's length up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charrnn.text.corpus._CHUNK", request.param)
        yield


def piped(raw: bytes) -> Corpus:
    """Read from stdin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))
        return read_corpus([STDIN])


@pytest.fixture
def file(tmp_path):
    """Writes a file and gives its path."""

    def write(name, raw):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(raw)
        return str(path)

    return write


@pytest.mark.parametrize("hazard", UNUSABLE)
def test_unusable_file_is_refused_with_the_reason(file, hazard):
    name, raw, parts = UNUSABLE[hazard]
    path = file(name, raw)
    with pytest.raises(DataError) as caught:
        read_corpus([path])
    assert caught.value.exit_code == 65
    assert [part for part in [path, *parts] if part not in str(caught.value)] == []


@pytest.mark.parametrize("name", ["missing.txt", "missing.txt.gz", "no/such/folder.txt"])
def test_missing_file(tmp_path, name):
    path = str(tmp_path / name)
    with pytest.raises(InputNotFoundError) as caught:
        read_corpus([path])
    assert (str(caught.value), caught.value.exit_code) == (f"no such file: {path}", 66)


def test_missing_file_among_others(file, tmp_path):
    with pytest.raises(InputNotFoundError):
        read_corpus([file("a.txt", b"a"), tmp_path / "missing.txt"])


def test_text_given_instead_of_a_file_is_an_expected_error():
    with pytest.raises(InputNotFoundError):
        read_corpus(["It was a dark and stormy night. " * 20])


@pytest.mark.parametrize("good", [0, 2], ids=["at once", "midway"])
def test_file_that_cannot_be_read(file, monkeypatch, good):
    class Failing(io.BytesIO):
        def read(self, size):
            if self.tell() >= good:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(2)

    path = file("a.txt", b"a")
    monkeypatch.setattr(Path, "open", lambda *_: Failing(b"abcd"))
    with pytest.raises(InputOutputError) as caught:
        read_corpus([path])
    assert str(caught.value) == f"cannot read: {path}; Input/output error"
    assert caught.value.exit_code == 74


def test_folder_without_texts(file, tmp_path):
    file("notes.md", b"a")
    with pytest.raises(InputNotFoundError, match="folder without text files") as caught:
        read_corpus([tmp_path])
    assert caught.value.exit_code == 66


def test_a_folder_in_it_that_cannot_be_read_is_not_left_out(file, tmp_path, monkeypatch):
    file("a.txt", b"a")
    file("sub/b.txt", b"b")
    listed = os.scandir

    def refuse(path):
        if str(path).endswith("sub"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputOutputError) as caught:
        read_corpus([tmp_path])
    assert str(caught.value) == f"cannot read: {tmp_path}/sub; Permission denied"


def test_closed_stdin(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(InputOutputError, match="cannot read: -; stdin is closed"):
        read_corpus([STDIN])


def test_no_source_at_all():
    with pytest.raises(UsageError, match="no corpus given"):
        read_corpus([])


@pytest.mark.parametrize(
    ("raw", "text", "note"),
    [
        (codecs.BOM_UTF8 + b"ab", "ab", "byte-order mark left out"),
        *(
            (line + b"\r\n", line.decode() + "\r\n", "CRLF line ends kept as they are")
            for line in (b"a", b"ab", b"abc", b"abcd", "é\U0001f600\ré".encode())
        ),
    ],
)
def test_oddity_is_noted(file, raw, text, note):
    path = file("a.txt", raw)
    corpus = read_corpus([path])
    assert (text_of(corpus.text), corpus.notes) == (text, (f"{path}: {note}",))


@pytest.mark.parametrize(
    "text",
    ["a\n", "a\rb", "ab\r", "a\r\U0001f600\n", "e\u0301 \u00e9 \ufb01", "a\ufeffb", "\U0001f600"],
)
def test_text_is_read_as_it_is(file, text):
    corpus = read_corpus([file("a.txt", text.encode())])
    assert (text_of(corpus.text), corpus.notes) == (text, ())


def test_gzip_is_unpacked(file):
    assert text_of(read_corpus([file("a.txt.gz", GZ)]).text) == "some text\n" * 20


def test_folder_gives_its_texts_in_order(file, tmp_path):
    for name, raw in [
        ("b.txt", b"2"),
        ("a.txt", b"1"),
        ("sub/c.txt", b"4"),
        ("c.txt.gz", gzip.compress(b"3")),
        ("c.md", b"not this"),
        ("c.gz", b"nor this"),
    ]:
        file(name, raw)
    (tmp_path / "folder.txt").mkdir()
    corpus = read_corpus([tmp_path])
    assert text_of(corpus.text) == "1234"
    assert corpus.sources == (str(tmp_path),)


def test_files_are_joined_in_the_order_given(file):
    paths = [file("b.txt", b"first "), file("a.txt", b"second")]
    corpus = read_corpus(paths)
    assert (text_of(corpus.text), corpus.sources) == ("first second", tuple(paths))


def test_stdin_is_read_among_files(file, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\u00e9".encode())))
    corpus = read_corpus([file("a.txt", b"a"), STDIN, file("b.txt", b"b")])
    assert text_of(corpus.text) == "a\u00e9b"


def test_error_on_stdin_names_it():
    with pytest.raises(DataError, match="empty file: -"):
        piped(b"")


def test_digest_and_size_are_of_the_raw_bytes(file):
    raw = [codecs.BOM_UTF8 + b"a\r\n", "\u00e9".encode()]
    corpus = read_corpus([file("a.txt", raw[0]), file("b.txt.gz", gzip.compress(raw[1]))])
    assert corpus.sha256 == hashlib.sha256(b"".join(raw)).hexdigest()
    assert corpus.bytes == len(b"".join(raw))


#: What is put together to files that go wrong, or nearly so, in every place.
PIECES = [b"a", b"\r", b"\n", "é€".encode(), "\U0001f600".encode(), codecs.BOM_UTF8]
HAZARDS = [b"\xe2", b"\x9f\x98", b"\xff", b"\0"]


@given(st.lists(st.sampled_from(PIECES * 5 + HAZARDS), min_size=1).map(b"".join))
def test_reading_in_chunks_is_reading_at_once(raw):
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = ""
    if text and b"\0" not in raw:
        corpus = piped(raw)
        assert text_of(corpus.text) == text
        assert len(corpus.notes) == raw.startswith(codecs.BOM_UTF8) + (b"\r\n" in raw)
        assert (corpus.bytes, corpus.sha256) == (len(raw), hashlib.sha256(raw).hexdigest())
    else:
        with pytest.raises(DataError) as caught:
            piped(raw)
        assert expected_error(raw) in str(caught.value)


def expected_error(raw: bytes) -> str:
    if b"\0" in raw:
        return f"NUL byte at offset {raw.find(0)}"
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"byte 0x{raw[error.start]:02x} at offset {error.start};"
    return "empty file"


def test_bundled_messages_are_distinct_lines_of_plain_text():
    """A keyboard learns from variety, and a test line must not be a training line."""
    text = (ROOT / "corpora" / "messages.txt").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) == len(set(lines)) >= 2500
    assert text.isascii()
    assert all(line == line.strip() != "" for line in lines)
