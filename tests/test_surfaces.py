"""Counts are kept beside the run, used only where they belong, and give the same choices as counts in memory."""

from dataclasses import replace

import numpy as np
import pytest

from conftest import begin_stored
from skyfold.config.blend import PostprocessConfig
from skyfold.errors import ConfigError, OofMismatch
from skyfold.metrics.segmentation import METRICS, MeanDice
from skyfold.postprocess import threshold_sweep as surfaces_module
from skyfold.postprocess.evaluate import evaluate, features_of
from skyfold.postprocess.map_counts import count_maps
from skyfold.postprocess.threshold_sweep import measure
from skyfold.store.folds import Folds
from skyfold.store.runs import open_rows, read_run
from skyfold.types import Predictions, Samples

COUNT, SHAPE = 7, (9, 11, 2)
IDS = np.array([f"s{i}" for i in range(COUNT)])
FOLDS = Folds(ids=IDS, fold=np.array([0, 1, -1, 0, 1, 0, 1]), groups=np.arange(COUNT))
POST = PostprocessConfig(thresholds=5, min_areas=(0, 3, 8))


def store_run(folder, prob):
    info = begin_stored(folder, FOLDS, ("a", "b"))
    open_rows(folder, "oof", info, ids=IDS, shape=SHAPE, dtype="uint8").write(np.arange(COUNT), prob)
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
    """How many maps each counting function was given."""
    seen = {"level_counts": 0, "component_counts": 0}

    def watch(name):
        original = getattr(surfaces_module, name)

        def watched(prob, *args, **kwargs):
            seen[name] += len(prob)
            return original(prob, *args, **kwargs)

        monkeypatch.setattr(surfaces_module, name, watched)

    for name in seen:
        watch(name)
    return seen


def samples_of(target, valid=None):
    return Samples(ids=IDS, inputs=target, targets=target, valid=valid)


def test_counts_are_those_of_the_validated_maps(run, maps):
    prob, target, valid = maps
    measured = measure(run.oof, samples_of(target, valid), FOLDS, MeanDice(), POST, folder=run.folder)
    rows = np.array([0, 1, 3, 4, 5, 6])
    assert measured.rows.tolist() == rows.tolist()
    expected = count_maps(
        prob[rows], target[rows], valid[rows], rule="component", levels=measured.levels, min_areas=np.array([0, 3, 8])
    )
    np.testing.assert_array_equal(measured.counts.by_level, expected.by_level)
    np.testing.assert_array_equal(measured.counts.by_area, expected.by_area)
    at_half = MeanDice().stats(target=target[rows], pred=prob[rows] > 127, valid=valid[rows])
    np.testing.assert_array_equal(measured.at_half_stats, at_half)


def test_a_second_look_counts_nothing_again(run, maps, counted):
    first = measure(run.oof, samples_of(maps[1]), FOLDS, MeanDice(), POST, folder=run.folder)
    assert counted == {"level_counts": 6, "component_counts": 6}
    again = measure(run.oof, samples_of(maps[1]), FOLDS, METRICS["mean_iou"](), POST, folder=run.folder)
    totals = measure(
        run.oof, samples_of(maps[1]), FOLDS, MeanDice(), PostprocessConfig(rule="triplet"), folder=run.folder
    )
    assert counted == {"level_counts": 6, "component_counts": 6}
    np.testing.assert_array_equal(again.counts.by_area, first.counts.by_area)
    assert totals.counts.by_area is None
    in_memory = measure(run.oof, samples_of(maps[1]), FOLDS, MeanDice(), POST)
    np.testing.assert_array_equal(in_memory.counts.by_area, first.counts.by_area)


def test_another_lattice_counts_components_again_and_levels_not(run, maps, counted):
    measure(run.oof, samples_of(maps[1]), FOLDS, MeanDice(), POST, folder=run.folder)
    other = replace_post(min_areas=(0, 4, 8))
    measured = measure(run.oof, samples_of(maps[1]), FOLDS, MeanDice(), other, folder=run.folder)
    assert counted == {"level_counts": 6, "component_counts": 12}
    rows = FOLDS.fold >= 0
    expected = count_maps(
        maps[0][rows], maps[1][rows], rule="component", levels=measured.levels, min_areas=np.array([0, 4, 8])
    )
    np.testing.assert_array_equal(measured.counts.by_area, expected.by_area)


def replace_post(**changes):
    return PostprocessConfig(**{**POST.model_dump(), **changes})


