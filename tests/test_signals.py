"""What signals do to a training run: each ends it as the shell expects, and nothing is lost."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import termios
import threading
import time

import pytest

from charrnn.checkpoint import load
from charrnn.cli.console import one_line
from charrnn.cli.train import resume_command
from charrnn.runs import list_steps
from tests.support.shell import PYTHONPATH, TALES, Process, charrnn, popen

LONG = ("train", str(TALES), "--hidden", "16", "--minutes", "5", "-o", "run")


def until(process: Process, happened) -> None:
    """Wait for something, for a minute at most."""
    deadline = time.monotonic() + 60
    while not happened():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"it never happened: {process.communicate()[1].decode()}")
        time.sleep(0.02)


def training(folder, logged: int = 3):
    """Whether so many events were logged: it trains."""
    log = folder / "run" / "log.jsonl"
    return lambda: log.exists() and log.read_bytes().count(b"\n") >= logged


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_saves_says_how_to_go_on_and_dies_by_the_signal(tmp_path, number):
    with popen(*LONG, cwd=tmp_path) as process:
        until(process, training(tmp_path))
        begin = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert time.monotonic() - begin < 10  # two seconds, on a machine that does nothing else
    assert (process.returncode, out) == (-number, b"")
    assert b"Traceback" not in err
    [step, command] = re.findall(r"stopped at step (\d+); go on with: (.+)\n", err.decode())[0]
    assert command == shlex.join(["charrnn", "train", "--resume", *LONG[1:]])
    assert load(list_steps(tmp_path / "run")[-1]).counters["step"] == int(step) > 0
    again = [*LONG[:4], *LONG[6:], "--steps", str(int(step) + 2), "--resume"]
    going_on = charrnn(*again, cwd=tmp_path)
    assert (going_on.code, going_on.out) == (0, "run\n")
    assert f"run         run, from step {int(step):,} on" in going_on.err


def test_a_second_interrupt_ends_it_at_once(tmp_path):
    """Also while it saves: here the disk takes for ever."""
    script = (
        "import os, sys, time; from charrnn.cli import main\n"
        "def never(*args): open('saving', 'w').close(); time.sleep(1000)\n"
        "os.replace = never; main(sys.argv[1:])"
    )
    with popen(*LONG, cwd=tmp_path, script=script) as process:
        until(process, training(tmp_path))
        process.send_signal(signal.SIGINT)
        until(process, (tmp_path / "saving").exists)
        time.sleep(0.25)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT


@pytest.mark.parametrize(
    "first, second",
    [
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGTERM, signal.SIGHUP),
        (signal.SIGINT, signal.SIGINT),
    ],
)
def test_what_comes_twice_of_itself_does_not_end_it_before_it_has_saved(tmp_path, first, second):
    """As timeout and a terminal that closes send them; here the disk takes its time."""
    script = (
        "import os, sys, time; from charrnn.cli import main; replace = os.replace\n"
        "def slowly(*names): time.sleep(0.1); replace(*names)\n"
        "os.replace = slowly; main(sys.argv[1:])"
    )
    with popen(*LONG, cwd=tmp_path, script=script) as process:
        until(process, training(tmp_path))
        for number in (first, second):
            process.send_signal(number)
            time.sleep(0.01)
        _, err = process.communicate(timeout=30)
    assert process.returncode in (-first, -second)
    [step] = re.findall(r"stopped at step (\d+); go on with: ", err.decode())
    assert load(list_steps(tmp_path / "run")[-1]).counters["step"] == int(step)


def test_a_run_whose_terminal_goes_saves_and_dies_of_it(tmp_path):
    leader, follower = pty.openpty()

    def own_terminal():
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup may be above us
        os.setsid()
        fcntl.ioctl(follower, termios.TIOCSCTTY, 0)

    command = [sys.executable, "-m", "charrnn", *LONG]
    environment = os.environ | {"PYTHONPATH": PYTHONPATH, "TERM": "xterm"}
    terminal = {"stdin": follower, "stdout": follower, "stderr": follower}
    with Process(
        command, cwd=tmp_path, env=environment, preexec_fn=own_terminal, **terminal
    ) as process:
        os.close(follower)
        drained = threading.Thread(target=drain, args=(leader, training(tmp_path)))
        drained.start()
        until(process, training(tmp_path))
        drained.join()
        os.close(leader)
        assert process.wait(30) == -signal.SIGHUP
    assert list_steps(tmp_path / "run")


def drain(leader, enough):
    """Read what a terminal gets, or it would fill up."""
    while not enough():
        if select.select([leader], [], [], 0.1)[0]:
            os.read(leader, 65536)


def test_usr1_before_the_first_step_is_kept_for_it(tmp_path):
    script = (
        "import os, signal, sys; from charrnn.cli import main\n"
        "from charrnn.cli.signals import Signals\n"
        "enter = Signals.__enter__\n"
        "def soon(signals): enter(signals); os.kill(os.getpid(), signal.SIGUSR1); return signals\n"
        "Signals.__enter__ = soon; main(sys.argv[1:])"
    )
    with popen(*LONG, cwd=tmp_path, script=script) as process:
        until(process, lambda: list_steps(tmp_path / "run"))
        process.kill()


@pytest.mark.parametrize(
    "given, named, expected",
    [
        (["train", "a.txt"], False, ["train", "--resume", "-o", "my run", "a.txt"]),
        (["--debug", "train", "a b"], True, ["--debug", "train", "--resume", "a b"]),
        (["train", "-omy run", "--resume", "a"], True, ["train", "-omy run", "--resume", "a"]),
        (
            ["train", "--", "-odd.txt"],
            False,
            ["train", "--resume", "-o", "my run", "--", "-odd.txt"],
        ),
        (["train", "a'b\\\n\x1b[0m\udcff\u202e"], True, None),
    ],
    ids=ascii,
)
def test_the_command_to_go_on_with_is_one_that_a_shell_reads(given, named, expected):
    command = resume_command(given, "my run", named=named)
    shown = ["bash", "-c", f"printf '%s\\0' {command}"]
    words = subprocess.run(shown, check=True, capture_output=True).stdout.split(b"\0")[1:-1]
    assert list(map(os.fsdecode, words)) == (expected or ["train", "--resume", *given[1:]])
    assert one_line(command) == command


def test_usr1_saves_and_the_run_goes_on(tmp_path):
    with popen(*LONG, cwd=tmp_path) as process:
        until(process, training(tmp_path))
        process.send_signal(signal.SIGUSR1)
        until(process, lambda: list_steps(tmp_path / "run"))
        logged = (tmp_path / "run" / "log.jsonl").read_bytes().count(b"\n")
        until(process, training(tmp_path, logged + 2))
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_what_is_ignored_from_the_start_stays_ignored(tmp_path, number):
    """As by nohup, and in the background of a shell."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        process = popen(*LONG, cwd=tmp_path, interruptible=False)
    finally:
        signal.signal(number, before)
    with process:
        until(process, training(tmp_path))
        process.send_signal(number)
        logged = (tmp_path / "run" / "log.jsonl").read_bytes().count(b"\n")
        until(process, training(tmp_path, logged + 2))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM


