"""Scores, precision and recall at every threshold, and reliability, from the pixel counts of a threshold sweep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skyfold.types import CountMetric, Metric

THRESHOLDS = np.arange(2, 253, 5)  # stored values, 127 (probability 0.5) among them
BINS = np.linspace(0, 256, 11).round().astype(int)
CHUNK_ROWS = 256


@dataclass(frozen=True)
class ThresholdCurves:
    """Per class k, over all samples: score, precision, recall (K, T) of masks above each of `thresholds`, probabilities
    (T,); NaN where nothing is predicted, or the truth has no pixel, or the metric is no function of counts.

    forecast, observed: (K, B) mean probability of the pixels in each bin, and the fraction of them that is in the
    truth; NaN in bins without a pixel.
    """

    thresholds: np.ndarray
    score: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    forecast: np.ndarray
    observed: np.ndarray


def threshold_curves(histogram: np.ndarray, metric: Metric) -> ThresholdCurves:
    """histogram: int (n, K, 2, 256), pixels of the truth, and of all, whose stored value is at least v, see
    `ThresholdSweep`; it may be memory-mapped and is read in chunks of samples.
    """
    at = THRESHOLDS + 1  # a mask holds what exceeds its threshold
    sums = np.zeros(histogram.shape[1:], dtype=np.int64)
    scores = np.zeros((histogram.shape[1], len(at)))
    each = isinstance(metric, CountMetric) and metric.pooled == "each"
    for start in range(0, len(histogram), CHUNK_ROWS):
        counts = np.asarray(histogram[start : start + CHUNK_ROWS])
        sums += counts.sum(axis=0, dtype=np.int64)
        if each and isinstance(metric, CountMetric):
            chosen = counts[..., at].astype(np.float64)
            scores += metric.of_counts(chosen[:, :, 0], chosen[:, :, 1], counts[:, :, 0, :1]).sum(axis=0)
    both, pred, target = (part.astype(np.float64) for part in (sums[:, 0, at], sums[:, 1, at], sums[:, 0, :1]))
    if each:
        scores /= max(len(histogram), 1)
    elif isinstance(metric, CountMetric):
        scores = metric.of_counts(both, pred, target)
    else:
        scores[:] = np.nan
    values = np.arange(256) / 255
    per_value = sums - np.pad(sums[..., 1:], ((0, 0), (0, 0), (0, 1)))  # pixels of each stored value
    within = np.add.reduceat(per_value, BINS[:-1], axis=2)
    with np.errstate(invalid="ignore"):
        return ThresholdCurves(
            thresholds=(THRESHOLDS + 0.5) / 255,
            score=np.asarray(scores),
            precision=both / pred,
            recall=both / target,
            forecast=np.add.reduceat(per_value[:, 1] * values, BINS[:-1], axis=1) / within[:, 1],
            observed=within[:, 0] / within[:, 1],
        )
