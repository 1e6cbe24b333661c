# `make demo` runs the main job, `make test` passes the tests; both set everything up first.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
# two files of tests at a time: most of their time is spent waiting for processes
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --durations 40

.DEFAULT_GOAL := help
.PHONY: help install protos settings-tables lint breaking test test-slow test-all test-full triton demo compose-config clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 16

install: $(STAMP)  ## Create the environment and install everything into it

# torch goes first and pinned: asked for without a version, it would be a build of several GB.
$(STAMP): pyproject.toml constraints.txt protos/generate.py $(shell find protos/loreline -name '*.proto')
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not installed (or set PYTHON=...)"; exit 2; }
	@echo "setting up $(VENV) (some minutes and 2 GB on a first run)"
	@began=$$(date +%s); set -e; \
	$(PYTHON) -m venv $(VENV) || { echo "error: install the package python3.11-venv"; exit 2; }; \
	$(PIP) install --quiet --constraint constraints.txt torch==2.13.0 hatchling==1.33.0 2>&1 | grep -v '^WARNING: Location' || true; \
	$(PIP) install --quiet --constraint constraints.txt --editable '.[all,dev]' 2>&1 | grep -v '^WARNING: Location' || true; \
	$(BIN)/python -c "import loreline.client, services.cli.__main__"; \
	touch $(STAMP); echo "set-up took $$(( $$(date +%s) - began )) s"

protos: $(STAMP)  ## Generate the stubs anew after an edit of a contract
	$(BIN)/python protos/generate.py

settings-tables: $(STAMP)  ## Write the tables of docs/deploying.md anew after an edit of a settings class
	$(BIN)/python -m docs.settings_tables

lint: $(STAMP) breaking compose-config  ## Style, types, the import rule, contracts, container files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/yamllint --strict .
	$(BIN)/hadolint deploy/Dockerfile

breaking: $(STAMP)  ## Fail when a contract breaks the one of the last commit
	$(BIN)/python protos/check_breaking.py

compose-config: $(STAMP)  ## Check docker-compose.yml; needs no daemon
	$(BIN)/docker-compose --env-file .env.example config --quiet

test: $(STAMP)  ## Run the tests
	$(PYTEST)

test-slow: $(STAMP)  ## Run the slow tests: language model, training, a whole demo
	$(PYTEST) -m slow

test-all: test test-slow  ## Run all tests

test-full: $(STAMP)  ## Run the slow tests with floods and outages as large as they are in earnest
	$(PYTEST) -m slow --full-size

triton: $(STAMP)  ## Set up the local Triton server, in an environment of its own
	$(BIN)/python -m deploy.triton.local_server --install-only

demo: $(STAMP)  ## Run the whole line on MovieLens-100K
	$(BIN)/loreline demo

clean:  ## Remove the environment and everything that was generated; .loreline stays
	rm -rf $(VENV) protos/gen .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
