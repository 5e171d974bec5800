# Everything happens in .venv, which is built from pyproject.toml and pinned by constraints.txt.
# PYTHON names the interpreter it is built with, VENV the folder; ARGS goes to the command of the target.

.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
WORKERS ?= 2
VENV ?= .venv
BIN := $(VENV)/bin
# Other interpreters that this machine has, for `make pythons`.
OTHERS := $(wildcard $(foreach v,3.12 3.13,/usr/bin/python$(v) /usr/local/bin/python$(v) $(HOME)/.pyenv/versions/$(v).*/bin/python$(v)))
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
PINNED := --constraint constraints.txt
PYTEST := $(BIN)/python -m pytest
HAS_VENV := $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null
GET_VENV := apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >&2

ifdef CI
# A log is read without a terminal; tests/conftest.py reads CI too.
PYTEST += --color=no
export NO_COLOR = 1
endif

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1 - /p' Makefile

.PHONY: setup
setup: $(VENV)/.setup ## build .venv with everything that `make run` needs
	@:

.PHONY: run
run: ARGS ?= .
run: $(VENV)/.setup ## review a folder of Python, for ever: make run ARGS="path/to/project --once"
	@exec $(BIN)/aos steward $(ARGS)

.PHONY: test
test: $(VENV)/.dev ## everything that has to hold: lint, types, rooms, then the tests
	@$(MAKE) lint
	@echo "== tests"
	@$(PYTEST) --numprocesses $(WORKERS) --dist worksteal $(ARGS)

.PHONY: pythons
pythons: ## unit and contract tests on every other Python that this machine has
	@$(foreach python,$(OTHERS),echo "== $(python)" && \
	  $(MAKE) tested PYTHON=$(python) VENV=.venv-$(notdir $(python)) && ) true

.PHONY: tested
tested: ARGS ?= tests/unit tests/contract
tested: $(VENV)/.dev
	@$(PYTEST) --numprocesses $(WORKERS) --dist worksteal $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev ## lint, format, types and import contracts alone
	@echo "== ruff"
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo "run: $(BIN)/ruff format"; exit 1; }
	@echo "== mypy"
	@$(BIN)/mypy --no-error-summary src $(wildcard tests/typing/*.py)
	@echo "== rooms"
	@$(BIN)/lint-imports --no-logo

.PHONY: bench
bench: $(VENV)/.dev ## measure, as ratios to the raw limits of the same run: make bench ARGS="bus turns"
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: soak
soak: $(VENV)/.dev ## the tests that run for minutes
	@$(PYTEST) -m soak --timeout 0 -o faulthandler_timeout=0 $(ARGS)

.PHONY: clean
clean: ## remove .venv and every cache
	rm -rf .venv .venv-python3.* build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks tools -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

$(VENV)/.setup: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "AOS needs Python 3.11 or later, and '$(PYTHON)' is not: try make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(HAS_VENV) || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  echo "== installing Debian's python3-venv, which builds environments" >&2 && $(GET_VENV) && $(HAS_VENV); } || { \
	  echo "'$(PYTHON)' cannot build an environment: run apt-get install python3-venv and try again" >&2; exit 1; }
	@echo "== preparing $(VENV) (once for each pyproject.toml)" >&2
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install $(PINNED) hatchling
	@$(PIP) install $(PINNED) --no-build-isolation --editable '.[all]'
	@touch $@

$(VENV)/.dev: $(VENV)/.setup
	@echo "== adding what the tests need" >&2
	@$(PIP) install $(PINNED) --no-build-isolation --editable '.[dev]'
	@touch $@
