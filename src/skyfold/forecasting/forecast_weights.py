"""Blend weights of forecasts, per lead time and region, of least mean absolute error or least error by skill.

The error is convex and piecewise linear in the weights. Each pass over the data gives, for every lead time and region,
the error at some weights and its slope there: a plane that lies below the error everywhere. The lowest point of all
planes is a lower bound, so that the search knows how near the least error it is (cutting planes; Kelley 1960, queried
half-way between the best and the lowest point).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from skyfold.errors import ConfigError, OofMismatch

Skill = Literal["csi", "f1"]
CHUNK_BYTES = 32 << 20  # of members and truth that are copied to float64 at a time
STEPS = tuple(0.5**k for k in range(1, 7))  # fractions of weight that are moved for a better ratio
MIN_GAIN = 1e-12


@dataclass(frozen=True)
class ForecastWeights:
    """weights: (L, R, M) per lead time and region; error: (L, R) mean absolute error under them, NaN where a region
    has no truth; bound: (L, R), no weights have a lower error; ratio: (L, R) error by skill, if it was minimised."""

    weights: np.ndarray
    error: np.ndarray
    bound: np.ndarray
    ratio: np.ndarray | None = None


@dataclass(frozen=True)
class Event:
    """Values above `threshold`, which the skill score is about. skill: "csi" hits / (hits + misses + false alarms), or
    "f1" with hits counted twice. counted: open range of the truth within which cells count for it."""

    threshold: float
    skill: Skill = "csi"
    counted: tuple[float, float] = (-np.inf, np.inf)


def fit_forecast_weights(
    members: np.ndarray,
    truth: np.ndarray,
    regions: np.ndarray,
    *,
    event: Event | None = None,
    gap: float = 1e-6,
    max_passes: int = 200,
) -> ForecastWeights:
    """Weights >= 0 that add up to 1, for each lead time and region independently.

    members: float32 (M, N, H, W, L); truth: float32 (N, H, W, L), NaN where it is unknown, which counts nowhere;
    regions: int (H, W) in 0..R-1. The error is within `gap` of the least possible, relative to it, unless the search
    ends after `max_passes`. event: minimise error / skill instead, pooled over samples. That is not convex: starting
    from the weights of least error, equal weights and single members, weight is moved between two members as long as
    that helps.
    Raises ConfigError without members, OofMismatch for shapes that differ or members that are NaN where the truth is
    known.
    """
    data = _Data(members, truth, regions)
    problems = [_CuttingPlanes(len(members), gap) for _ in range(data.leads * len(data.cells))]
    shape = (data.leads, len(data.cells))
    for _ in range(max_passes):
        query = np.array([problem.query for problem in problems])
        error, slope = data.errors_and_slopes(query.reshape(*shape, -1))
        for problem, value, direction in zip(problems, error.ravel(), slope.reshape(query.shape), strict=True):
            problem.add(value, direction)
        if all(problem.converged for problem in problems):
            break
    fitted = ForecastWeights(
        np.array([problem.best for problem in problems]).reshape(*shape, -1),
        np.array([problem.lowest for problem in problems]).reshape(shape),
        np.array([problem.bound for problem in problems]).reshape(shape),
    )
    return fitted if event is None else _least_ratio(data, fitted, event)


def error_by_skill(
    error: np.ndarray, hits: np.ndarray, misses: np.ndarray, alarms: np.ndarray, skill: Skill
) -> np.ndarray:
    """Mean absolute error divided by skill; infinite without hits. Skill is 1 where there is nothing to hit or miss."""
    factor = 2.0 if skill == "f1" else 1.0
    whole = factor * hits + misses + alarms
    score = np.where(whole == 0, 1.0, factor * hits / np.maximum(whole, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: np.ndarray = np.where(score > 0, error / score, np.inf)
    return ratio


class _CuttingPlanes:
    """Minimise one convex function on the simplex, given its value and slope at one point at a time.

    query: the next point to evaluate; best, lowest: the best point so far and its value; bound: no value is lower.
    """

    def __init__(self, members: int, gap: float) -> None:
        self.query = self.best = np.full(members, 1.0 / members)
        self.lowest, self.bound, self.gap = np.inf, -np.inf, gap
        self.slopes: list[np.ndarray] = []
        self.offsets: list[float] = []

    @property
    def converged(self) -> bool:
        """Near enough to the bound, or without any truth to fit on."""
        if not np.isfinite(self.lowest):
            return bool(np.isnan(self.lowest))
        return self.lowest - self.bound <= self.gap * max(self.lowest, 1e-12)

    def add(self, value: float, slope: np.ndarray) -> None:
        """Value (NaN: no truth) and slope at `query`, which is then moved."""
        if np.isnan(value):
            self.lowest = self.bound = np.nan
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
        planes = np.column_stack([np.array(self.slopes), -np.ones(len(self.slopes))])
        found = linprog(
            np.append(np.zeros(members), 1.0),
            A_ub=planes,
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
        if not len(members):
            raise ConfigError("no forecasts to weigh; name at least one member.")
        if members.shape[1:] != truth.shape or regions.shape != truth.shape[1:3] or regions.dtype.kind not in "iu":
            raise OofMismatch(
                f"expected forecasts (M, N, H, W, L), truth (N, H, W, L) and whole numbers (H, W) as regions; got "
                f"{members.shape}, {truth.shape} and {regions.dtype} {regions.shape}."
            )
        # (M, N, L, H, W) and (N, L, H, W): the cells of a lead time are read together.
        self.members, self.truth = (np.ascontiguousarray(np.moveaxis(a, -1, -3)) for a in (members, truth))
        self.leads = truth.shape[3]
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

    def ratios(self, weights: np.ndarray, event: Event) -> np.ndarray:
        """Error by skill of `weights` (C, L, R, M): float64 (C, L, R)."""
        sums = np.zeros((5, *weights.shape[:3]))  # error, cells, hits, misses, false alarms
        for lead, region, values, truth in self._parts():
            counted = (truth > event.counted[0]) & (truth < event.counted[1])
            observed = (truth > event.threshold) & counted
            sums[1, :, lead, region] += len(truth)
            for c, own in enumerate(weights[:, lead, region]):  # one by one, since they may be many
                blend = own @ values
                forecast = (blend > event.threshold) & counted
                hits = np.count_nonzero(forecast & observed)
                sums[0, c, lead, region] += np.abs(blend - truth).sum()
                sums[2:, c, lead, region] += hits, observed.sum() - hits, forecast.sum() - hits
        with np.errstate(invalid="ignore"):
            return error_by_skill(sums[0] / sums[1], sums[2], sums[3], sums[4], event.skill)

    def _parts(self) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        """(lead, region, values (M, cells), truth (cells,)), float64, of each chunk: only cells of known truth."""
        count, samples = self.members.shape[:2]
        at_once = max(1, CHUNK_BYTES // ((count + 1) * self.truth[0].nbytes))
        for start in range(0, samples, at_once):
            chunk = slice(start, min(start + at_once, samples))
            for lead in range(self.leads):
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


def _least_ratio(data: _Data, fitted: ForecastWeights, event: Event) -> ForecastWeights:
    """Move weight between two members of each lead time and region as long as error by skill falls.

    All STEPS are tried at once: counts of hits jump, and the nearest improvement need not be the best.
    """
    members = fitted.weights.shape[2]
    singles = [np.broadcast_to(row, fitted.weights.shape) for row in np.eye(members)]
    starts = np.stack([fitted.weights, np.full_like(fitted.weights, 1.0 / members), *singles])
    weights, ratio = _best_of(starts, data.ratios(starts, event))
    pairs = [(to, source) for to in range(members) for source in range(members) if to != source]
    gaining = bool(pairs)
    while gaining:
        moved = np.stack([_moved(weights, to, source, step) for to, source in pairs for step in STEPS])
        better, new = _best_of(moved, data.ratios(moved, event))
        gained = new < ratio - MIN_GAIN
        weights, ratio = np.where(gained[..., None], better, weights), np.where(gained, new, ratio)
        gaining = bool(gained.any())
    return ForecastWeights(weights, data.errors_and_slopes(weights)[0], fitted.bound, ratio)


def _best_of(candidates: np.ndarray, ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The candidate of least ratio for each lead time and region; candidates (C, L, R, M), ratios (C, L, R)."""
    place = np.argmin(np.where(np.isnan(ratios), np.inf, ratios), axis=0)[None]
    return np.take_along_axis(candidates, place[..., None], axis=0)[0], np.take_along_axis(ratios, place, axis=0)[0]


def _moved(weights: np.ndarray, to: int, source: int, step: float) -> np.ndarray:
    given = np.minimum(weights[..., source], step)
    moved = weights.copy()
    moved[..., source] -= given
    moved[..., to] += given
    return moved
