"""Whatever a text file may be, its result is stated: exit code, what is said, what is left behind.

Each row is given to ``charrnn train`` and to ``charrnn eval``, which read in the same way.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import DataError
from charrnn.text import CharVocabulary
from charrnn.text.corpus import read_corpus
from charrnn.text.store import StoredCharacters
from tests.support.evaluated import save_model
from tests.support.shell import Result, charrnn
from tests.support.texts import text_of

TEXT = "Any text will do, be it short.\n" * 4
RAW = TEXT.encode()
GZ = gzip.compress(RAW, mtime=0)
CHUNK = 1 << 18  # bytes that are read at once
BOMB = gzip.compress(b"a" * (1 << 20), mtime=0)  # about 1,000:1

pytestmark = pytest.mark.usefixtures("compiled")

Make = Callable[[Path], object]


def file(raw: bytes, name: str = "a.txt") -> Make:
    """One file."""
    return lambda folder: (folder / name).write_bytes(raw)


def files(*made: Make) -> Make:
    """Several things."""
    return lambda folder: [make(folder) for make in made]


def folder(name: str) -> Make:
    return lambda place: (place / name).mkdir(parents=True)


def link(name: str, target: str) -> Make:
    return lambda place: (place / name).symlink_to(target)


def fifo(raw: bytes, name: str = "a.txt") -> Make:
    """Something writes to it, though not at once."""

    def make(place: Path) -> None:
        def write() -> None:
            time.sleep(0.05)
            (place / name).write_bytes(raw)

        os.mkfifo(place / name)
        threading.Thread(target=write, daemon=True).start()

    return make


def endless(raw: bytes) -> Make:
    """A FIFO of the same again and again."""

    def make(place: Path) -> None:
        def write() -> None:
            with contextlib.suppress(BrokenPipeError), (place / "a.txt").open("wb") as out:
                while True:
                    out.write(raw)

        os.mkfifo(place / "a.txt")
        threading.Thread(target=write, daemon=True).start()

    return make


def nothing(place: Path) -> None:
    """No file at all."""


def unreadable(place: Path) -> None:
    (place / "a.txt").write_bytes(RAW)
    (place / "a.txt").chmod(0)
    if os.access(place / "a.txt", os.R_OK):
        pytest.skip("root may read anything")


@dataclass(frozen=True)
class Refused:
    """A hazard that ends a command: exit code, and the line on stderr.

    ``scored``: what is too little to train on is not too little to score; ``scored_error`` where
    ``charrnn eval`` gives another remedy.
    """

    make: Make
    code: int
    error: str
    arguments: tuple[str, ...] = ("a.txt",)
    stdin: bytes = b""
    scored: bool = False
    scored_error: str = ""
    marks: Any = ()


def not_utf8(
    raw: bytes, byte: int, offset: int, remedy: str = "convert the file to UTF-8"
) -> Refused:
    error = f"invalid UTF-8: a.txt; byte 0x{byte:02x} at offset {offset}; {remedy}"
    return Refused(file(raw), 65, error)


def binary(raw: bytes, offset: int, guess: str = "") -> Refused:
    remedy = f"; if it is {guess}, convert it: iconv -f {guess} -t UTF-8" if guess else ""
    return Refused(file(raw), 65, f"binary file: a.txt; NUL byte at offset {offset}{remedy}")


def no_gzip(raw: bytes, why: str) -> Refused:
    error = f"damaged, or not a gzip file: a.gz; {why}"
    return Refused(file(raw, "a.gz"), 65, error, ("a.gz",))


def empty(make: Make, name: str = "a.txt") -> Refused:
    return Refused(
        make,
        65,
        f"empty file: {name}; a corpus needs text",
        (name,),
        scored_error=f"empty file: {name}; there is nothing to score",
    )


def unlearnable(raw: bytes, error: str) -> Refused:
    return Refused(file(raw), 65, error, scored=True)


ENDS_WITHIN = "the file ends within a character"
GZIP = "gzip data: {}; unpack it: gzip -dc, or name it *.gz"
UTF_16 = "UTF-16 text: a.txt; convert it: iconv -f UTF-16 -t UTF-8"
UTF_32 = "UTF-32 text: a.txt; convert it: iconv -f UTF-32 -t UTF-8"
ON_LINUX = pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that fails")

REFUSED = {
    # Not UTF-8
    "Latin-1": not_utf8("Füße".encode("latin-1") * 9, 0xFC, 1),
    "byte in a later chunk": not_utf8(b"a" * (CHUNK + 9) + b"\xff" + RAW, 0xFF, CHUNK + 9),
    "last byte of a chunk": not_utf8(b"a" * (CHUNK - 1) + b"\xff" + RAW, 0xFF, CHUNK - 1),
    "first byte of a chunk": not_utf8(b"a" * CHUNK + b"\x80" + RAW, 0x80, CHUNK),
    "character broken at a chunk's border": not_utf8(
        b"a" * (CHUNK - 2) + b"\xe2\x82a" + RAW, 0xE2, CHUNK - 2
    ),
    "ends within a character": not_utf8(RAW + b"\xf0\x9f\x98", 0xF0, len(RAW), ENDS_WITHIN),
    "ends within a character, in a later chunk": not_utf8(
        b"a" * (CHUNK - 1) + b"\xe2\x82", 0xE2, CHUNK - 1, ENDS_WITHIN
    ),
    "encoded surrogate": not_utf8(RAW + b"\xed\xa0\x80", 0xED, len(RAW)),
    "encoded pair of surrogates": not_utf8(b"\xed\xa0\xbd\xed\xb8\x80", 0xED, 0),
    "overlong NUL": not_utf8(b"ab\xc0\x80", 0xC0, 2),
    "overlong slash": not_utf8(b"ab\xe0\x80\xaf", 0xE0, 2),
    "overlong in four bytes": not_utf8(b"ab\xf0\x80\x80\xaf", 0xF0, 2),
    "beyond Unicode": not_utf8(b"ab\xf4\x90\x80\x80", 0xF4, 2),
    "no UTF-8 without end": Refused(
        endless(b"caf\xe9 " * CHUNK), 65, not_utf8(b"", 0xE9, 3).error
    ),
    # Not text
    "NUL": binary(RAW + b"\0", len(RAW)),
    "NUL in a later chunk": binary(b"a" * CHUNK + b"\0", CHUNK),
    "picture": binary(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 8),
    "UTF-16 LE with its mark": Refused(
        file(codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le")), 65, UTF_16
    ),
    "UTF-16 BE with its mark": Refused(
        file(codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be")), 65, UTF_16
    ),
    "UTF-32 LE with its mark": Refused(
        file(codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le")), 65, UTF_32
    ),
    "UTF-32 BE with its mark": Refused(
        file(codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be")), 65, UTF_32
    ),
    "UTF-16 LE": binary(TEXT.encode("utf-16-le"), 1, "UTF-16LE"),
    "UTF-16 BE": binary(TEXT.encode("utf-16-be"), 0, "UTF-16BE"),
    "UTF-32 LE": binary(TEXT.encode("utf-32-le"), 1, "UTF-32LE"),
    "UTF-32 BE": binary(TEXT.encode("utf-32-be"), 0, "UTF-32BE"),
    # Too little
    "empty": empty(file(b"")),
    "only a byte-order mark": empty(file(codecs.BOM_UTF8)),
    "empty gzip": empty(file(gzip.compress(b""), "a.gz"), "a.gz"),
    "empty stdin": empty(nothing, "-"),
    "FIFO that nothing comes from": empty(fifo(b"")),
    "/dev/null": empty(nothing, "/dev/null"),
    "only white space": unlearnable(
        b" \n\t\n" * 40, "text of white space alone: a.txt; nothing to learn"
    ),
    "one symbol": unlearnable(
        b"a" * 40, "text of a single symbol: a.txt, 'a'; nothing to learn"
    ),
    "one character": unlearnable(
        b"a", "text shorter than one window: a.txt; use a longer text"
    ),
    "shorter than a window": Refused(
        file(b"abcde" * 4),
        65,
        "text shorter than one window: a.txt: 18 symbols to train on; a window of 2 x 9 needs 19; "
        "use a longer text or a smaller --batch-size or --seq-len",
        ("--seq-len", "9", "a.txt"),
        scored=True,
    ),
    # Not there
    "missing": Refused(nothing, 66, "no such file: a.txt"),
    "missing in a file": Refused(file(RAW), 66, "no such file: a.txt/b.txt", ("a.txt/b.txt",)),
    "name too long": Refused(nothing, 66, f"no such file: {'a' * 300}", ("a" * 300,)),
    "link to nothing": Refused(link("a.txt", "b.txt"), 66, "broken link: a.txt"),
    "link to itself": Refused(link("a.txt", "a.txt"), 66, "broken link: a.txt"),
    "links in a circle": Refused(
        files(link("a.txt", "b.txt"), link("b.txt", "a.txt")), 66, "broken link: a.txt"
    ),
    "folder without texts": Refused(
        files(folder("in"), file(RAW, "in/a.md"), link("in/a.txt", "a.txt")),
        66,
        "folder without text files: in; it needs *.txt or *.txt.gz",
        ("in",),
    ),
    "folder whose name ends in .gz": Refused(
        folder("a.gz"), 66, "folder without text files: a.gz; it needs *.txt or *.txt.gz", ("a.gz",)
    ),
    "unreadable": Refused(unreadable, 74, "cannot read: a.txt; Permission denied"),
    "failing disk": Refused(
        nothing,
        74,
        "cannot read: /proc/self/mem; Input/output error",
        ("/proc/self/mem",),
        marks=ON_LINUX,
    ),
    # Compressed
    "gzip cut short": no_gzip(
        GZ[:-9], "Compressed file ended before the end-of-stream marker was reached"
    ),
    "gzip cut in its head": no_gzip(
        GZ[:5], "Compressed file ended before the end-of-stream marker was reached"
    ),
    "gzip with a wrong checksum": no_gzip(
        GZ[:-8] + b"0000" + GZ[-4:], f"CRC check failed 0x30303030 != {gzip.zlib.crc32(RAW):#x}"
    ),
    "gzip with a wrong length": no_gzip(
        GZ[:-4] + b"0000", "Incorrect length of data produced"
    ),
    "gzip with something behind it": no_gzip(GZ + b"garbage", "Not a gzipped file (b'ga')"),
    "text named .gz": no_gzip(RAW, "Not a gzipped file (b'An')"),
    "gzip not named so": Refused(file(GZ), 65, GZIP.format("a.txt")),
    "gzip on stdin": Refused(nothing, 65, GZIP.format("-"), ("-",), GZ),
    "gzip twice": Refused(
        file(gzip.compress(GZ), "a.gz"), 65, GZIP.format("a.gz"), ("a.gz",)
    ),
    "gzip of a bad byte": Refused(
        file(gzip.compress(RAW + b"\xff" + RAW), "a.gz"),
        65,
        f"invalid UTF-8: a.gz; byte 0xff at offset {len(RAW)}; convert the file to UTF-8",
        ("a.gz",),
    ),
    "gzip bomb": Refused(
        file(BOMB, "a.gz"),
        65,
        f"gzip file that unpacks to far too much: a.gz; {CHUNK:,} bytes from {len(BOMB):,}, "
        "and more to come; if that is a text, unpack it yourself: gzip -d",
        ("a.gz",),
    ),
    # Names
    "name with a line break": Refused(nothing, 66, "no such file: a\\nb.txt", ("a\nb.txt",)),
    "name that steers a terminal": Refused(
        nothing, 66, "no such file: \\x1b[2Jb\\t.txt", ("\x1b[2Jb\t.txt",)
    ),
    "name that is not UTF-8": Refused(
        file(b"", os.fsdecode(b"caf\xe9.txt")),
        65,
        "empty file: caf\\udce9.txt; a corpus needs text",
        (os.fsdecode(b"caf\xe9.txt"),),
        scored_error="empty file: caf\\udce9.txt; there is nothing to score",
    ),
    "name like an option": Refused(
        file(RAW, "-x.txt"), 2, "No such option: -x; see charrnn --help", ("-x.txt",)
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Works:
    """A hazard that is none: the text, all of it, and what is said of what was done to it."""

    make: Make
    text: str = TEXT
    notes: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ("a.txt",)
    stdin: bytes = b""


def named(name: str, shown: str, *arguments: str) -> Works:
    """A file whose name is said, as it begins with a byte-order mark."""
    notes = (f"{shown}: byte-order mark left out",)
    return Works(file(codecs.BOM_UTF8 + RAW, name), TEXT, notes, arguments or (name,))


COMPOSED, DECOMPOSED = "caf\u00e9 " * 9, "cafe\u0301 " * 9
NONCHARACTERS = "\ufffe\uffff\U0010ffff" * 20
LONG = "one line without an end; " * (CHUNK // 10)
BORDER = TEXT.ljust(CHUNK - 1) + "€" + TEXT
AGAIN = ("a.txt: given again, and read again",)
IN_ORDER = files(
    folder("in/sub"),
    file(b"second " * 9, "in/b.txt"),
    file(gzip.compress(b"third " * 9), "in/c.txt.gz"),
    file(b"first " * 9, "in/a.txt"),
    file(b"fourth " * 9, "in/sub/a.txt"),
    file(b"\0", "in/picture.png"),
    folder("in/x.txt"),
)

WORKS = {
    "byte-order mark": named("a.txt", "a.txt"),
    "byte-order mark further on": Works(file(RAW + codecs.BOM_UTF8 + RAW), TEXT + "\ufeff" + TEXT),
    "CRLF": Works(
        file(RAW.replace(b"\n", b"\r\n")),
        TEXT.replace("\n", "\r\n"),
        ("a.txt: CRLF line ends kept as they are",),
    ),
    "lone CR": Works(file(RAW.replace(b"\n", b"\r")), TEXT.replace("\n", "\r")),
    "composed and decomposed": Works(file((COMPOSED + DECOMPOSED).encode()), COMPOSED + DECOMPOSED),
    "no last line break": Works(file(RAW[:-1]), TEXT[:-1]),
    "controls": Works(file(b"\x01\x1b[31m\x7f" * 20), "\x01\x1b[31m\x7f" * 20),
    "noncharacters": Works(file(NONCHARACTERS.encode()), NONCHARACTERS),
    "one line": Works(file(LONG.encode()), LONG),
    "character across chunks": Works(file(BORDER.encode()), BORDER),
    "link to a file": Works(files(file(RAW, "b.txt"), link("a.txt", "b.txt"))),
    "link to a folder": Works(
        files(folder("b"), file(RAW, "b/a.txt"), link("in", "b")), arguments=("in",)
    ),
    "folder": Works(
        IN_ORDER, "first " * 9 + "second " * 9 + "third " * 9 + "fourth " * 9, arguments=("in",)
    ),
    "folder with a link back to it": Works(
        files(folder("in"), file(RAW, "in/a.txt"), link("in/again", "."), link("in/up", "..")),
        arguments=("in",),
    ),
    "folder with a broken link": Works(
        files(folder("in"), file(RAW, "in/a.txt"), link("in/.#a.txt", "me@host:1")),
        arguments=("in",),
    ),
    "folder with a FIFO": Works(
        files(folder("in"), file(RAW, "in/a.txt"), lambda place: os.mkfifo(place / "in/b.txt")),
        arguments=("in",),
    ),
    "FIFO": Works(fifo(RAW)),
    "FIFO of gzip": Works(fifo(GZ, "a.gz"), arguments=("a.gz",)),
    "stdin": Works(nothing, TEXT, (), ("-",), RAW),
    "stdin with a byte-order mark": Works(
        nothing, TEXT, ("-: byte-order mark left out",), ("-",), codecs.BOM_UTF8 + RAW
    ),
    "the same file twice": Works(file(RAW), TEXT * 2, AGAIN, ("a.txt", "a.txt")),
    "the same file by another name": Works(
        files(file(RAW), link("b.txt", "a.txt")),
        TEXT * 2,
        ("b.txt: given again, and read again",),
        ("a.txt", "b.txt"),
    ),
    "gzip": Works(file(GZ, "a.gz"), arguments=("a.gz",)),
    "gzip in several members": Works(file(GZ * 3, "a.gz"), TEXT * 3, arguments=("a.gz",)),
    "gzip with an empty member": Works(
        file(GZ + gzip.compress(b"") + GZ, "a.gz"), TEXT * 2, arguments=("a.gz",)
    ),
    "gzip filled up with NUL": Works(file(GZ + b"\0" * 512, "a.gz"), arguments=("a.gz",)),
    "gzip of far less than its limit": Works(
        file(gzip.compress(b"All is well.\n" * 4000), "a.gz"),
        "All is well.\n" * 4000,
        arguments=("a.gz",),
    ),
    "name with a line break": named("a\nb.txt", "a\\nb.txt"),
    "name that steers a terminal": named("\x1b[2Jb\t.txt", "\\x1b[2Jb\\t.txt"),
    "name that is not UTF-8": named(os.fsdecode(b"caf\xe9.txt"), "caf\\udce9.txt"),
    "name like an option": named("-x.txt", "-x.txt", "--", "-x.txt"),
    "name like stdin's": named("-", "./-", "./-"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def never_hangs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test that waits for something in vain is ended; gzip bombs are small ones."""

    def end(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, 20)
    monkeypatch.setattr("charrnn.text.corpus._UNPACKED", CHUNK - 1)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, CharVocabulary.of("".join(row.text for row in WORKS.values())))
    return path


