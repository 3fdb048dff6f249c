"""The surface that is drawn is the score of every setting, and the picture is a picture."""

import numpy as np
import pytest

from skyfold.config.blend import PostprocessConfig
from skyfold.metrics.segmentation import METRICS
from skyfold.postprocess import chain
from skyfold.postprocess.evaluate import evaluate
from skyfold.postprocess.selection import Selection
from skyfold.postprocess.threshold_sweep import measure
from skyfold.reports.threshold_sweep_plot import draw_surface, score_surface
from skyfold.store.folds import Folds
from skyfold.types import Predictions, Samples

IDS = np.array([f"s{i}" for i in range(8)])
FOLDS = Folds(ids=IDS, fold=np.arange(8) % 3, groups=np.arange(8))


def measured(metric, rule="component"):
    rng = np.random.default_rng(3)
    prob = rng.integers(0, 256, (8, 9, 10, 1), dtype=np.uint8)
    target = (prob > 120) ^ (rng.random(prob.shape) < 0.2)
    post = PostprocessConfig(thresholds=9, min_areas=(0, 3, 10), rule=rule)
    oof = Predictions(IDS, prob, np.ones(8, bool), "probability")
    return prob, target, measure(oof, Samples(IDS, target, target), FOLDS, METRICS[metric](), post), post


@pytest.mark.parametrize("metric", ["mean_dice", "mean_iou", "global_dice", "global_iou"])
def test_surface_is_the_score_of_every_setting(metric):
    prob, target, sweep, _ = measured(metric)
    rows = np.array([0, 2, 5])
    scores = score_surface(sweep, rows, 0)
    for m, t in np.ndindex(scores.shape):
        selection = Selection((int(sweep.levels[t]),), (int(sweep.min_areas[m]),))
        masks = chain.apply(selection, prob[rows])
        stats = sweep.metric.stats(target=target[rows], pred=masks)
        assert scores[m, t] == pytest.approx(sweep.metric.score(stats))


def test_picture_is_written(tmp_path):
    from matplotlib.image import imread

    _, _, sweep, post = measured("mean_dice")
    draw_surface(tmp_path / "surface.png", evaluate(sweep, FOLDS, post), FOLDS.fold, k=0, name="cloud")
    picture = imread(tmp_path / "surface.png")
    assert picture.shape[0] > 300
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 50


def test_a_triplet_has_no_surface_to_draw():
    _, _, sweep, _ = measured("mean_dice", rule="triplet")
    with pytest.raises(ValueError, match="three settings"):
        score_surface(sweep, np.arange(8), 0)
