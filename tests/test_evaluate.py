"""Two blends are compared on the same images, from what each kept of its own."""

import numpy as np
import pytest

from skyfold.config.blend import PostprocessConfig
from skyfold.errors import OofMismatch
from skyfold.metrics.segmentation import METRICS, MeanDice
from skyfold.postprocess.evaluate import difference, evaluate, map_columns, write_rows
from skyfold.postprocess.measure import measure
from skyfold.store.folds import Folds
from skyfold.types import Predictions, Samples

IDS = np.array(["NA", "001", "c", "d", "e", "f"])
FOLDS = Folds(ids=IDS, fold=np.array([0, 0, 1, 1, 2, 2]), groups=np.array([7, 7, 8, 8, 9, 10]))
CLASSES = ("fish", "sugar")


def write(path, scores, folds=FOLDS, name="cv_cross_fitted", classes=CLASSES):
    write_rows(path, folds.ids, folds, map_columns(name, np.asarray(scores, dtype=float), classes))
    return path


def test_the_difference_is_that_of_the_means_and_its_interval_is_paired(tmp_path):
    hard = np.array([0.1, 0.9, 0.3, 0.7, 0.5, 0.2])[:, None] * [1.0, 0.5]
    ours, theirs = write(tmp_path / "a.csv", hard + 0.05), write(tmp_path / "b.csv", hard)
    found = difference(ours, theirs, metric=MeanDice())
    # What is hard is hard for both: the difference is 0.05 in every draw.
    assert (found.value, found.low, found.high) == pytest.approx((0.05, 0.05, 0.05))
    back = difference(theirs, ours, metric=MeanDice())
    assert back.value == pytest.approx(-0.05)


def test_groups_are_drawn_whole(tmp_path):
    alike = np.array([1.0, 1.0, 0.0, 0.0, 1.0, 0.0])[:, None] * [1.0, 1.0]
    ours, theirs = write(tmp_path / "a.csv", alike), write(tmp_path / "b.csv", np.zeros((6, 2)))
    alone = Folds(ids=IDS, fold=FOLDS.fold, groups=np.arange(6))
    grouped = difference(ours, theirs, metric=MeanDice(), draws=4000)
    paths = write(tmp_path / "c.csv", alike, alone), write(tmp_path / "d.csv", np.zeros((6, 2)), alone)
    single = difference(*paths, metric=MeanDice())
    assert grouped.value == single.value == 0.5
    assert grouped.high - grouped.low > single.high - single.low


def test_what_cannot_be_compared_is_refused(tmp_path):
    ours = write(tmp_path / "a.csv", np.zeros((6, 2)))
    other_folds = Folds(ids=IDS, fold=np.array([0, 0, 1, 2, 2, 2]), groups=FOLDS.groups)
    with pytest.raises(OofMismatch, match="not the same folds, first in row 5"):
        difference(ours, write(tmp_path / "b.csv", np.zeros((6, 2)), other_folds), metric=MeanDice())
    fewer = Folds(ids=IDS[:5], fold=FOLDS.fold[:5], groups=FOLDS.groups[:5])
    with pytest.raises(OofMismatch, match="not the same ids"):
        difference(ours, write(tmp_path / "c.csv", np.zeros((5, 2)), fewer), metric=MeanDice())
    with pytest.raises(OofMismatch, match="no column 'cv_cross_fitted <class>'"):
        difference(ours, write(tmp_path / "d.csv", np.zeros((6, 2)), name="cv_in_sample"), metric=MeanDice())
    with pytest.raises(OofMismatch, match="not of the same classes"):
        difference(ours, write(tmp_path / "e.csv", np.zeros((6, 2)), classes=("fish", "gravel")), metric=MeanDice())
    with pytest.raises(OofMismatch, match="no scores per image"):
        difference(ours, tmp_path / "missing.csv", metric=MeanDice())


@pytest.mark.parametrize("metric", ["mean_dice", "mean_iou", "global_iou", "pixel_accuracy"])
def test_the_difference_of_two_evaluations_is_that_of_their_files(tmp_path, metric):
    rng = np.random.default_rng(2)
    target = rng.random((6, 8, 8, 2)) < 0.4
    post = PostprocessConfig(thresholds=5, min_areas=(0, 4))
    evaluations, paths = [], []
    for name, noise in (("good", 60), ("bad", 200)):
        prob = np.clip(200.0 * target + rng.normal(0, noise, target.shape), 0, 255).astype(np.uint8)
        oof = Predictions(IDS, prob, np.ones(6, bool), "probability")
        measured = measure(oof, Samples(IDS, target, target), FOLDS, METRICS[metric](), post)
        evaluations.append(evaluate(measured, FOLDS, post))
        paths.append(tmp_path / f"{name}.csv")
        write_rows(paths[-1], IDS, FOLDS, evaluations[-1].columns(CLASSES))
    direct = evaluations[0].gain_over(evaluations[1].stats, draws=300, seed=1)
    from_files = difference(*paths, metric=METRICS[metric](), draws=300, seed=1)
    for one, other in zip(vars(direct).values(), vars(from_files).values(), strict=True):
        assert one == pytest.approx(other, abs=1e-6)
