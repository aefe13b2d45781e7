# Every target does its own set-up: a virtual environment in .venv, made by plain pip with the versions of constraints.txt.
PYTHON ?= python3.11
VENV ?= .venv
FOLDER ?= runs/quickstart

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help quickstart test lint format test-spark bench wheel clean
.DELETE_ON_ERROR:

help:
	@echo 'make quickstart   the demo city from data to report, five to six minutes after installation'
	@echo 'make test         lint, types and all tests but those of Spark'
	@echo 'make test-spark   the tests of ingest on a local Spark (needs Java 17)'
	@echo 'make lint         ruff and mypy; make format: let ruff format'
	@echo 'make bench        the benchmarks: the network, training, scale, ingest (hours; python -m benchmarks.network --help)'
	@echo 'make wheel        build the wheel into dist/'
	@echo 'make clean        remove the environment, caches and dist/ (runs stay)'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.user: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[ingest,dev]'
	@touch $@ $(VENV)/.user

$(VENV)/.spark: $(VENV)/.dev
	$(INSTALL) -e '.[ingest,dev,spark]'
	@touch $@

quickstart: $(VENV)/.user
	$(BIN)/cmust quickstart $(FOLDER)

test: lint
	$(BIN)/python -m pytest -n auto --dist loadfile -m 'not spark'

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-spark: $(VENV)/.spark
	$(BIN)/python -m pytest -m spark

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.network
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.ingest

wheel: $(BIN)/python
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
