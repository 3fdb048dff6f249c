"""Public and private leaderboards simulated from out-of-fold scores: how far ranks move when a contest ends.

One simulation draws the rows that cross-validation saw and the rows of the test part anew from the out-of-fold rows,
with replacement, sample by sample or by group, and divides the test rows at random into public and private ones. All
entries are scored on the same rows, so that what is hard for all of them cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from skyfold.metrics.bootstrap import numbered
from skyfold.types import Metric, RowMetric

CHUNK_NUMBERS = 4_000_000


@dataclass(frozen=True)
class SimulatedScores:
    """Scores of E entries in S simulations, float64 (E, S) each, more is better: of a metric that is to be small the
    negative ones."""

    cv: np.ndarray
    public: np.ndarray
    private: np.ndarray


def simulate(
    metric: Metric,
    tables: np.ndarray,
    *,
    public_fraction: float,
    test_rows: int | None = None,
    groups: np.ndarray | None = None,
    known_population: bool = True,
    simulations: int = 2000,
    seed: int = 0,
) -> SimulatedScores:
    """Scores by cross-validation, on the public and on the private rows.

    tables: (E, n, S), `metric.stats` of each entry for the same n rows; public_fraction: of the test rows, or groups;
    test_rows: how many samples the contest tests, None: n; groups: (n,) labels of rows that are drawn together;
    known_population: whether the out-of-fold rows are all there is, so that their score is the true one; else each
    simulation weighs them anew (Bayesian bootstrap), as what is known of the true scores from so many rows.
    ValueError where fewer than one group would be public, or private.
    """
    rng = np.random.default_rng(seed)
    count = tables.shape[1]
    labels = np.arange(count) if groups is None else numbered(groups)
    sizes = np.bincount(labels)
    drawn = max(1, round(len(sizes) * (test_rows or count) / count))  # groups of the test part
    public = round(public_fraction * drawn)
    if not 0 < public < drawn:
        raise ValueError(f"{public} of {drawn} test groups would be public; expected at least one, and one private")
    how_many = {"cv": len(sizes), "public": public, "private": drawn - public}
    sign = 1.0 if metric.greater_is_better else -1.0
    scores = {name: np.empty((len(tables), simulations)) for name in how_many}
    step = max(1, CHUNK_NUMBERS // len(sizes))
    for start in range(0, simulations, step):
        these = min(step, simulations - start)
        shape = (these, len(sizes))
        share = np.full(shape, 1 / len(sizes)) if known_population else rng.dirichlet(np.ones(len(sizes)), size=these)
        for name, many in how_many.items():
            times = rng.multinomial(many, share)  # of each group
            scores[name][:, start : start + these] = sign * _scores(metric, tables, labels, times)
    return SimulatedScores(**scores)


def _scores(metric: Metric, tables: np.ndarray, labels: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Score of each table (E, n, S), float64 (E, s), where the rows of group g count times[:, g] times."""
    if not isinstance(metric, RowMetric):
        rows = [np.repeat(np.arange(len(labels)), time[labels]) for time in times]
        return np.array([[metric.score(table[chosen]) for chosen in rows] for table in tables])
    weights = times.astype(np.float64)
    if metric.pooled == "samples":
        pools = np.zeros((len(tables), times.shape[1], tables.shape[2]))
        for pool, table in zip(pools, tables, strict=True):
            np.add.at(pool, labels, table)
        return np.stack([metric.per_row(weights @ pool) for pool in pools])
    sums = np.stack([np.bincount(labels, weights=metric.per_row(table)) for table in tables])
    return np.asarray(sums @ weights.T / (weights @ np.bincount(labels)))


@dataclass(frozen=True)
class Choice:
    """A way to choose one entry. right: fraction of simulations in which it is the best private one; loss: its mean
    distance from the best private score."""

    right: float
    loss: float


def choices(simulated: SimulatedScores, public_weight: float) -> dict[str, Choice]:
    """What choosing by the public score, by cross-validation, and by their weighted mean leads to.

    public_weight: of the public score in that mean, 0..1; the share of the public rows in all rows that are known is
    the weight of a mean of rows.
    """
    both = public_weight * simulated.public + (1 - public_weight) * simulated.cv
    return {
        name: chosen(simulated.private, scores.argmax(axis=0)[np.newaxis])
        for name, scores in {"public score": simulated.public, "cross-validation": simulated.cv, "both": both}.items()
    }


def chosen(private: np.ndarray, picks: np.ndarray) -> Choice:
    """How good the best of the entries `picks`, int (m, S), is in each simulation; private: float64 (E, S)."""
    reached = np.take_along_axis(private, picks, axis=0).max(axis=0)
    best = private.max(axis=0)
    return Choice(float((reached == best).mean()), float((best - reached).mean()))


def rank_intervals(scores: np.ndarray, confidence: float = 0.95) -> np.ndarray:
    """Lowest and highest rank of each entry over simulations, int (E, 2), 1 the best; scores: float64 (E, S)."""
    ranks = (-scores).argsort(axis=0, kind="stable").argsort(axis=0, kind="stable") + 1
    outside = (1 - confidence) / 2
    return np.quantile(ranks, [outside, 1 - outside], axis=1, method="nearest").T.astype(int)


def private_given_public(simulated: SimulatedScores, public: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (E,) and covariance (E, E) of the private scores, given the public scores that are known.

    public: float64 (E,), in the sense of `SimulatedScores`, NaN where an entry has none. Public and private scores are
    taken as jointly normal, with the moments of the simulations; how much harder or easier the test part is than the
    training samples, for all entries alike, counts as not known.
    """
    mean, covariance = simulated.private.mean(axis=1), np.atleast_2d(np.cov(simulated.private))
    seen = np.flatnonzero(np.isfinite(public))
    if not len(seen):
        return mean, covariance
    scores = simulated.public[seen]
    centred = scores - scores.mean(axis=1, keepdims=True)
    across = (simulated.private - mean[:, np.newaxis]) @ centred.T / (scores.shape[1] - 1)
    own = np.atleast_2d(np.cov(scores))
    level = 1e4 * np.trace(own) / len(seen)  # variance of the common offset: next to it a score by itself tells nothing
    jitter = 1e-6 * np.trace(own) / len(seen)  # of entries that are equal on every sample
    gain = np.linalg.solve(own + level + jitter * np.eye(len(seen)), across.T).T
    return mean + gain @ (public[seen] - scores.mean(axis=1)), covariance - gain @ across.T


def expected_best(
    mean: np.ndarray, covariance: np.ndarray, count: int, *, draws: int = 20_000, seed: int = 0
) -> tuple[tuple[int, ...], float]:
    """The `count` entries whose best private score is expected to be highest, the best first, and that expectation.

    mean (E,) and covariance (E, E) of the private scores, taken as normal. Of two every pair is tried; further ones are
    added one by one.
    """
    rng = np.random.default_rng(seed)
    scores = rng.multivariate_normal(mean, covariance, size=draws, check_valid="ignore").T
    entries = range(len(mean))

    def expected(picks: Sequence[int]) -> float:
        return float(scores[list(picks)].max(axis=0).mean())

    picks: tuple[int, ...] = max(combinations(entries, min(count, 2)), key=expected)
    while len(picks) < count:
        picks = max(((*picks, i) for i in entries if i not in picks), key=expected)
    return tuple(sorted(picks, key=lambda i: -mean[i])), expected(picks)
