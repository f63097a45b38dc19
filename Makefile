# Everything a newcomer or CI needs. `make setup` is shared and runs again only when what it reads has changed.
HOST ?= 127.0.0.1
PORT ?= 8000
# Tried in this order; the first that is 3.11 or newer makes the environment. Set PYTHON to choose.
PYTHON ?= python3 python3.13 python3.12 python3.11
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup
TYPED := $(wildcard service models loadtest)
SOURCES := $(TYPED) $(wildcard tests scripts deploy)

.DEFAULT_GOAL := help
.PHONY: help setup serve test check format docs dashboards bench wheel clean

help: ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

setup: $(STAMP) ## make .venv with everything to serve, to make models and to test

$(STAMP): pyproject.toml constraints.txt scripts/make-venv
	@echo "setting up $(VENV); the first time takes a minute or two"
	@PYTHON="$(PYTHON)" scripts/make-venv $(VENV)
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[cpu,grpc,models,dev]'
	@touch $@

serve: setup ## serve models/zoo on HOST:PORT
	@exec $(BIN)/offramp serve --host $(HOST) --port $(PORT)

test: setup ## run the tests; those on real data need OFFRAMP_DATA
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: setup ## lint, format, types, layering; changes nothing
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy $(TYPED) scripts
	$(BIN)/lint-imports

format: setup ## mend what can be mended by machine
	$(BIN)/ruff check --fix-only $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

docs: setup ## write the tables of docs/ that the code knows
	$(BIN)/python scripts/docs_tables.py

dashboards: setup ## write deploy/grafana/dashboards from panels.py
	$(BIN)/python deploy/grafana/build.py

bench: setup ## staged against whole execution, and the scheduler's own time
	$(BIN)/offramp bench

wheel: setup ## dist/*.whl with both packages and the zoo
	$(BIN)/python -m build --wheel --outdir dist

clean: ## remove what the above made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
