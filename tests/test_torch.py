"""Against PyTorch: from golden files everywhere, live where it is installed."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from charrnn.api import LanguageModel
from charrnn.cells import CELLS
from charrnn.checkpoint import Checkpoint, load, save
from charrnn.config import PRECISIONS, ModelConfig, TrainConfig
from charrnn.exchange import export
from charrnn.model import Model
from charrnn.optim import Optimizer
from charrnn.params import Buffer, initial_values
from charrnn.text import CharVocabulary
from tests.golden.make_torch import FILE, STEPS
from tests.support.cuda_host import needs_compiler
from tests.support.devices import host, put
from tests.support.fake_cupy import fake_backend
from tests.support.shell import charrnn
from tests.support.stacks import (
    Case,
    backend_of,
    backends,
    cells,
    directions,
    exact,
    layers,
    model_backends,
    model_config,
)

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (charrnn[torch])"
)


@pytest.fixture(scope="module")
def golden():
    return safetensors.numpy.load_file(FILE)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


@backends
@cells
@pytest.mark.parametrize("layers", [1, 2])
@directions
def test_stack_equals_golden_file(golden, backend, cell, layers, direction):
    """Outputs, final states and all gradients, from the file's own weights and inputs."""
    key = f"{cell}-{layers}-{direction}/"
    entries = {n.removeprefix(key): v for n, v in golden.items() if n.startswith(key)}
    case = Case.make(backend, cell, layers, direction, STEPS)
    case.x[...] = entries.pop("x")
    put(case.params.flat, entries.pop("params"))
    dfinal = [[np.empty_like(s) for s in scan] for scan in case.states]
    for scan, states in enumerate(case.states):
        for k in range(len(states)):
            states[k][...] = entries.pop(f"state.{scan}.{k}")
            dfinal[scan][k][...] = entries.pop(f"dfinal.{scan}.{k}")
    assert_same(case.run(entries.pop("dy"), dfinal), entries)


@functools.cache
def torch_stack(cell: str, layers: int, direction: str, steps: int) -> Any:
    """Gradients of the output and the final states, and all that PyTorch makes of them."""
    from tests.support.torch_oracle import run_stack

    case = Case.make("numpy", cell, layers, direction, steps, batch=3, seed=5)
    dy, dfinal = case.upstream()
    params = {name: host(value) for name, value in case.params.items()}
    return dy, dfinal, run_stack(cell, layers, direction, params, case.x, case.states, dy, dfinal)


@needs_torch
@backends
@cells
@layers
@directions
@pytest.mark.parametrize("steps", [1, 7])
def test_stack_equals_live_torch(backend, cell, layers, direction, steps):
    dy, dfinal, expected = torch_stack(cell, layers, direction, steps)
    case = Case.make(backend, cell, layers, direction, steps, batch=3, seed=5)
    assert_same(case.run(dy, dfinal), expected)


@needs_torch
@model_backends
@cells
@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("vocab", [5, 9, 40])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])
def test_model_loss_and_gradients_equal_torch(backend, cell, tie, vocab, bidirectional):
    """For two threads, parts of 5 and of 10 positions: both, one or none take the whole table."""
    from tests.support.torch_oracle import language_model

    embed = 6 if tie else 4
    config = model_config(
        cell, vocab_size=vocab, embed_size=embed, tie=tie, bidirectional=bidirectional
    )
    rng = np.random.default_rng(3)
    model = Model(config, exact(backend), learns=True)
    put(model.params.flat, rng.normal(scale=0.5, size=model.params.flat.shape))
    model.refresh()
    window = model.training_window(5, 3)
    states = [[rng.normal(size=s.shape) for s in scan] for scan in window.states]
    ids, targets = rng.integers(0, vocab, size=(2, 5, 3))
    params = {name: host(value) for name, value in model.params.items()}
    expected = language_model(config, params, ids, targets, states)

    window.states = given = [[window.backend.to_device(s) for s in scan] for scan in states]
    found = {"logits": host(window.logits(ids))}
    window.states = given
    found["loss"] = host(window.loss_and_grads(ids, targets, None))
    found |= {f"d {name}": host(g) for name, g in window.grads.items()}
    assert_same(found, expected)


