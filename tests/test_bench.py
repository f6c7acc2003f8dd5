"""The benchmarks' bookkeeping, on values made up; a timing is never an assertion."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from typing import Any

import pytest

from charrnn.backend.cuda import CapturedStep
from charrnn.config import PRECISIONS
from tests.bench import encode, gpu, gpu_checks, harness, sample, startup, table, train
from tests.bench.__main__ import SUBJECTS
from tests.bench.harness import QUICK, BenchError, Plan, Shape, call, median_time, take_turns
from tests.bench.machine import OthersUse, describe, machine
from tests.bench.table import Row, markdown, number, result, tables
from tests.support.cuda_host import needs_compiler
from tests.support.fake_cupy import fake_backend

MACHINE = {"cpu": "Abacus", "cores": 2, "system": "Linux"} | dict.fromkeys(
    ("Python", "NumPy", "PyTorch", "charrnn"), "1.0"
)


def row(**changes):
    fields = {
        "table": "training",
        "unit": "tokens/s",
        "sides": ["charrnn", "PyTorch"],
        "case": "lstm 1x128",
        "ours": [300.0, 150.0, 200.0],
        "theirs": [100.0, 100.0, 125.0],
        "figure": "rate ratio",
        "goal": 1.6,
    }
    return Row(**(fields | changes))


@pytest.mark.parametrize(
    "figure, value, spread",
    [
        ("rate ratio", 2.0, (1.5, 3.0)),
        ("speed-up", 0.5, (1 / 3, 2 / 3)),
        ("slow-down", 2.0, (1.5, 3.0)),
        ("difference", 100.0, (50.0, 200.0)),
        ("ours alone", 200.0, (150.0, 300.0)),
    ],
)
def test_figure_of_medians_and_spread_over_turns(figure, value, spread):
    found = row(figure=figure)
    assert found.value == pytest.approx(value)
    assert found.spread == pytest.approx(spread)


@pytest.mark.parametrize(
    "figure, goal, met",
    [
        ("rate ratio", 2.0, True),
        ("rate ratio", 2.1, False),
        ("slow-down", 2.1, True),
        ("slow-down", 2.0, False),
        ("difference", 101, True),
        ("ours alone", 201, False),
    ],
)
def test_goals(figure, goal, met):
    assert row(figure=figure, goal=goal).met is met


@pytest.mark.parametrize(
    "value, text",
    [
        (0, "0"),
        (0.012345, "0.0123"),
        (1.2345, "1.23"),
        (10.0, "10.0"),
        (12345.6, "12,300"),
        (-87.25, "-87.2"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_results_come_with_their_unit():
    assert result(row()) == "2.00 x (1.50 to 3.00)"
    assert result(row(figure="difference", unit="ms")) == "100 ms (50.0 to 200)"


def test_rows_that_measure_the_same_share_a_table():
    rows = [row(case="a"), row(case="b", check="same"), row(unit="ms"), row(sides=["x", "y"])]
    (title, columns, cells), *others = tables(rows)
    assert title == "training, tokens/s"
    assert columns == ["", "charrnn", "PyTorch", "result", "goal", "check"]
    assert [line[0] for line in cells] == ["a", "b"]
    assert cells[1] == [
        "b",
        "200 (150 to 300)",
        "100 (100 to 125)",
        "2.00 x (1.50 to 3.00)",
        "≥ 1.6 x: met",
        "same",
    ]
    assert ["check" in columns for _, columns, _ in others] == [False, False]


def test_file_and_markdown(tmp_path, monkeypatch, capsys):
    document = {"machine": MACHINE, "rows": [row().to_json(), row(case="two").to_json()]}
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(document))
    assert Row.from_json(json.loads(path.read_text())["rows"][0]) == row()
    monkeypatch.setattr(sys, "argv", ["table", str(path)])
    table.main()
    printed = capsys.readouterr().out
    assert printed == markdown(document) + "\n"
    first, empty, *lines = printed.splitlines()
    assert first == ("Abacus, 2 cores, Linux; Python 1.0, NumPy 1.0, PyTorch 1.0, charrnn 1.0.")
    assert not empty
    assert lines[0] == "| training, tokens/s | charrnn | PyTorch | result |"
    assert {line.count("|") for line in lines} == {5}
    assert len(lines) == 4


def test_tables_are_printed(capsys):
    table.show([row()], MACHINE)
    printed = capsys.readouterr().out
    assert "2.00 x (1.50 to 3.00)" in printed
    assert describe(MACHINE) in printed


def test_machine_is_described_without_telling_whose_it_is():
    import platform

    found = machine()
    assert found["cores"] >= 1
    assert found["charrnn"]
    text = json.dumps(found)
    assert platform.node() not in text
    assert not re.search(r"/(root|home|work|tmp|Users)/", text)
    assert "PyTorch" not in describe(found | {"PyTorch": None})


def test_sides_take_turns_and_change_who_goes_first():
    order = []
    ours, theirs = take_turns(
        Plan(turns=3, patience=0), lambda: order.append("o") or 1, lambda: order.append("t") or 2
    )
    assert (ours, theirs) == ([1, 1, 1], [2, 2, 2])
    assert "".join(order) == "ottoot"


def test_disturbed_values_are_measured_again(monkeypatch):
    shares = iter([0.5, 0.3, 0.01, 0.02])  # a value, two looks whether it is quiet, a value
    monkeypatch.setattr(OthersUse, "share", lambda self: next(shares))
    monkeypatch.setattr(harness.time, "sleep", lambda seconds: None)
    values = iter("ab")
    assert harness.undisturbed(lambda: next(values), patience=60) == "b"


def test_a_machine_that_stays_busy_gives_no_result(monkeypatch):
    monkeypatch.setattr(OthersUse, "share", lambda self: 0.5)
    with pytest.raises(BenchError, match="busy"):
        harness.undisturbed(lambda: None, patience=1e-9)


def test_the_share_of_others_is_a_share():
    assert 0 <= OthersUse().share() <= 1


def test_median_time_repeats_often_enough():
    calls = []
    assert median_time(lambda: calls.append(0), seconds=0, least=4) >= 0
    assert len(calls) == 4


def test_a_call_runs_in_a_process_of_its_own():
    assert call("os:getpid") != call("os:getpid")


def test_a_call_that_fails_gives_no_result(capfd):
    with pytest.raises(BenchError, match="os:listdir"):
        call("os:listdir", path="no such folder")
    assert "FileNotFoundError" in capfd.readouterr().err


def test_shapes_are_those_documented():
    assert [(shape.step, goal) for shape, goal in train.CASES] == [
        ("lstm 1x128, 50x50, vocab 65", 1.6),
        ("lstm 2x128, 50x50, vocab 65", 1.3),
        ("lstm 2x256, 50x50, vocab 65", 1.35),
        ("lstm 2x512, 64x64, vocab 65", 1.2),
        ("gru 2x256, 50x50, vocab 65", 1.3),
        ("rnn 2x256, 50x50, vocab 65", 1.3),
        ("lstm 1x256, 20x35, vocab 10,000", 1.15),
        ("lstm 2x200, 20x35, vocab 33,278", 1.15),
    ]
    assert [shape.model for shape in sample.SHAPES] == ["lstm 1x128", "lstm 2x512", "lstm 3x512"]
    assert {shape.vocab for shape in sample.SHAPES} == {65}
    assert (sample.GOAL, sample.TEXTS, sample.TEXTS_GOAL) == (10, 64, 8)
    assert [(case.arguments, case.goal) for case in startup.CASES] == [
        ("--help", 1.5),
        ("sample --length 1", 100),
    ]
    assert encode.GOAL == 50


def test_the_text_to_train_on_fills_its_windows_and_nothing_more():
    shape = Shape("lstm", 1, 8, vocab=20, batch=3, window=4)
    ids = train.make_text(shape)
    assert len(ids) == train.WINDOWS * 12 + 1
    assert 0 <= ids.min() <= ids.max() < 20


def found(**changes):
    return {"parameters": 10, "updated": 10, "losses": [4.0, 3.0]} | changes


def test_comparison_says_how_far_both_sides_agree():
    assert train.compare([found()], [found(losses=[4.0, 3.003])]) == "losses agree to 1e-03"
    lazy = train.compare([found(updated=7)], [found()])
    assert lazy.endswith("our step updates 70% of the parameters that theirs does")


@pytest.mark.parametrize(
    "other", [{"parameters": 11}, {"losses": [4.0, 3.2]}, {"losses": [4.0, float("nan")]}]
)
def test_comparison_of_different_models_gives_no_result(other):
    with pytest.raises(BenchError):
        train.compare([found()], [found(**other)])


@pytest.mark.parametrize(
    "name",
    [
        "gpu",
        "gpu_checks",
        "gpu_ours",
        "ours",
        "worker",
        *(s.__name__.split(".")[-1] for s in SUBJECTS),
    ],
)
def test_modules_import(name):
    assert importlib.import_module(f"tests.bench.{name}").__doc__


@pytest.mark.parametrize("name", ["rival", "gpu_rival"])
def test_torch_is_imported_by_its_own_side_only(name):
    pytest.importorskip("torch", reason="PyTorch is not installed (charrnn[torch])")
    assert importlib.import_module(f"tests.bench.{name}").__doc__


def test_without_torch_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BenchError, match="make bench"):
        next(train.measure(QUICK))


def test_rows_measured_before_an_error_are_kept(capsys):
    def measure(plan):
        yield row(case="first")
        raise BenchError("no more")

    kept = []
    arguments = harness.parser(None).parse_args(["--quick"])
    with pytest.raises(SystemExit, match="no more"):
        harness.run([measure], arguments, kept.extend)
    assert [r.case for r in kept] == ["first"]
    assert "first" in capsys.readouterr().out


def test_only_cases_that_were_asked_for_are_measured():
    assert not list(encode.measure(Plan(only="nothing like it")))


# On a GPU


def test_shapes_of_the_gpu_are_those_documented():
    assert [shape.step for shape in gpu.SHAPES] == [
        "lstm 2x128, 64x128, vocab 65",
        "lstm 2x256, 64x128, vocab 65",
        "lstm 1x512, 64x128, vocab 65",
        "lstm 2x512, 64x128, vocab 65",
        "lstm 3x512, 128x128, vocab 65",
        "lstm 1x1024, 64x128, vocab 65",
        "lstm 2x1024, 64x128, vocab 65",
    ]
    assert [name.split()[0] for name, *_ in gpu.cases("2x128")] == ["training", "generating"]
    assert (gpu.WARM_UPS, gpu.REPEATS) == (5, 20)


def test_contestants_are_warm_and_then_take_turns():
    done = []
    contestants = {("fp32", w): lambda w=w: done.append(w) for w in "ab"}
    seconds = gpu.interleaved(contestants, lambda step: len(done) + (step() or 0))
    assert "".join(done) == "a" * 5 + "b" * 5 + "ab" * 20
    assert [*seconds.values()] == [list(range(10, 50, 2)), list(range(11, 50, 2))]


def test_ours_is_set_against_each_way_of_theirs_in_the_same_precision():
    seconds = {
        ("fp32", "ours"): [1.0, 2.0], ("bf16", "ours"): [0.5, 0.5], ("fp32", "eager"): [2.0, 2.0],
        ("bf16", "eager"): [4.0, 4.0], ("bf16", "graph"): [1.0, 1.0],
    }  # fmt: skip
    checks, goals = {"fp32": "same", "bf16": "near"}, {"eager": 20.0, "graph": 1.0}
    first, *others = gpu.rows("training", "tokens/s", "lstm", 100, seconds, checks, goals)
    assert (first.case, first.ours, first.theirs) == ("lstm: fp32, eager", [100, 50], [50, 50])
    assert [(r.case, r.value, r.check, r.met) for r in others] == [
        ("lstm: bf16, eager", 8.0, "near", False), ("lstm: bf16, graph", 2.0, "near", True)
    ]  # fmt: skip


def test_without_a_gpu_there_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert gpu.main(["--json", str(tmp_path / "gpu.json")]) == 69
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("tests.bench.gpu: error: CuPy is not installed: ")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def backends() -> dict[str, Any]:
    """Of a GPU, by precision."""
    return {precision: fake_backend(precision=precision) for precision in PRECISIONS}


@needs_compiler
@pytest.mark.parametrize("precision", PRECISIONS)
def test_gradients_are_checked_before_anything_is_measured(backends, precision):
    """Rounding shows, but is no more than is allowed for it."""
    backend, allowed = backends[precision], gpu_checks.TOLERANCES[precision]
    found = gpu_checks.check_gradients(backend, allowed)
    assert allowed / 1000 < found < allowed
    with pytest.raises(BenchError, match="off what it is in double precision"):
        gpu_checks.check_gradients(backend, found / 2)


@needs_compiler
def test_captured_steps_are_checked(backends, monkeypatch, capsys):
    gpu_checks.check(backends)
    assert re.findall(r"(\w+) is within", capsys.readouterr().err) == [*PRECISIONS]
    replay = CapturedStep.__call__
    monkeypatch.setattr(CapturedStep, "__call__", lambda step: replay(step) + 1e-3)
    with pytest.raises(BenchError, match="captured steps lose"):
        gpu_checks.check(backends)


def test_losses_in_less_than_single_precision_are_near_those_in_it():
    agreement = gpu_checks.agreement
    assert agreement("fp32", [4.0], [4.0], "losses agree") == "losses agree"
    assert agreement("bf16", [4.0, 3.02], [4.0, 3.0], "") == "losses within 7e-03 of fp32"
    for wrong in (3.1, float("nan")):
        with pytest.raises(BenchError, match="losses differ"):
            agreement("tf32", [4.0, wrong], [4.0, 3.0], "")


@needs_compiler
def test_rows_are_shown_and_kept(backends, monkeypatch, capsys, tmp_path):
    def measure(backends, shape, parameters, timer):
        yield row(case=shape.step)

    backends["fp32"].xp.__version__ = "14"
    monkeypatch.setattr(gpu, "device", lambda: (backends, None, "Loom"))
    monkeypatch.setattr(gpu, "cases", lambda only: [("a case", measure, Shape("lstm", 1, 8))])
    assert gpu.main(["--json", str(tmp_path / "gpu.json")]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert (found["machine"]["gpu"], len(found["rows"])) == ("Loom", 1)
    assert "Loom, CuPy 14" in capsys.readouterr().out
    assert gpu.main(["--json", str(tmp_path / "none"), "--minutes", "-1"]) == 0
    assert "no time left for: a case" in capsys.readouterr().err
