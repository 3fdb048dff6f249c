"""A threshold sweep is stored beside the run, reused only where it belongs, and equals a sweep in memory."""

from dataclasses import replace

import numpy as np
import pytest

from conftest import begin_stored, store_rows
from skyfold.config.blend import PostprocessConfig
from skyfold.errors import ConfigError, OofMismatch
from skyfold.metrics.segmentation import METRICS, MeanDice, MeanIoU, PixelAccuracy
from skyfold.postprocess import measure as measure_module
from skyfold.postprocess import threshold_sweep
from skyfold.postprocess.evaluate import evaluate
from skyfold.postprocess.measure import measure, sweep_maps, threshold_grid
from skyfold.postprocess.rules import component
from skyfold.postprocess.threshold_sweep import Maps
from skyfold.store.folds import Folds
from skyfold.store.runs import read_run
from skyfold.types import Samples

COUNT, SHAPE = 7, (9, 11, 2)
IDS = np.array([f"s{i}" for i in range(COUNT)])
FOLDS = Folds(ids=IDS, fold=np.array([0, 1, -1, 0, 1, 0, 1]), groups=np.arange(COUNT))
ROWS = np.array([0, 1, 3, 4, 5, 6])  # those of a fold
POST = PostprocessConfig(thresholds=5, min_areas=(0, 3, 8))


def store_run(folder, prob):
    store_rows(folder, begin_stored(folder, FOLDS, ("a", "b")), "oof", IDS, prob)
    return read_run(folder, FOLDS)


@pytest.fixture
def maps():
    rng = np.random.default_rng(4)
    prob = rng.integers(0, 256, (COUNT, *SHAPE), dtype=np.uint8)
    target = (rng.random((COUNT, *SHAPE)) < 0.4) & (rng.random((COUNT, 1, 1, 2)) < 0.7)
    return prob, target, rng.random((COUNT, *SHAPE[:2])) < 0.8


@pytest.fixture
def run(tmp_path, maps):
    return store_run(tmp_path / "net", maps[0])


@pytest.fixture
def counted(monkeypatch):
    """Number of maps that each pass over pixels was given."""
    seen = {"histogram": 0, "sweep": 0}

    def watch(module, name, key):
        original = getattr(module, name)

        def watched(prob, *args, **kwargs):
            seen[key] += len(prob)
            return original(prob, *args, **kwargs)

        monkeypatch.setattr(module, name, watched)

    watch(measure_module, "threshold_counts", "histogram")
    watch(component, "sweep", "sweep")
    return seen


@pytest.fixture
def swept(run, maps):
    """Sweep the predictions of the run, or others, as `blend` does."""

    def swept(metric=MeanDice(), post=POST, target=maps[1], valid=None, oof=run.oof, folder=run.folder):  # noqa: B008
        return measure(oof, Samples(IDS, target, target, valid), FOLDS, metric, post, folder=folder)

    return swept


def in_memory(prob, target, valid=None, min_areas=(0, 3, 8)):
    grid = {"thresholds": threshold_grid(5), "min_areas": np.array(min_areas)}
    return sweep_maps(Maps(prob, target, valid), MeanDice(), rule="component", **grid)


def require_same(one, other):
    np.testing.assert_array_equal(one.histogram, other.histogram)
    np.testing.assert_array_equal(one.swept, other.swept)


def test_the_sweep_is_that_of_the_validated_maps(swept, maps):
    measured = swept(valid=maps[2])
    assert measured.rows.tolist() == ROWS.tolist()
    prob, target, valid = (part[ROWS] for part in maps)
    require_same(measured, in_memory(prob, target, valid))
    at_half = MeanDice().stats(target=target, pred=prob > 127, valid=valid)
    np.testing.assert_array_equal(measured.at_half()[0], at_half)


