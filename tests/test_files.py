import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from charrnn.errors import InputOutputError, OutputError
from charrnn.files import flush_folder, make_folder, remove_leftovers, write_atomically

OLD, NEW = b"old", b"new, and longer"


@pytest.fixture
def path(tmp_path):
    """An older file, alone in its folder."""
    path = tmp_path / "run" / "file"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("pieces", [[], [b""], [NEW], [b"new", b"", bytearray(b", longer")]])
@pytest.mark.parametrize("older", [False, True])
def test_all_pieces_are_written(path, pieces, older):
    if not older:
        path.unlink()
    write_atomically(path, pieces)
    assert contents(path.parent) == {"file": b"".join(pieces)}


def test_link_stays_one_and_its_file_is_replaced(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    write_atomically(link, [NEW])
    assert (link.is_symlink(), path.read_bytes()) == (True, NEW)


@pytest.mark.parametrize("length", [1, 255])
def test_any_name_that_the_file_system_takes(tmp_path, length):
    path = tmp_path / ("x" * length)
    write_atomically(path, [NEW])
    assert contents(tmp_path) == {path.name: NEW}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/file", "No such file or directory"),
        ("file/file", "Not a directory"),
        ("x" * 256, "File name too long"),
        ("folder", "there is something that is not a file"),
        ("fifo", "there is something that is not a file"),
    ],
    ids=lambda text: text[:12],
)
def test_file_that_cannot_be_created(path, name, reason):
    (path.parent / "folder").mkdir()
    os.mkfifo(path.parent / "fifo")
    with pytest.raises(OutputError) as caught:
        write_atomically(path.parent / name, [NEW])
    assert str(caught.value) == f"cannot create: {path.parent / name}; {reason}"
    assert names(path.parent) == ["fifo", "file", "folder"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "of the pieces"), KeyboardInterrupt()])
def test_exception_of_the_pieces_passes_through(path, error):
    def pieces():
        yield NEW
        raise error

    with pytest.raises(type(error)) as caught:
        write_atomically(path, pieces())
    assert caught.value is error
    assert contents(path.parent) == {"file": OLD}


def test_nothing_stays_open(path):
    before = names(Path("/dev/fd"))
    write_atomically(path, [NEW])
    with pytest.raises(ZeroDivisionError):
        write_atomically(path, (b"" for n in [0] if 1 / n))
    assert names(Path("/dev/fd")) == before


def test_folder_that_cannot_be_flushed_will_do(path, monkeypatch):
    """Some file systems of a network say EINVAL."""
    flush = os.fsync

    def unless_folder(file):
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        flush(file)

    monkeypatch.setattr(os, "fsync", unless_folder)
    write_atomically(path, [NEW])
    assert contents(path.parent) == {"file": NEW}


@pytest.fixture
def failing(monkeypatch):
    """Makes a function of ``os`` fail with an error; gives the list of its calls."""

    def make(name, number):
        calls = []

        def fail(*args, **kwargs):
            calls.append(args)
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, name, fail)
        return calls

    return make


def test_failed_flush_is_not_tried_again(path, failing):
    calls = failing("fsync", errno.EIO)
    with pytest.raises(InputOutputError, match="Input/output error"):
        write_atomically(path, [NEW])
    assert len(calls) == 1


def test_temporary_that_cannot_be_removed_is_not_what_is_reported(path, failing):
    failing("replace", errno.EIO)
    failing("unlink", errno.EROFS)
    with pytest.raises(InputOutputError, match="Input/output error"):
        write_atomically(path, [NEW])
    assert path.read_bytes() == OLD


def test_readers_never_see_a_part(path):
    """A reader that looks all the time, while two files take turns."""
    versions = {bytes([n]) * 50_000 for n in (1, 2)}
    write_atomically(path, [min(versions)])
    seen, done = set(), threading.Event()

    def read():
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for content in [*versions] * 30:
        write_atomically(path, [content])
    done.set()
    reader.join()
    assert seen <= versions


# Writes a file of 64 kB and prints how that ended; its folder is given.
WRITER = """if True:
    import resource, sys
    from pathlib import Path
    from charrnn.errors import CharrnnError
    from charrnn.files import write_atomically
    folder, limit = Path(sys.argv[1]), int(sys.argv[2])
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        write_atomically(folder / "file", [b"x" * 4000] * 16)
    except CharrnnError as error:
        print(error.exit_code, error.remedy)
    print({path.name: path.read_bytes() for path in folder.iterdir()})
"""


def writer(folder, limit):
    return [sys.executable, "-c", WRITER, folder, str(limit)]


def test_limit_on_the_size_of_files_is_like_a_full_disk(path):
    found = subprocess.run(writer(path.parent, 10_000), capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("74 File too large\n{'file': b'old'}\n", "")


def test_full_disk(path):
    """A real one, of 16 kB, where one may be mounted."""
    mount = 'mount -t tmpfs -o size=16k none "$1" && printf old > "$1/file"'
    shell = ["unshare", "-m", "sh", "-c"]
    try:
        subprocess.run([*shell, mount, "sh", path.parent], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no right to mount a file system")
    found = subprocess.run(
        [*shell, f'{mount} && shift && exec "$@"', "sh", path.parent, *writer(path.parent, 0)],
        capture_output=True,
        text=True,
    )
    told = "74 No space left on device\n{'file': b'old'}\n"
    assert (found.stdout, found.stderr) == (told, "")


def test_folder_is_made_and_each_new_name_is_flushed(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(os.fstat(file).st_ino))
    make_folder(tmp_path / "a" / "b" / "c")
    made = [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    assert flushed == [folder.stat().st_ino for folder in made]
    make_folder(tmp_path / "a" / "b")
    assert len(flushed) == len(made)
    flush_folder(tmp_path / "a" / "b" / "c")
    assert len(flushed) == len(made) + 1


OTHERS = [
    "file",
    ".charrnn-0123.tmp",
    ".charrnn-0123456789abcdeg.tmp",
    "charrnn-0123456789abcdef.tmp",
    ".charrnn-0123456789abcdef.tmp~",
    "step-000000001.safetensors",
]


def test_leftovers_and_nothing_else_are_removed(path, failing, monkeypatch):
    failing("replace", errno.EIO)
    failing("unlink", errno.EROFS)
    for _ in range(2):
        with pytest.raises(InputOutputError):
            write_atomically(path, [NEW])
    monkeypatch.undo()
    for name in OTHERS:
        (path.parent / name).touch()
    assert len(names(path.parent)) == len(OTHERS) + 2
    remove_leftovers(path.parent)
    assert names(path.parent) == sorted(OTHERS)


def test_leftovers_that_cannot_be_removed_are_left(path):
    (path.parent / ".charrnn-0123456789abcdef.tmp").mkdir()
    remove_leftovers(path.parent)
    remove_leftovers(path.parent / "missing")
    assert len(names(path.parent)) == 2