@needs_torch
@model_backends
@pytest.mark.parametrize("clip", [0.0, 0.5])
@pytest.mark.parametrize(
    "name, decay, theirs",
    [
        ("adam", 0.1, {"betas": (0.9, 0.99), "weight_decay": 0.1}),
        ("rmsprop", 0.0, {"alpha": 0.99}),
        ("sgd", 0.0, {"momentum": 0.8}),
    ],
)
def test_optimizers_and_clipping_equal_torch(backend, name, decay, theirs, clip):
    from tests.support.torch_oracle import optimise

    rng = np.random.default_rng(0)
    start, grads = rng.normal(size=20), rng.normal(size=(6, 20))
    params, gradient = (Buffer(exact(backend), {"w": (20,)}) for _ in range(2))
    put(params.flat, start)
    config = TrainConfig(optimizer=name, clip=clip, weight_decay=decay, momentum=0.8)
    optimizer = Optimizer(exact(backend), params, gradient, config)
    for row in grads:
        put(gradient.flat, row)
        optimizer.step(0.05)
    expected = optimise(name, start, grads, clip, lr=0.05, **theirs)
    np.testing.assert_allclose(host(params.flat), expected, rtol=1e-9)


@needs_torch
@backends
@pytest.mark.parametrize("cell", [c for c in sorted(CELLS) if c != "rnn_sigmoid"])
def test_torch_loads_our_names_strictly_and_agrees_in_float32(backend, cell):
    """What a checkpoint holds under ``rnn.`` is a state dict of PyTorch's own module."""
    import torch

    from tests.support.torch_oracle import module

    config = model_config(cell, hidden_size=16, embed_size=8)
    model = Model(config, backend_of(backend, np.float32))
    model.load(initial_values(config, "orthogonal", np.random.default_rng(0)))
    window = model.window(10, 2)
    x = np.random.default_rng(1).normal(size=(10, 2, 8)).astype(np.float32)
    params = {name: host(value) for name, value in model.params.part("rnn.").items()}
    rnn = module(cell, params, 8, 16, 2, False).float()
    with torch.no_grad():
        expected = rnn(torch.from_numpy(x))[0].numpy()
    y = window.parts[0].stack.forward(model.backend.to_device(x.reshape(20, 8)))
    np.testing.assert_allclose(host(y).reshape(10, 2, 16), expected, atol=1e-5)


#: A checkpoint's symbols, and a text that has others too.
SYMBOLS, TEXT = "\n abcdé", "abba\n\nédé x cab da\n" * 5
CELLS_OF_TORCH = [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]

exchanged = pytest.mark.parametrize(
    "config",
    [
        ModelConfig(
            len(SYMBOLS) + 1, cell=cell, activation=activation, layers=layers, tie=tie,
            hidden_size=16, embed_size=16 if tie else 8,
        )
        for cell, activation in CELLS_OF_TORCH
        for layers in (1, 2)
        for tie in (False, True)
    ],
    ids=lambda c: f"{c.cell_name}-{c.layers}-{'tied' if c.tie else 'untied'}",
)  # fmt: skip


def logprobs(path):
    """Of the text, as ``charrnn eval`` has them, and the ids with what stands before the first."""
    lm = LanguageModel.load(path, "cpu")
    ids = np.concatenate([[lm.vocabulary.start], lm.vocabulary.encode(TEXT)])
    return lm.logprobs(TEXT), ids