def test_a_stored_sweep_is_made_again_for_other_areas_only(swept, maps, counted):
    first = swept()
    again, without = swept(MeanIoU()), swept(post=PostprocessConfig(rule="triplet"))
    assert counted == {"histogram": 6, "sweep": 6}
    require_same(again, first)
    assert without.swept is None
    other = swept(post=PostprocessConfig(thresholds=5, min_areas=(0, 4, 8)))
    assert counted == {"histogram": 6, "sweep": 12}
    require_same(swept(folder=None), first)
    require_same(other, in_memory(maps[0][ROWS], maps[1][ROWS], min_areas=(0, 4, 8)))


def test_statistics_of_another_metric_are_made_again(swept):
    passes = []

    class Watched(PixelAccuracy):
        def stats(self, **arrays):
            passes.append(len(arrays["pred"]))
            return super().stats(**arrays)

    for one in (Watched(), Watched(), Watched("another")):
        measured = swept(one)
        assert measured.swept is None
        np.testing.assert_array_equal(measured.statistics, swept(PixelAccuracy(), folder=None).statistics)
    settings = 2 * (3 * 5 + 1)  # classes x (areas x thresholds, and the emptied mask)
    assert sum(passes) == 3 + 2 * settings * 6  # each time one map is tried; twice all maps are measured


def test_other_predictions_or_truth_are_measured_again(swept, run, maps, counted):
    prob, target, valid = maps
    swept()
    changed = target ^ (np.arange(COUNT) == 3)[:, None, None, None]
    assert swept(target=changed).histogram[2, :, 0, 0].tolist() == changed[3].sum(axis=(0, 1)).tolist()
    swept(target=changed, valid=valid)
    assert counted["histogram"] == 18
    prob[5] = 255 - prob[5]
    measured = swept(target=changed, valid=valid, oof=store_run(run.folder, prob).oof)
    assert counted["histogram"] == 24
    above = ((prob[5] > 127) & valid[5][..., None]).sum(axis=(0, 1))
    assert measured.histogram[4, :, 1, 128].tolist() == above.tolist()


def test_an_interrupted_sweep_is_resumed_and_a_damaged_row_measured_again(swept, run, counted, monkeypatch):
    monkeypatch.setattr(threshold_sweep, "CHUNK_PIXELS", 2 * int(np.prod(SHAPE)))
    watched = component.sweep

    def stops_after_four(prob, *args, **kwargs):
        if counted["sweep"] == 4:
            raise KeyboardInterrupt
        return watched(prob, *args, **kwargs)

    monkeypatch.setattr(component, "sweep", stops_after_four)
    with pytest.raises(KeyboardInterrupt):
        swept()
    monkeypatch.setattr(component, "sweep", watched)
    measured = swept()
    assert counted == {"histogram": 6, "sweep": 6}
    expected = swept(folder=None)
    require_same(measured, expected)
    path = run.folder / "threshold_sweep" / "histogram" / "values.npy"
    stored = np.load(path, mmap_mode="r+", allow_pickle=False)
    stored[1, 0, 0, 3] += 1
    stored.flush()
    require_same(swept(), expected)
    assert counted == {"histogram": 6 + 6 + 1, "sweep": 6 + 6}


def test_predictions_of_another_run_and_samples_without_truth_are_refused(swept, run, maps, tmp_path):
    for oof in (store_run(tmp_path / "other", 255 - maps[0]).oof, replace(run.oof, values=np.array(run.oof.values))):
        with pytest.raises(OofMismatch, match="not those that are measured"):
            swept(oof=oof)
    with pytest.raises(ConfigError, match="no targets"):
        swept(target=None)


@pytest.mark.parametrize("metric", METRICS.values())
def test_scores_are_those_of_the_metric(swept, maps, metric):
    scores = evaluate(swept(metric()), FOLDS, POST).scores(draws=50, seed=0)
    assert scores["cv_at_0.5"] == metric().score(metric().stats(target=maps[1][ROWS], pred=maps[0][ROWS] > 127))
    assert scores["cv_in_sample"] >= scores["cv_cross_fitted"]
    assert scores["cv_cross_fitted"] == pytest.approx(scores["cv_in_sample"] - scores["optimism"])
    assert scores["low"] <= scores["cv_cross_fitted"] <= scores["high"]
