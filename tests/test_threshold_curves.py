"""Curves from the counts of a sweep, against masks that are cut one by one."""

import numpy as np

from skyfold.metrics.segmentation import MeanDice
from skyfold.metrics.threshold_curves import threshold_curves


def histogram_of(prob, target):
    """Pixels of the truth, and of all, whose value is at least v: (n, K, 2, 256)."""
    at_least = prob[..., None] >= np.arange(256)
    return np.stack([(at_least & target[..., None]).sum(axis=(1, 2)), at_least.sum(axis=(1, 2))], axis=2)


def test_curves_equal_those_of_masks_cut_one_by_one():
    rng = np.random.default_rng(0)
    prob = rng.integers(0, 256, size=(300, 6, 5, 2), dtype=np.uint8)
    target = rng.random(prob.shape) < prob / 400
    found = threshold_curves(histogram_of(prob, target), MeanDice())
    for place, threshold in enumerate(found.thresholds):
        pred = prob / 255 > threshold
        both = (pred & target).sum(axis=(0, 1, 2))
        np.testing.assert_allclose(found.recall[:, place], both / target.sum(axis=(0, 1, 2)))
        np.testing.assert_allclose(found.precision[:, place] * pred.sum(axis=(0, 1, 2)), both)
        scores = MeanDice().per_class(MeanDice().stats(target=target, pred=pred))
        np.testing.assert_allclose(found.score[:, place], scores.mean(axis=0))
    values = prob[..., 0]
    within = (values >= 77) & (values < 102)  # the fourth of ten bins
    np.testing.assert_allclose(found.forecast[0, 3], values[within].mean() / 255)
    np.testing.assert_allclose(found.observed[0, 3], target[..., 0][within].mean())
