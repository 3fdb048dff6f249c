# make demo: install, then go from a procedural sample to two scored submissions.  make test: install, then every check.
PYTHON ?= python3.11
BIN := .venv/bin
CONFIG ?= configs/understanding_clouds/demo.yaml

.PHONY: demo test

demo: .venv/installed
	$(BIN)/python scripts/run.py $(CONFIG)

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not by_hand"

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --upgrade pip setuptools
	$(BIN)/python -m pip install -q -r requirements.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/python -m pip install -q -r requirements-dev.txt
	touch $@
