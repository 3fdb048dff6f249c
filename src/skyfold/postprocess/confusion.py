"""Confusion matrix of probability maps: pixels of each true class by the class that is predicted for them."""

from __future__ import annotations

import numpy as np

from skyfold.compiled import compiled
from skyfold.postprocess.threshold_counts import check_maps


def confusion_counts(prob: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """int32 (n, K, K): pixels of the true class in the row that are predicted as the class in the column.

    The class of the greatest probability is predicted, of equal ones the first. Pixels that are of no class in the
    truth, or of several, are not counted. Arrays and errors as `threshold_counts`.

    >>> prob = np.array([[9, 200], [80, 70], [0, 0]], dtype=np.uint8).reshape(1, 1, 3, 2)
    >>> confusion_counts(prob, np.array([[0, 1], [0, 1], [0, 1]], dtype=bool).reshape(1, 1, 3, 2))[0].tolist()
    [[0, 0], [2, 1]]
    """
    check_maps(prob, target, valid)
    counts = np.zeros((len(prob), prob.shape[-1], prob.shape[-1]), dtype=np.int32)
    everywhere = np.ones(prob.shape[1:3], dtype=np.bool_)
    for i in range(len(prob)):
        _count(prob[i].copy(), target[i].copy(), everywhere if valid is None else valid[i].copy(), counts[i])
    return counts


@compiled
def _count(prob, target, defined, counts):  # type: ignore[no-untyped-def]
    """Add to counts (K, K) from prob and target (H, W, K), where defined (H, W)."""
    height, width, classes = prob.shape
    for r in range(height):
        for c in range(width):
            true, several, greatest = -1, not defined[r, c], 0
            for k in range(classes):
                if target[r, c, k]:
                    several = several or true >= 0
                    true = k
                if prob[r, c, k] > prob[r, c, greatest]:
                    greatest = k
            if true >= 0 and not several:
                counts[true, greatest] += 1