def test_other_predictions_or_truth_are_counted_again(run, maps, counted, tmp_path):
    prob, target, valid = maps
    measure(run.oof, samples_of(target), FOLDS, MeanDice(), POST, folder=run.folder)
    changed = target.copy()
    changed[3] = ~changed[3]
    measured = measure(run.oof, samples_of(changed), FOLDS, MeanDice(), POST, folder=run.folder)
    assert measured.counts.truth[2].tolist() == changed[3].sum(axis=(0, 1)).tolist()
    measure(run.oof, samples_of(changed, valid), FOLDS, MeanDice(), POST, folder=run.folder)
    assert counted["level_counts"] == 18
    rows = open_rows(run.folder, "oof", run.info, ids=IDS, shape=SHAPE, dtype="uint8")
    rows.write(np.array([5]), 255 - prob[5:6])
    measured = measure(
        read_run(run.folder, FOLDS).oof, samples_of(changed, valid), FOLDS, MeanDice(), POST, folder=run.folder
    )
    assert counted["level_counts"] == 24
    above = ((255 - prob[5] > 127) & valid[5][..., None]).sum(axis=(0, 1))
    assert measured.counts.by_level[4, :, 1, 128].tolist() == above.tolist()


def test_counting_that_was_broken_off_goes_on(run, maps, counted, monkeypatch):
    monkeypatch.setattr(surfaces_module, "CHUNK_PIXELS", 2 * int(np.prod(SHAPE)))
    watched = surfaces_module.component_counts

    def stops_after_four(prob, *args, **kwargs):
        if counted["component_counts"] == 4:
            raise KeyboardInterrupt
        return watched(prob, *args, **kwargs)

    monkeypatch.setattr(surfaces_module, "component_counts", stops_after_four)
    with pytest.raises(KeyboardInterrupt):
        measure(run.oof, samples_of(maps[1]), FOLDS, MeanDice(), POST, folder=run.folder)
    monkeypatch.setattr(surfaces_module, "component_counts", watched)
    measured = measure(run.oof, samples_of(maps[1]), FOLDS, MeanDice(), POST, folder=run.folder)
    assert counted == {"level_counts": 6, "component_counts": 6}
    in_memory = measure(run.oof, samples_of(maps[1]), FOLDS, MeanDice(), POST)
    np.testing.assert_array_equal(measured.counts.by_area, in_memory.counts.by_area)


def test_the_counts_of_a_damaged_row_are_made_again(run, maps, counted):
    first = measure(run.oof, samples_of(maps[1]), FOLDS, MeanDice(), POST, folder=run.folder)
    expected = np.array(first.counts.by_level)
    path = run.folder / "surfaces" / "levels" / "values.npy"
    stored = np.load(path, mmap_mode="r+", allow_pickle=False)
    stored[1, 0, 0, 3] += 1
    stored.flush()
    again = measure(run.oof, samples_of(maps[1]), FOLDS, MeanDice(), POST, folder=run.folder)
    np.testing.assert_array_equal(again.counts.by_level, expected)
    assert counted == {"level_counts": 7, "component_counts": 6}


def test_counts_of_one_run_are_not_taken_for_those_of_another(run, maps, tmp_path):
    other = store_run(tmp_path / "other", 255 - maps[0])
    with pytest.raises(OofMismatch, match="not those that are measured"):
        measure(other.oof, samples_of(maps[1]), FOLDS, MeanDice(), POST, folder=run.folder)
    in_memory = replace(run.oof, values=np.array(run.oof.values))
    with pytest.raises(OofMismatch, match="not those that are measured"):
        measure(in_memory, samples_of(maps[1]), FOLDS, MeanDice(), POST, folder=run.folder)


def test_metrics_that_are_not_searched_are_refused(run, maps):
    with pytest.raises(ConfigError, match="not 'pixel_accuracy'"):
        measure(run.oof, samples_of(maps[1]), FOLDS, METRICS["pixel_accuracy"](), POST)
    with pytest.raises(ConfigError, match="no targets"):
        measure(run.oof, replace(samples_of(maps[1]), targets=None), FOLDS, MeanDice(), POST)


@pytest.mark.parametrize("rule", ["component", "total", "triplet"])
@pytest.mark.parametrize("metric", ["mean_dice", "mean_iou", "global_dice", "global_iou"])
def test_scores_are_those_of_the_metric(run, maps, rule, metric):
    post = replace_post(rule=rule)
    measured = measure(run.oof, samples_of(maps[1]), FOLDS, METRICS[metric](), post, folder=run.folder)
    scores = evaluate(measured, FOLDS, post).scores(draws=50, seed=0)
    rows = FOLDS.fold >= 0
    half = METRICS[metric]().stats(target=maps[1][rows], pred=maps[0][rows] > 127)
    assert scores["cv_at_0.5"] == METRICS[metric]().score(half)
    assert (
        scores["cv_in_sample"]
        >= scores["cv_cross_fitted"]
        == pytest.approx(scores["cv_in_sample"] - scores["optimism"])
    )
    assert scores["low"] <= scores["cv_cross_fitted"] <= scores["high"]


def test_presence_features_from_kept_counts_are_those_from_pixels(run, maps):
    _, target, valid = maps
    gate = Predictions(IDS, np.random.default_rng(0).random((COUNT, 2)), np.ones(COUNT, bool), "probability")
    samples = samples_of(target, valid)
    measured = measure(run.oof, samples, FOLDS, MeanDice(), POST, folder=run.folder)
    expected = features_of(run.oof, gate, samples)[measured.rows]
    np.testing.assert_array_equal(measured.presence_features(gate.values[measured.rows]), expected)