@needs_torch
@exchanged
def test_torch_loads_what_is_exported_and_agrees(tmp_path, config):
    """The whole module strictly, and its recurrent part alone."""
    from safetensors.torch import load_file

    from tests.support.torch_oracle import LanguageModule

    weights = initial_values(config, "uniform", np.random.default_rng(0))
    save(Checkpoint(config, CharVocabulary(SYMBOLS), weights), tmp_path / "model.safetensors")
    export(load(tmp_path / "model.safetensors"), tmp_path / "weights.safetensors")
    exported = load_file(tmp_path / "weights.safetensors")
    module = LanguageModule(config)
    module.load_state_dict(exported, strict=True)
    found, ids = logprobs(tmp_path / "model.safetensors")
    np.testing.assert_allclose(module.logprobs(ids), found, atol=1e-5)
    rnn = {n.removeprefix("rnn."): v for n, v in exported.items() if n.startswith("rnn.")}
    LanguageModule(config).rnn.load_state_dict(rnn, strict=True)


@needs_torch
@exchanged
def test_what_torch_trained_is_imported_and_agrees(tmp_path, config):
    import torch
    from safetensors.torch import save_file

    from tests.support.torch_oracle import LanguageModule

    torch.manual_seed(0)
    module = LanguageModule(config)
    # A tied weight is one tensor under two names, which the format does not have.
    state = {name: value.clone() for name, value in module.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    described = {"model": config.to_dict(), "vocabulary": SYMBOLS}
    (tmp_path / "weights.json").write_text(json.dumps(described), encoding="utf-8")
    paths = [
        tmp_path / name for name in ("weights.safetensors", "weights.json", "model.safetensors")
    ]
    assert charrnn("import", str(paths[0]), str(paths[1]), "-o", str(paths[2])).code == 0
    found, ids = logprobs(paths[2])
    np.testing.assert_allclose(found, module.logprobs(ids), atol=1e-5)


@needs_torch
@needs_compiler
def test_the_benchmark_of_a_gpu_on_stand_ins_for_one(tmp_path, monkeypatch):
    """Both sides do the same work in every way; nothing is said of its speed.

    Ours is on the stand-in, with its graphs; PyTorch's on the CPU, with none.
    """
    from tests.bench import gpu, gpu_rival, ours
    from tests.bench.harness import Shape

    monkeypatch.setattr(gpu_rival, "DEVICE", "cpu")
    monkeypatch.setattr(gpu_rival, "_captured", lambda step: step)
    monkeypatch.setattr(gpu, "WARM_UPS", 1)
    monkeypatch.setattr(gpu, "REPEATS", 2)
    monkeypatch.setattr(gpu, "LENGTH", 70)
    # A window has more symbols than there are: it can be captured.
    shape, parameters = Shape("lstm", 2, 8, batch=4, window=20), str(tmp_path / "parameters.npz")
    ours.write_parameters(shape.to_dict(), parameters)
    backends = {precision: fake_backend(precision=precision) for precision in PRECISIONS}

    def timer(step: Any) -> float:
        step()
        return 1.0

    for measure, unit in ((gpu.training, "tokens/s"), (gpu.generating, "characters/s")):
        rows = list(measure(backends, shape, parameters, timer))
        ways = [f"{p}, {way}" for p in PRECISIONS for way in ("eager", "graph")]
        assert [row.case.split(": ")[1] for row in rows] == ways
        assert {row.unit for row in rows} == {unit}
        assert {len(values) for row in rows for values in (row.ours, row.theirs)} == {2}
        goals = {row.case.split()[-1]: row.goal for row in rows}
        assert goals == {"eager": 1.0 if measure is gpu.training else 20.0, "graph": 1.0}
        checks = [row.check for row in rows[::2]]
        if measure is gpu.training:
            assert re.fullmatch(r"losses agree to \de-0[5-9]", checks[0])
            assert all(re.fullmatch(r"losses within \de-0\d of fp32", c) for c in checks[1:])
        else:
            assert checks[0] == "likeliest text is theirs in fp32 for 70 of 70"
