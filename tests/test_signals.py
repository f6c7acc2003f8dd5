"""What signals do to a training run: each ends it as the shell expects, and nothing is lost."""

from __future__ import annotations

import os
import re
import shlex
import signal
import time
from subprocess import Popen

import pytest

from charrnn.checkpoint import load
from charrnn.runs import list_steps
from tests.support.shell import TALES, charrnn, popen

LONG = ("train", str(TALES), "--hidden", "16", "--minutes", "5", "-o", "run")


def until(process: Popen[bytes], happened) -> None:
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
    assert command == shlex.join(["charrnn", *LONG, "--resume"])
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
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT


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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told_before_training(tmp_path):
    (tmp_path / "run").mkdir(mode=0o555)
    assert charrnn(*LONG, cwd=tmp_path).code == 73