def train(place: Path, row: Refused | Works) -> Result:
    sizes = ["--hidden", "2", "--layers", "1", "--batch-size", "2", "--seq-len", "3"]
    budget = ["--steps", "1", "--evals", "1", "--device", "cpu", "--threads", "1", "-o", "run"]
    return charrnn("train", *sizes, *budget, *row.arguments, stdin=row.stdin, cwd=place)


def evaluate(place: Path, model: Path, row: Refused | Works) -> Result:
    options = ["--json", "--device", "cpu", "-m", str(model)]
    return charrnn("eval", *options, *row.arguments, stdin=row.stdin, cwd=place)


def rows(table: dict[str, Any]) -> Any:
    params = [pytest.param(row, id=n, marks=getattr(row, "marks", ())) for n, row in table.items()]
    return pytest.mark.parametrize("row", params)


@rows(REFUSED)
def test_training_is_refused_and_leaves_nothing(row, tmp_path):
    row.make(tmp_path)
    before = sorted(tmp_path.iterdir())
    found = train(tmp_path, row)
    assert (found.code, found.out) == (row.code, "")
    assert found.err == f"charrnn: error: {row.error}\n"
    assert sorted(tmp_path.iterdir()) == before


@rows({name: row for name, row in REFUSED.items() if not row.scored})
def test_scoring_is_refused_in_the_same_words(row, tmp_path, model):
    row.make(tmp_path)
    found = evaluate(tmp_path, model, row)
    assert found.code == row.code
    assert found.err == f"charrnn: error: {row.scored_error or row.error}\n"


