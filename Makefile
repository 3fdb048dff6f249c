# make demo   install, then go from a procedural sample to two scored submissions
# make test   install, then every check
# make quick  lint, types and fast tests: under a minute
# make test-oldest  a bundle, packed here, predicts the same with the oldest versions that pyproject.toml allows
# make test-jax, make test-torch  segmentation on other backends of Keras, where TensorFlow is not installed
# make faults show what was seen of every fault that the tests try, in a table
# make docs   build the site into site/
# make bench  measure the numerical core beside its peers, into docs/benchmarks.md
PYTHON ?= python3.11
BIN := .venv/bin
CONFIG ?= configs/understanding_clouds/demo.yaml
# Networks of the demo that are trained at a time: all, each keeps one core busy.
JOBS ?= 3

# Test files that take a few seconds at most.
QUICK := arctic_sea_ice augment batches cli component_counts config crops docs evaluate files folds forecast_figures \
  forecast_sums gate_stack ice_files ice_views images layers leeds_sea_ice masks merge mix oof_store options \
  packaging plugins pr_curve products progress restraint row_store rules segmentation_metrics \
  stacking submission_format tiff windows

# What reads, predicts and draws, with the oldest versions.
OLDEST := cli component_counts config duplicates evaluate fit_fold fused images mask_plot options pr_curve rle \
  row_store stacking threshold_sweep_plot

# Two workers share the cores, by files and folders of tests (tests/conftest.py); more threads than cores would spend
# their time waiting for each other.
PYTEST := OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-oldest test-jax test-torch quick faults lint format docs bench

demo: .venv/installed
	$(BIN)/skyfold run $(CONFIG) --jobs $(JOBS)

test: lint
	$(PYTEST) -m "not by_hand"

test-oldest: .venv/installed-dev .venv-oldest/installed
	SKYFOLD_OLDEST=$(CURDIR)/.venv-oldest/bin/python $(BIN)/python -m pytest -q tests/test_oldest.py
	.venv-oldest/bin/python -m pytest -q $(OLDEST:%=tests/test_%.py)

# Networks run for a moment only: XLA should not spend its time on optimizing them.
test-jax: export XLA_FLAGS = --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true
test-jax test-torch: test-%: .venv-%/installed
	KERAS_BACKEND=$* .venv-$*/bin/python -m pytest -q tests/test_backends.py tests/test_losses.py tests/test_devices.py

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

# Other environments: the oldest versions; other backends of Keras, with the pins of requirements.txt but TensorFlow.
.venv-%/installed: .venv-%/requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install -q --upgrade pip setuptools
	.venv-$*/bin/python -m pip install -q -r $<
	.venv-$*/bin/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

.venv-oldest/requirements.txt: requirements-oldest.txt
	mkdir -p $(@D)
	cp $< $@

.venv-jax/requirements.txt: BACKEND = $(shell grep '^jax==' requirements-dev.txt) six==1.17.0
.venv-torch/requirements.txt: BACKEND = torch==2.13.0 six==1.17.0
.venv-jax/requirements.txt .venv-torch/requirements.txt: requirements.txt requirements-dev.txt
	mkdir -p $(@D)
	grep -v '^tensorflow==' requirements.txt > $@
	grep -E '^(pytest|hypothesis)==' requirements-dev.txt >> $@
	printf '%s\n' $(BACKEND) >> $@

.venv/installed-docs: .venv/installed requirements-docs.txt
	$(BIN)/python -m pip install -q -r requirements-docs.txt
	touch $@
