"""Blend weights of forecasts, per lead time and region, of least mean absolute error or least error by skill.

The error is convex and piecewise linear in the weights. Each pass over the data gives, for every lead time and region,
the error at some weights and its slope there: a plane that lies below the error everywhere. The lowest point of all
planes is a lower bound, so that the search knows how near the least error it is (cutting planes; Kelley 1960, queried
half-way between the best and the lowest point).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from skyfold.errors import ConfigError, OofMismatch
from skyfold.metrics.forecast import ErrorBySkill, error_by_skill

GAP = 1e-4  # between the error and the lower bound, relative to the error
MAX_PASSES = 60
CHUNK_BYTES = 32 << 20  # of members and truth that are copied to float64 at a time
STEPS = tuple(0.5**k for k in range(1, 7))  # fractions of weight that are moved for a better ratio
MIN_GAIN = 1e-12


def fit_forecast_weights(
    members: np.ndarray, truth: np.ndarray, regions: np.ndarray, metric: ErrorBySkill | None = None
) -> np.ndarray:
    """Weights >= 0 that add up to 1, for each lead time and region independently: float64 (L, R, M).

    members: float32 (M, N, H, W, L); truth: float32 (N, H, W, L), NaN where it is unknown, which counts nowhere;
    regions: int (H, W) in 0..R-1. The mean absolute error is within `GAP` of the least possible, unless the search ends
    after `MAX_PASSES`. Members have equal weights in a region without truth.
    metric: minimise its error / skill instead, pooled over samples, cells of unknown truth left out. That is not
    convex: starting from the weights of least error, equal weights and single members, weight is moved between two
    members as long as that helps.
    Raises ConfigError without members, OofMismatch for shapes that differ or members that are NaN where the truth is
    known.
    """
    if not len(members):
        raise ConfigError("no forecasts to weigh; name at least one member.")
    if members.shape[1:] != truth.shape or regions.shape != truth.shape[1:3] or regions.dtype.kind not in "iu":
        raise OofMismatch(
            f"expected forecasts (M, N, H, W, L), truth (N, H, W, L) and whole numbers (H, W) as regions; got "
            f"{members.shape}, {truth.shape} and {regions.dtype} {regions.shape}."
        )
    data = _Data(members, truth, regions)
    shape = (truth.shape[3], len(data.cells))
    problems = [_CuttingPlanes(len(members)) for _ in range(shape[0] * shape[1])]
    for _ in range(MAX_PASSES):
        query = np.array([problem.query for problem in problems])
        error, slope = data.errors_and_slopes(query.reshape(*shape, -1))
        for problem, value, direction in zip(problems, error.ravel(), slope.reshape(query.shape), strict=True):
            problem.add(value, direction)
        if all(problem.converged for problem in problems):
            break
    weights = np.array([problem.best for problem in problems]).reshape(*shape, -1)
    return weights if metric is None else _least_ratio(data, weights, metric)


class _CuttingPlanes:
    """Minimise one convex function on the simplex, given its value and slope at one point at a time.

    query: the next point to evaluate; best, lowest: the best point so far and its value; bound: no value is lower.
    """

    def __init__(self, members: int) -> None:
        self.query = self.best = np.full(members, 1.0 / members)
        self.lowest, self.bound = np.inf, -np.inf
        self.slopes: list[np.ndarray] = []
        self.offsets: list[float] = []

    @property
    def converged(self) -> bool:
        """Near enough to the bound, or without any truth to fit on."""
        if not np.isfinite(self.lowest):
            return bool(np.isnan(self.lowest))
        return self.lowest - self.bound <= GAP * max(self.lowest, 1e-12)

    def add(self, value: float, slope: np.ndarray) -> None:
        """Value (NaN: no truth) and slope at `query`, which is then moved."""
        if np.isnan(value):
            self.lowest = np.nan
        if self.converged:
            return
        if value < self.lowest:
            self.lowest, self.best = float(value), self.query
        self.slopes.append(slope)
        self.offsets.append(float(value - slope @ self.query))
        lowest_point, self.bound = self._lowest_point()
        self.query = 0.5 * (self.best + lowest_point) if len(self.slopes) % 2 else lowest_point

    def _lowest_point(self) -> tuple[np.ndarray, float]:
        """Of the maximum of all planes: minimise h with slope @ w + offset <= h for each, w in the simplex."""
        from scipy.optimize import linprog

        members = len(self.best)
        found = linprog(
            np.append(np.zeros(members), 1.0),
            A_ub=np.column_stack([np.array(self.slopes), -np.ones(len(self.slopes))]),
            b_ub=-np.array(self.offsets),
            A_eq=np.append(np.ones(members), 0.0)[None],
            b_eq=[1.0],
            bounds=[(0.0, 1.0)] * members + [(None, None)],
            method="highs",
        )
        return found.x[:members], float(found.x[-1])


class _Data:
    """Members and truth; everything is summed per lead time and region, a chunk of samples at a time."""

    def __init__(self, members: np.ndarray, truth: np.ndarray, regions: np.ndarray) -> None:
        # (M, N, L, H, W) and (N, L, H, W): the cells of a lead time are read together.
        self.members, self.truth = (np.ascontiguousarray(np.moveaxis(a, -1, -3)) for a in (members, truth))
        self.cells = [np.flatnonzero(regions.ravel() == r) for r in range(int(regions.max()) + 1)]

    def errors_and_slopes(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean absolute error (L, R) under `weights` (L, R, M), and its slope (L, R, M); NaN where nothing is known."""
        error, slope = np.zeros(weights.shape[:2]), np.zeros(weights.shape)
        count = np.zeros(weights.shape[:2])
        for lead, region, values, truth in self._parts():
            off = weights[lead, region] @ values - truth
            error[lead, region] += np.abs(off).sum()
            slope[lead, region] += values @ np.sign(off)
            count[lead, region] += len(truth)
        with np.errstate(invalid="ignore"):
            return error / count, slope / count[..., None]

    def ratios(self, weights: np.ndarray, metric: ErrorBySkill) -> np.ndarray:
        """Error by skill of `weights` (C, L, R, M): float64 (C, L, R); inf where it is unknown."""
        below = np.nextafter(np.float32(metric.threshold), np.float32(-np.inf))  # an event is above this float32
        low, high = metric.counted or (-np.inf, np.inf)
        sums = np.zeros((*weights.shape[:3], 5))  # as the metric's `stats`
        for lead, region, values, truth in self._parts():
            counted = (truth > low) & (truth < high)
            observed = (truth > below) & counted
            for c, own in enumerate(weights[:, lead, region]):  # one by one, since they may be many
                blend = own @ values
                forecast = (blend > below) & counted
                hits = np.count_nonzero(forecast & observed)
                error = np.abs(blend - truth).sum()
                sums[c, lead, region] += error, len(truth), hits, observed.sum() - hits, forecast.sum() - hits
        ratios = error_by_skill(sums, metric.skill)
        return np.where(np.isnan(ratios), np.inf, ratios)

    def _parts(self) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        """(lead, region, values (M, cells), truth (cells,)), float64, of each chunk: only cells of known truth."""
        count, samples, leads = self.members.shape[:3]
        at_once = max(1, CHUNK_BYTES // ((count + 1) * self.truth[0].nbytes))
        for start in range(0, samples, at_once):
            chunk = slice(start, min(start + at_once, samples))
            for lead in range(leads):
                truth = np.asarray(self.truth[chunk, lead], dtype=np.float64).reshape(chunk.stop - start, -1)
                values = self.members[:, chunk, lead].reshape(count, chunk.stop - start, -1)
                for region, cells in enumerate(self.cells):
                    known = ~np.isnan(truth[:, cells])
                    own = values[:, :, cells][:, known].astype(np.float64)
                    if np.isnan(own).any():
                        member, row, _ = np.argwhere(np.isnan(values[:, :, cells]) & known)[0]
                        raise OofMismatch(
                            f"forecast {member}, row {start + row}, lead {lead}: NaN where the truth is known."
                        )
                    yield lead, region, own, truth[:, cells][known]


def _least_ratio(data: _Data, weights: np.ndarray, metric: ErrorBySkill) -> np.ndarray:
    """Move weight between two members of each lead time and region as long as error by skill falls.

    All STEPS are tried at once: counts of hits jump, and the nearest improvement need not be the best.
    """
    members = weights.shape[2]
    singles = [np.broadcast_to(row, weights.shape) for row in np.eye(members)]
    candidates = np.stack([weights, np.full_like(weights, 1.0 / members), *singles])
    moves = [(to, source, step) for to, source in permutations(range(members), 2) for step in STEPS]
    least = np.full(weights.shape[:2], np.inf)
    while True:
        ratios = data.ratios(candidates, metric)
        best = np.argmin(ratios, axis=0)[None]
        better = np.take_along_axis(candidates, best[..., None], axis=0)[0]
        found = np.take_along_axis(ratios, best, axis=0)[0]
        gained = found < least - MIN_GAIN
        weights, least = np.where(gained[..., None], better, weights), np.where(gained, found, least)
        if not moves or not gained.any():
            return weights
        candidates = np.stack([_moved(weights, *move) for move in moves])


def _moved(weights: np.ndarray, to: int, source: int, step: float) -> np.ndarray:
    """`weights` (L, R, M) with up to `step` of weight moved from one member to another."""
    given = np.minimum(weights[..., source], step)
    moved = weights.copy()
    moved[..., source] -= given
    moved[..., to] += given
    return moved
