# make demo   install, then go from a procedural sample to two scored submissions
# make test   install, then every check
# make quick  lint, types and fast tests: under a minute
# make faults show what was seen of every fault that the tests try, in a table
# make docs   build the site into site/
# make bench  measure the numerical core beside its peers, into docs/benchmarks.md
PYTHON ?= python3.11
BIN := .venv/bin
CONFIG ?= configs/understanding_clouds/demo.yaml

# Test files that take a few seconds at most.
QUICK := arctic_sea_ice augment batches cli component_counts config crops docs evaluate files folds forecast_figures \
  forecast_sums gate_stack ice_files ice_views images layers leeds_sea_ice masks merge mix oof_store options \
  packaging plugins pr_curve products progress restraint row_store rules segmentation_metrics \
  stacking submission_format tiff windows

# Two workers share the cores; more OpenMP threads than cores would spend their time waiting for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test quick faults lint format docs bench

demo: .venv/installed
	$(BIN)/skyfold run $(CONFIG)

test: lint
	$(PYTEST) -m "not by_hand"

quick: lint
	$(PYTEST) $(QUICK:%=tests/test_%.py)

faults: .venv/installed-dev
	$(PYTEST) tests/faults -m "not by_hand" --fault-table

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/installed-dev
	$(BIN)/python -m pip install -q -r benchmarks/requirements.txt
	$(BIN)/python benchmarks/run.py

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --upgrade pip setuptools
	$(BIN)/python -m pip install -q -r requirements.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/python -m pip install -q -r requirements-dev.txt
	touch $@

.venv/installed-docs: .venv/installed requirements-docs.txt
	$(BIN)/python -m pip install -q -r requirements-docs.txt
	touch $@
