"""Scores of every setting of the threshold sweep, and their plot."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from skyfold.config.blend import PostprocessConfig
from skyfold.metrics.segmentation import METRICS
from skyfold.postprocess.evaluate import evaluate
from skyfold.postprocess.measure import measure
from skyfold.postprocess.select import score_grid
from skyfold.postprocess.selection import Selection
from skyfold.store.folds import Folds
from skyfold.types import Predictions, Samples

IDS = np.array([f"s{i}" for i in range(8)])
FOLDS = Folds(ids=IDS, fold=np.arange(8) % 3, groups=np.arange(8))


@pytest.fixture
def draw_threshold_sweep(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module("plot_threshold_sweep").draw_threshold_sweep


def measured(metric, rule="component"):
    rng = np.random.default_rng(3)
    prob = rng.integers(0, 256, (8, 9, 10, 1), dtype=np.uint8)
    target = (prob > 120) ^ (rng.random(prob.shape) < 0.2)
    post = PostprocessConfig(thresholds=9, min_areas=(0, 3, 10), rule=rule)
    oof = Predictions(IDS, prob, np.ones(8, bool), "probability")
    return prob, target, measure(oof, Samples(IDS, target, target), FOLDS, METRICS[metric](), post), post


@pytest.mark.parametrize("metric", ["mean_dice", "mean_iou", "global_dice", "global_iou"])
def test_grid_is_the_score_of_every_setting(metric):
    prob, target, sweep, _ = measured(metric)
    rows = np.array([0, 2, 5])
    scores = score_grid(sweep, 0, rows)[0]
    for m, t in np.ndindex(scores.shape):
        selection = Selection((int(sweep.thresholds[t]),), (int(sweep.min_areas[m]),))
        stats = sweep.metric.stats(target=target[rows], pred=selection.apply(prob[rows]))
        assert scores[m, t] == pytest.approx(sweep.metric.score(stats))


def test_picture_is_written(draw_threshold_sweep, tmp_path):
    _, _, sweep, post = measured("mean_dice")
    draw_threshold_sweep(tmp_path / "sweep.png", evaluate(sweep, FOLDS, post), FOLDS.fold, k=0, name="cloud")
    picture = imread(tmp_path / "sweep.png")
    assert picture.shape[0] > 300
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 50
    _, _, sweep, post = measured("mean_dice", rule="triplet")
    with pytest.raises(ValueError, match="'triplet' has top thresholds"):
        draw_threshold_sweep(tmp_path / "sweep.png", evaluate(sweep, FOLDS, post), FOLDS.fold, k=0, name="cloud")
