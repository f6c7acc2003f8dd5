# charrnn: two commands to begin with, `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow test-torch test-nvrtc test-gpu torture bench lint clean

# Train for two minutes on the bundled tales, then write three samples.
demo: $(VENV)/.installed
	@run=$$($(BIN)/charrnn train corpora/tales.txt --minutes 2) && \
	for t in 0.5 0.8 1.0; do \
		printf '\n== temperature %s ==\n' $$t; \
		$(BIN)/charrnn sample -m "$$run" --prompt "The " --length 400 --temperature $$t --seed 1; \
	done

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --dist loadfile

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow

# The live comparison with PyTorch; it is large, so it is not part of `make test`.
test-torch: $(VENV)/.installed-torch
	$(BIN)/python -m pytest tests/test_torch.py

# NVIDIA's compiler on the kernels of a GPU, for which there need be none; large as well.
test-nvrtc: $(VENV)/.installed-nvrtc
	$(BIN)/python -m pytest tests/test_nvrtc.py

# Gradients, equivalence, sampling, training and resuming on an NVIDIA GPU; with GPU=stand-in on
# NumPy behind CuPy's face, with the kernels compiled as C++. Needs PyTorch, and CuPy for a GPU.
GPU ?= real
test-gpu: $(VENV)/.installed-torch
	$(BIN)/python -m pytest -m gpu --gpu $(GPU) -rs $(if $(filter stand-in,$(GPU)),-n auto --dist loadfile)

# What runs and checkpoints survive, in full figures; about twenty minutes.
torture: $(VENV)/.installed-test
	$(BIN)/python -m tests.torture

# Ours against PyTorch, in about 25 minutes; best on a machine that does nothing else.
bench: $(VENV)/.installed-torch
	$(BIN)/python -m tests.bench

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"charrnn needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

$(VENV)/.installed-lint: $(VENV)/.installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[lint]'
	@touch $@

$(VENV)/.installed-torch: $(VENV)/.installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[torch]'
	@touch $@

$(VENV)/.installed-nvrtc: $(VENV)/.installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[nvrtc]'
	@touch $@