@rows(WORKS)
def test_a_text_is_trained_on(row, tmp_path):
    row.make(tmp_path)
    found = train(tmp_path, row)
    assert (found.code, found.out) == (0, "run\n"), found.err
    said = [line for line in found.err.splitlines() if line.startswith("note: ")]
    assert said == [f"note: {note}" for note in row.notes]
    prepared = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[0])
    learnt = row.text[: len(row.text) - round(len(row.text) * 0.1)]
    assert prepared["corpus"]["characters"] == len(row.text)
    assert prepared["model"]["vocab_size"] == len(set(learnt)) + 1


@rows(WORKS)
def test_a_text_is_scored(row, tmp_path, model):
    row.make(tmp_path)
    found = evaluate(tmp_path, model, row)
    assert found.code == 0, found.err
    notes = [note for note in row.notes if "again" not in note]  # each file is for itself
    assert found.err.splitlines() == [f"charrnn: {note}" for note in notes]
    assert json.loads(found.out)["total"]["characters"] == len(row.text)


def test_the_held_out_text_is_read_in_the_same_way(tmp_path):
    (tmp_path / "a.txt").write_bytes(RAW)
    (tmp_path / "b.txt").write_bytes(b"ab\xff")
    found = train(tmp_path, Works(nothing, arguments=("a.txt", "--valid", "b.txt")))
    error = "invalid UTF-8: b.txt; byte 0xff at offset 2; convert the file to UTF-8"
    assert (found.code, found.err) == (65, f"charrnn: error: {error}\n")
    assert not (tmp_path / "run").exists()


