"""Bootstrap confidence intervals: percentiles of scores of samples drawn with replacement, one by one or by group.

Only the metric's statistics per sample are drawn, never pixels; a `RowMetric` is scored from sums, any other draw by
draw. Samples that resemble each other (one radar event, one scene) belong in one group, or the interval is too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skyfold.types import Metric, RowMetric

CHUNK_NUMBERS = 4_000_000


@dataclass(frozen=True)
class Interval:
    """Score of all samples, and the range that holds `confidence` of the scores of the draws."""

    value: float
    low: float
    high: float
    confidence: float

    @property
    def known(self) -> bool:
        """Whether there is any score, none of them NaN."""
        return not any(map(math.isnan, (self.value, self.low, self.high)))


def bootstrap_interval(
    metric: Metric,
    stats: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int | np.random.Generator = 0,
) -> Interval:
    """Percentile interval of `metric.score` over bootstrap draws.

    stats: (n, S) as `metric.stats`; groups: (n,) labels of rows that are drawn together, None: every row by itself.
    The same seed gives the same draws. Infinite scores widen the interval to infinity; with NaN scores it is NaN.
    ValueError for no rows, no draws, or another number of groups than rows.
    """
    scores = _draw_scores(metric, [stats], groups, draws, np.random.default_rng(seed))[0]
    return interval_of_draws(metric.score(stats), scores, confidence)


def paired_difference(
    metric: Metric,
    stats: np.ndarray,
    baseline: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int | np.random.Generator = 0,
) -> Interval:
    """Interval of the score of `stats` minus that of `baseline`, (n, S) each, of the same rows in the same order.

    Every draw takes the same rows from both, so that what is hard for both cancels; draws in which both scores are
    infinite tell nothing and are left out. groups, seed and errors as for `bootstrap_interval`; ValueError, too, for
    tables of unequal shape.
    """
    if stats.shape != baseline.shape:
        raise ValueError(f"stats {stats.shape} and baseline {baseline.shape} are not of the same samples")
    both = _draw_scores(metric, [stats, baseline], groups, draws, np.random.default_rng(seed))
    return difference_of_draws((metric.score(stats), metric.score(baseline)), (both[0], both[1]), confidence)


def draw_scores(
    metric: Metric, tables: Sequence[np.ndarray], *, groups: np.ndarray | None = None, draws: int = 1000, seed: int = 0
) -> np.ndarray:
    """Scores of bootstrap draws, float64 (len(tables), draws), as `paired_difference` draws them: tables of the same
    samples, in one order, see the same draws, in one call or in several."""
    return _draw_scores(metric, list(tables), groups, draws, np.random.default_rng(seed))


def difference_of_draws(
    values: tuple[float, float], draws: tuple[np.ndarray, np.ndarray], confidence: float = 0.95
) -> Interval:
    """As `paired_difference`, of the scores of two tables and those of their common draws, (draws,) each."""
    (value, other), (ours, theirs) = values, draws
    told = ~(np.isinf(ours) & (ours == theirs))
    if not told.any() or (math.isinf(value) and value == other):
        return Interval(math.nan, math.nan, math.nan, confidence)
    return interval_of_draws(value - other, ours[told] - theirs[told], confidence)


def _draw_scores(
    metric: Metric, tables: list[np.ndarray], groups: np.ndarray | None, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Scores of every draw, float64 (len(tables), draws); all tables see the same draws."""
    count = len(tables[0])
    labels = np.arange(count) if groups is None else numbered(groups)
    if not count or len(labels) != count or draws < 1:
        raise ValueError(f"expected rows to draw from and a group for each; got {count} rows, {len(labels)} groups")
    sizes = np.bincount(labels)
    if not isinstance(metric, RowMetric):
        members = np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])

        def scores_of(drawn: np.ndarray) -> list[Any]:
            rows = [np.concatenate([members[group] for group in draw]) for draw in drawn]
            return [[metric.score(table[chosen]) for chosen in rows] for table in tables]

    elif metric.pooled == "samples":  # a draw needs only the sums over rows of each group drawn
        pools = np.zeros((len(tables), len(sizes), tables[0].shape[1]))
        for pool, table in zip(pools, tables, strict=True):
            np.add.at(pool, labels, table)

        def scores_of(drawn: np.ndarray) -> list[Any]:
            times = np.stack([np.bincount(draw, minlength=len(sizes)) for draw in drawn]).astype(np.float64)
            return [metric.per_row(times @ pool) for pool in pools]

    else:  # the score is a mean of rows: a draw needs only the sum and the size of each group drawn
        sums = [np.bincount(labels, weights=metric.per_row(table)) for table in tables]

        def scores_of(drawn: np.ndarray) -> list[Any]:
            rows = sizes[drawn].sum(axis=1)
            return [group_sums[drawn].sum(axis=1) / rows for group_sums in sums]

    chunk = max(1, CHUNK_NUMBERS // len(sizes))
    shapes = [(min(chunk, draws - start), len(sizes)) for start in range(0, draws, chunk)]
    return np.concatenate([scores_of(rng.integers(0, len(sizes), size=shape)) for shape in shapes], axis=1)


def numbered(groups: np.ndarray) -> np.ndarray:
    """Groups numbered as they first come, so that the draws are the same for 2 < 10 and for '10' < '2'."""
    _, first, labels = np.unique(groups, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[labels])


def interval_of_draws(value: float, scores: np.ndarray, confidence: float = 0.95) -> Interval:
    """As `bootstrap_interval`, of the score of all samples and those of draws, (draws,)."""
    outside = (1.0 - confidence) / 2.0
    if np.isfinite(scores).all():
        low, high = np.quantile(scores, [outside, 1.0 - outside])
    elif np.isnan(scores).any():
        low = high = np.nan
    else:  # nothing lies between a score and one without bound: the next one outwards is taken
        last = len(scores) - 1
        low, high = np.sort(scores)[[math.floor(outside * last), math.ceil((1.0 - outside) * last)]]
    return Interval(value, float(low), float(high), confidence)
