# Everything a fresh machine needs is here: `make quickstart` and `make test` set up .venv first.

PYTHON_VERSION ?= 3.11
UV_VERSION     := 0.13.9
VENV           := .venv
BIN            := $(VENV)/bin

# uv from the PATH, else one of our own in .uv.
UV := $(or $(shell command -v uv),.uv/bin/uv)
# PyTorch's CPU build: from the folder that PIP_FIND_LINKS names if it has one, else from PyTorch's CPU index.
TORCH_SOURCE := $(if $(wildcard $(PIP_FIND_LINKS)/torch-*),--find-links "$(PIP_FIND_LINKS)",--torch-backend=cpu)

REQUIREMENTS := pyproject.toml requirements/cpu.txt requirements/overrides.txt requirements/vllm-shim/pyproject.toml
INSTALLED    := $(VENV)/.installed

.PHONY: help setup lock quickstart test lint docs test-fast test-slow test-nightly coverage clean

help:
	@echo "make quickstart   train a tiny language model with MaxPO in verl, on CPU, and show pass@k before and after"
	@echo "make test         lint, types, documentation, and all tests but the nightly ones, with verl itself end to end"
	@echo "make test-fast    the tests without verl's own runs; lint, docs, test-slow and test-nightly are apart, too"
	@echo "make setup        only install, into $(VENV)"
	@echo "make lock         pin requirements/cpu.in anew in requirements/cpu.txt"

# The pins are those of one Python; another resolves cpu.in anew.
PINNED := requirements/cpu.$(if $(filter 3.11,$(PYTHON_VERSION)),txt,in)

setup: $(INSTALLED)

# Byte-compiling takes half a minute once; without it every Ray worker of a first run would do it.
$(INSTALLED): $(REQUIREMENTS) | $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON_VERSION) $(VENV)
	$(UV) pip install --python $(BIN)/python --compile-bytecode $(TORCH_SOURCE) --overrides requirements/overrides.txt \
	    --requirements $(PINNED) ./requirements/vllm-shim --editable '.[cpu,dev]'
	touch $@

.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/python -m pip install --quiet uv==$(UV_VERSION)

lock: | $(UV)
	$(UV) pip compile --quiet --python-version $(PYTHON_VERSION) $(TORCH_SOURCE) --no-emit-find-links --no-annotate \
	    --overrides requirements/overrides.txt --extra cpu --extra dev \
	    requirements/cpu.in pyproject.toml --output-file requirements/cpu.txt \
	    --custom-compile-command "make lock"

quickstart: $(INSTALLED)
	PATH="$(CURDIR)/$(BIN):$$PATH" examples/quickstart/quickstart.sh

# Two processes: one for verl's own runs, the other for what remains (tests/conftest.py).
PYTEST := $(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder --doctest-modules verl_maxpo tests

test: $(INSTALLED)
	$(MAKE) --jobs=2 lint docs
	$(PYTEST) -m "not nightly"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

test-fast: $(INSTALLED)
	$(PYTEST) -m "not slow"

test-slow: $(INSTALLED)
	$(PYTEST) -m "slow and not nightly"

test-nightly: $(INSTALLED)
	$(PYTEST) -m nightly

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

coverage: $(INSTALLED)
	$(PYTEST) -m "not slow" --cov --cov-report=term

clean:
	rm -rf $(VENV) .uv outputs site