def test_one_bad_file_among_good_ones_is_named(tmp_path):
    files(folder("in"), file(RAW, "in/a.txt"), file(b"ab\0", "in/b.txt"))(tmp_path)
    found = train(tmp_path, Works(nothing, arguments=("in",)))
    error = "binary file: in/b.txt; NUL byte at offset 2"
    assert (found.code, found.err) == (65, f"charrnn: error: {error}\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "raw, arguments, error",
    [
        (
            b"x" * (5 * CHUNK),
            (),
            "text without words: a.txt: 1,048,576 characters without a line break or a space "
            "between words; use a model of characters",
        ),
        (
            b"one two three\n" * 9,
            ("--min-count", "99"),
            "no word occurs often enough: a.txt; use a smaller --min-count",
        ),
    ],
)
def test_what_is_no_text_of_words_is_refused_by_name(tmp_path, raw, arguments, error):
    (tmp_path / "a.txt").write_bytes(raw * 2)
    row = Works(nothing, arguments=("--level", "word", *arguments, "a.txt"))
    found = train(tmp_path, row)
    assert (found.code, found.err) == (65, f"charrnn: error: {error}\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["a\nb.txt", "\x1b[2J.txt", os.fsdecode(b"\xe9.txt"), "-.txt"])
def test_a_run_that_is_named_after_its_text_has_a_plain_name(tmp_path, name):
    (tmp_path / name).write_bytes(RAW)
    options = ["--hidden", "2", "--steps", "1", "--evals", "1"]
    found = charrnn("train", *options, "--", name, cwd=tmp_path)
    assert found.code == 0, found.err
    assert re.fullmatch(r"checkpoints/[\w.-]+\n", found.out)
    assert not found.out.startswith("checkpoints/-")


def test_a_file_that_grows_is_read_to_where_it_ends_then(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_bytes(RAW)
    append = StoredCharacters.append

    def write_more(text: StoredCharacters, piece: str) -> None:
        append(text, piece)
        if path.stat().st_size == len(RAW):
            path.write_bytes(RAW * 2)

    monkeypatch.setattr(StoredCharacters, "append", write_more)
    corpus = read_corpus([path])
    assert (text_of(corpus.text), corpus.bytes) == (TEXT * 2, 2 * len(RAW))


def test_a_file_that_shrinks_is_read_to_where_it_ends_then(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a" * CHUNK + b"b" * CHUNK)
    append = StoredCharacters.append

    def cut(text: StoredCharacters, piece: str) -> None:
        append(text, piece)
        os.truncate(path, CHUNK + 9)

    monkeypatch.setattr(StoredCharacters, "append", cut)
    corpus = read_corpus([path])
    assert corpus.characters == CHUNK + 9


def test_a_gzip_bomb_is_refused_in_time(tmp_path, monkeypatch):
    """Not much more is kept than any gzip file may have, however much it would unpack to."""
    monkeypatch.undo()
    with gzip.open(tmp_path / "a.gz", "wb", 1) as packed:
        for _ in range(80):
            packed.write(b"a" * (1 << 20))
    text = StoredCharacters()
    with pytest.raises(
        DataError, match=r"unpacks to far too much: .*a\.gz; 67,\d\d\d,\d\d\d bytes"
    ):
        read_corpus([tmp_path / "a.gz"], text)
    assert len(text) <= 1 << 26


def test_a_text_that_packs_well_is_read_however_large(tmp_path, monkeypatch):
    """What is allowed grows with what was read of the file."""
    text = "".join(f"{n * n:x} is what there is, and the rest is the same\n" for n in range(9000))
    (tmp_path / "a.gz").write_bytes(gzip.compress(text.encode()))
    monkeypatch.setattr("charrnn.text.corpus._UNPACKED", 1000)
    assert read_corpus([tmp_path / "a.gz"]).bytes == len(text)