def test_the_second_of_two_runs_in_a_folder_is_told_who_has_it(tmp_path):
    with popen(*LONG, cwd=tmp_path) as process:
        until(process, training(tmp_path))
        second = charrnn(*LONG, "--resume", cwd=tmp_path)
        third = charrnn(*LONG, cwd=tmp_path)
        process.kill()
    for found in (second, third):
        assert found.code == 75
        assert found.err == f"charrnn: error: run is in use: run; by process {process.pid}\n"


@pytest.mark.parametrize("resume", [[], ["--resume"]], ids=["new", "resumed"])
def test_a_folder_that_cannot_be_written_is_told_before_training(tmp_path, monkeypatch, resume):
    (tmp_path / "run").mkdir()
    if resume:
        (tmp_path / "run" / "log.jsonl").touch()
    (tmp_path / "run").chmod(0o555)
    monkeypatch.setattr(os, "access", lambda path, how: not how & os.W_OK)  # root may everything
    found = charrnn(*LONG, *resume, cwd=tmp_path)
    (tmp_path / "run").chmod(0o755)
    assert (found.code, found.err) == (
        73,
        "charrnn: error: cannot create: run; Permission denied\n",
    )


def test_a_run_that_a_full_disk_ends_says_how_to_go_on(tmp_path):
    """The command that it prints does, once there is room again."""
    script = (
        "import errno, os, sys; from charrnn.cli import main; from charrnn import runs\n"
        "def full(*args): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n"
        "save, number = runs.RunFolder.save, iter(range(9))\n"
        "def some(*args, **kw):\n"
        "    if next(number) == 2: os.replace = full\n"
        "    return save(*args, **kw)\n"
        "runs.RunFolder.save = some; main(sys.argv[1:])"
    )
    given = ["train", str(TALES), "--hidden", "8", "--steps", "10"]
    with popen(*given, cwd=tmp_path, script=script) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (74, b"")
    run = "checkpoints/tales"
    again = ["train", "--resume", "-o", run, *given[1:]]
    assert err.decode().splitlines()[-1] == (
        f"charrnn: error: cannot write: {tmp_path / run / 'best.safetensors'}; No space left on "
        f"device; go on with: charrnn {shlex.join(again)}"
    )
    going_on = charrnn(*again, cwd=tmp_path)
    assert (going_on.code, going_on.out) == (0, f"{run}\n")
    assert "from step 2 on" in going_on.err
