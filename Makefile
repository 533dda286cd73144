# `make demo` and `make test` work from a bare clone: they build the environment they need first.

PYTHON ?= python3
VENV ?= .venv
VLM ?= clip-llm
PLUGINS := $(wildcard plugins/*) examples/lisa_example_vlm

PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
# A worker for each core, each with one thread; more than four of them would take memory from one another.
# Children compile nothing anew, even where the environment forbids bytecode to be kept.
PYTEST := PYTHONDONTWRITEBYTECODE= HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(PY) -m pytest -n logical --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-slow lint types clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

venv: $(INSTALLED) ## build .venv (or VENV=...) with core, plugins and development tools, unless it is up to date

$(INSTALLED): pyproject.toml $(PLUGINS:=/pyproject.toml)
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install torch torchvision  # first and alone, so that an old pip need not weigh them against the rest
	$(PY) -m pip install -e '.[dev]' $(addprefix -e ,$(PLUGINS))
	touch $@

demo: $(INSTALLED) ## train a small segmenter on made-up scenes and draw what it segments (VLM=smolvlm, llava, ...: another)
	$(PY) examples/demo.py --vlm $(VLM) $(DEMO_ARGS)

test: $(INSTALLED) ## run the tests of core and plugins, offline (about six minutes on two cores)
	$(PYTEST) -m 'not slow' $(PYTEST_ARGS)

test-slow: $(INSTALLED) ## run the tests that train models, build environments or are further cases (about half an hour)
	$(PYTEST) -m slow $(PYTEST_ARGS)

lint: $(INSTALLED) ## check style and formatting
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(INSTALLED) ## check types
	$(PY) -m mypy

clean: ## remove .venv, caches, built packages and the demo's output
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
