"""What has to be set once in each process of tests."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import skyfold.competitions
import skyfold.models
import skyfold.tasks
from skyfold.competition import Competition
from skyfold.config.run import RunConfig
from skyfold.files import digest
from skyfold.metrics.segmentation import MeanDice
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.folds import Folds
from skyfold.store.runs import RunInfo, begin_run, open_rows
from skyfold.tasks import build_task
from skyfold.tasks.task import Task
from skyfold.types import IntPair, Metric

collect_ignore = ["golden/make_pytorch_encoders.py"]  # is run by hand, with torch

# As `skyfold.training.backend.start` sets it, which tests that import TensorFlow themselves would come before.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
settings.register_profile("compiles", deadline=None)  # the first call of a kernel compiles it
settings.load_profile("compiles")


if "PYTEST_XDIST_WORKER" in os.environ:  # before a file of tests imports TensorFlow: which comes first is chance
    from skyfold.training import backend

    backend.start(deterministic=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadfile`, tests of a folder stay together, too: they start from the same trained projects."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class FoldersAndFiles(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = Path(super()._split_scope(nodeid))
            return str(file.parent if file.parts[0] == "tests" and len(file.parts) > 2 else file)

    return FoldersAndFiles(config, log)


def pytest_collection_modifyitems(items):
    """Files with slow tests come first: at the end, one of them would leave the other processes idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def competition_of(classes=("a", "b"), grid: IntPair = (16, 24), metric: Metric | None = None, unit="probability"):
    """A competition without files: its classes, grid and metric."""

    def no_files(*_, **__):
        raise AssertionError("this competition has no files")

    return Competition(
        name="any",
        task="segmentation",
        classes=tuple(classes),
        grid=grid,
        unit=unit,
        metric=metric or MeanDice(),
        submission=None,  # type: ignore[arg-type]
        load=no_files,
        check=no_files,
        read_truth=no_files,
        read_pred=no_files,
        sample_table=no_files,
    )


def task_of(config: RunConfig, **settings) -> Task:
    """The task of a run of `competition_of(**settings)`."""
    return build_task(config, competition_of(**settings))


def losses_of_steps(model, inputs, targets, count: int) -> list[float]:
    """The losses of `count` steps of a compiled Keras model on one batch; `fit` would trace each step three times."""
    losses = []
    for _ in range(count):
        model.reset_metrics()
        losses.append(float(model.train_on_batch(inputs, targets)))
    return losses


def begin_stored(
    folder: Path,
    folds: Folds,
    classes,
    *,
    config: RunConfig | dict | None = None,
    kind="run",
    task="segmentation",
    unit="probability",
) -> RunInfo:
    """Begin the run `folder.name` as training does, for rows that a test writes itself."""
    key = config.hash() if isinstance(config, RunConfig) else digest(folder.name, str(config))
    begun = RunInfo(
        name=folder.name,
        kind=kind,
        task=task,
        classes=tuple(classes),
        unit=unit,
        config=config.stored() if isinstance(config, RunConfig) else config or {},
        fingerprint=Fingerprint(folds=folds.hash(), fit=key, rows=key),
    )
    return begin_run(folder, begun)


def store_rows(folder: Path, info: RunInfo, part: str, ids, values: np.ndarray) -> None:
    """Rows of `part` ("oof" or "test") of the run in `folder`, as training writes them."""
    rows = open_rows(folder, part, info, ids=np.array(ids), shape=values.shape[1:], dtype=str(values.dtype))
    rows.write(np.arange(len(values)), values)
    rows.flush()


@pytest.fixture(scope="module")
def own_data():
    """Data sets lie below the working folder, whatever $SKYFOLD_DATA says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SKYFOLD_DATA", raising=False)
        yield


def assert_arrays_equal(found, expected):
    """Compare two sequences of arrays, weights for instance, exactly."""
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.fixture(scope="module")
def tiny_families():
    """Lets configs name the model families of `tests/families`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skyfold.models, "__path__", [*skyfold.models.__path__, str(Path(__file__).parent / "families")])
        yield


@pytest.fixture(scope="module")
def made_up_plugins(tiny_families):
    """Lets configs name the competitions and tasks of `tests/contests` and `tests/tasks`, too."""
    with pytest.MonkeyPatch.context() as patch:
        for package, folder in ((skyfold.competitions, "contests"), (skyfold.tasks, "tasks")):
            patch.setattr(package, "__path__", [*package.__path__, str(Path(__file__).parent / folder)])
        yield


@pytest.fixture(scope="session", autouse=True)
def reproducible_tensorflow():
    """TensorFlow's threads are set before any test where a file has imported it; else where it is used."""
    if "keras" in sys.modules:
        from skyfold.training import backend

        backend.start(deterministic=True)


@pytest.fixture(scope="module", autouse=True)
def imported_for_good():
    """Keep the garbage collector away from what was imported by now: it would look through hundreds of thousands of
    objects for every network that is built."""
    gc.freeze()
    yield
    gc.collect()


@pytest.fixture(scope="session", autouse=True)
def without_pictures():
    """Loss curves and examples take longer to draw than tiny networks to train; tests of them draw their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skyfold.training.fit_fold.draw_history", lambda *_, **__: None)
        patch.setattr("skyfold.tasks._mask_blend.draw_examples", lambda *_, **__: None)
        yield


@pytest.fixture
def curves(monkeypatch):
    """Draws the loss curves of fits, which other tests leave out."""
    from skyfold.store.fits import draw_history

    monkeypatch.setattr("skyfold.training.fit_fold.draw_history", draw_history)


@pytest.fixture
def float32_backend():
    """Keras as training starts it: deterministic, in float32, seed 0."""
    from skyfold.training import backend

    backend.start(deterministic=True)
    backend.prepare(precision="float32")
    backend.seed(0)


@pytest.fixture
def without_values(float32_backend):
    """Weights of networks that a test only counts have shapes, but no values, which take longer to draw."""
    import keras

    with keras.StatelessScope(initialize_variables=False):
        yield
    keras.utils.clear_session()


def after(calls, function):
    """`function`, which the process does not survive once it was called so many times."""
    left = [calls]

    def call(*arguments, **options):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return function(*arguments, **options)

    return call


def made_blend(name: str, **changes) -> dict:
    """Contents of a blend.json of one class, with `changes` of its values."""
    fingerprint = {"version": 1, "folds": "f"}
    chosen = {"thresholds": [127], "min_areas": [0]}
    return {
        "name": name,
        "config": {"combine": "mean"},
        "runs": [],
        "gate": None,
        "weights": [],
        "combination": {},
        "fingerprint": fingerprint,
        "metric": "mean_dice",
        "selection": {"final": chosen, "before_gate": chosen},
        "presence_stack": None,
        "scores": {"final": {}, "before_gate": {}, "baselines": {}, "runs": {}},
        **changes,
    }
