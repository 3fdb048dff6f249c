"""Counts of a reliability diagram: how often an event was observed per bin of the forecast; add them over samples."""

from __future__ import annotations

import numpy as np


def event_counts(
    *, target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None, edges: np.ndarray, threshold: float
) -> np.ndarray:
    """int64 (2, B + 1) for B edges: cells whose forecast lies in each bin, and those of them whose truth is at least
    `threshold`.

    target, pred: one shape; valid: bool, the same (None: all count). edges: (B,) ascending; a forecast on an edge is in
    the bin above it. The first bin is below the first edge, the last from the last one on.

    >>> event_counts(target=np.array([0, 9, 9]), pred=np.array([0, 1, 5]), valid=None, edges=np.array([1]), threshold=2)
    array([[1, 2],
           [0, 2]])
    >>> target, pred, valid = np.array([0, 9, 9]), np.array([0, 1, 5]), np.array([True, False, True])
    >>> event_counts(target=target, pred=pred, valid=valid, edges=np.array([1, 5]), threshold=9)
    array([[1, 0, 1],
           [0, 0, 1]])
    """
    bins = np.searchsorted(edges, pred, side="right")
    counts = np.ones(pred.shape, dtype=bool) if valid is None else valid
    observed = counts & (target >= threshold)
    return np.stack([np.bincount(bins[chosen], minlength=len(edges) + 1) for chosen in (counts, observed)])
