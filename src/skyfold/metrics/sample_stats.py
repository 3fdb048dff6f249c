"""Sufficient statistics of predictions that are read a chunk of samples at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from skyfold.types import Metric, Samples

CHUNK_ROWS = 64


def sample_stats(
    metrics: Mapping[str, Metric], samples: Samples, rows: np.ndarray, read: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """Statistics of each of `metrics` for the samples `rows`: name -> float64 (n, S), in the order of `rows`.

    rows: (n,) int64, samples whose targets are known. read(chunk): predictions of some of these rows, (m, ...) in the
    shape of their targets; where they are bool, targets are read as bool, too.
    """
    assert samples.targets is not None
    parts: dict[str, list[np.ndarray]] = {name: [] for name in metrics}
    for start in range(0, len(rows), CHUNK_ROWS):
        chunk = rows[start : start + CHUNK_ROWS]
        pred, target = read(chunk), np.stack([samples.targets[i] for i in chunk])
        target = target.astype(bool) if pred.dtype == np.bool_ else target
        valid = None if samples.valid is None else np.stack([samples.valid[i] for i in chunk])
        for name, metric in metrics.items():
            parts[name].append(metric.stats(target=target, pred=pred, valid=valid))
    return {name: np.concatenate(found) for name, found in parts.items()}
