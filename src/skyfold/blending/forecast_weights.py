"""Weights of forecasts, per lead time and region, that minimise the mean absolute error or its ratio to a skill score.

The error is convex in the weights and made of planes, one for every choice of signs. Each pass over the data gives, at
the weights of every lead time and region, the error and the plane that touches it there. The lowest point of the planes
known so far is a lower bound, so that the search ends with proof of how near it is (cutting planes; Kelley 1960, asked
half-way between the best and the lowest point). Nothing but one chunk of samples is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from skyfold.errors import ConfigError, OofMismatch
from skyfold.store.rows import release_pages

Skill = Literal["csi", "f1"]
CHUNK_BYTES = 32 << 20
STEPS = tuple(0.5**k for k in range(1, 7))  # shares of weight that are moved for a better ratio
LEAST_GAIN = 1e-12


@dataclass(frozen=True)
class ForecastWeights:
    """weights: (L, R, M) per lead time and region; error: (L, R) mean absolute error under them, NaN where a region
    has no value; bound: (L, R), no weights can do better; ratio: (L, R) error by skill, where it was minimised."""

    weights: np.ndarray
    error: np.ndarray
    bound: np.ndarray
    ratio: np.ndarray | None = None


@dataclass(frozen=True)
class Event:
    """What the skill score is about: values above `threshold`. skill: "csi" hits / (hits + misses + false alarms), or
    "f1" with hits counted twice. counted: cells count for it where the truth lies in this open range."""

    threshold: float
    skill: Skill = "csi"
    counted: tuple[float, float] = (-np.inf, np.inf)


def fit_forecast_weights(
    arrays: Sequence[np.ndarray],
    target: np.ndarray,
    regions: np.ndarray | None = None,
    *,
    event: Event | None = None,
    rows: np.ndarray | None = None,
    gap: float = 1e-6,
    most_passes: int = 200,
) -> ForecastWeights:
    """Weights >= 0 that add up to 1, for each lead time and region by themselves.

    arrays: float32 (N, L, H, W) a model, memory-mapped as they may be; target: the same, NaN where it is unknown, which
    counts nowhere. regions: int (H, W) in 0..R-1, -1: counts nowhere; None: one region. rows: samples to fit on, None:
    all. The error is within `gap` of the least there is, relative to it, unless `most_passes` end the search before.
    event: minimise error / skill instead, pooled over samples; that has no convex form, so that weight is moved
    between two models, from the best of the least error, equal weights and single models, as long as that helps.
    OofMismatch for arrays that differ in shape or hold NaN where the target is known.
    """
    data = _Data(arrays, target, regions, rows)
    problems = [_CuttingPlanes(data.models, gap) for _ in range(data.leads * data.regions)]
    for _ in range(most_passes):
        asked = np.array([problem.asks for problem in problems])
        error, slope = data.errors_and_slopes(asked.reshape(data.leads, data.regions, -1))
        for problem, value, direction in zip(problems, error.ravel(), slope.reshape(-1, data.models), strict=True):
            problem.learn(value, direction)
        if all(problem.done for problem in problems):
            break
    shape = (data.leads, data.regions)
    weights = np.array([problem.best for problem in problems]).reshape(*shape, data.models)
    fitted = ForecastWeights(
        weights,
        np.array([problem.least for problem in problems]).reshape(shape),
        np.array([problem.bound for problem in problems]).reshape(shape),
    )
    return fitted if event is None else _least_ratio(data, fitted, event)


def combine_forecasts(
    arrays: Sequence[np.ndarray], weights: np.ndarray, regions: np.ndarray | None = None, rows: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (rows of this chunk, their weighted mean, float32 (n, L, H, W)); weights: (L, R, M) as they were fitted.

    Cells of region -1 get the mean over regions of the weights.
    """
    table = np.concatenate([weights, weights.mean(axis=1, keepdims=True)], axis=1)  # -1 is the last column
    height, width = arrays[0].shape[2:]
    of_cell = table[:, np.zeros((height, width), dtype=np.int64) if regions is None else regions]
    chosen = np.arange(len(arrays[0])) if rows is None else rows
    for chunk in _chunks(arrays, chosen):
        total = np.zeros((len(chunk), *arrays[0].shape[1:]))
        for m, array in enumerate(arrays):
            total += of_cell[..., m] * array[chunk]
        yield chunk, total.astype(np.float32)


def error_by_skill(
    error: np.ndarray, hits: np.ndarray, misses: np.ndarray, alarms: np.ndarray, skill: Skill
) -> np.ndarray:
    """Mean absolute error over skill; infinite where nothing was hit (1 where there was nothing to hit or to miss)."""
    factor = 2.0 if skill == "f1" else 1.0
    whole = factor * hits + misses + alarms
    score = np.where(whole == 0, 1.0, factor * hits / np.maximum(whole, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: np.ndarray = np.where(score > 0, error / score, np.inf)
    return ratio


class _CuttingPlanes:
    """The search for the least of one convex function on the simplex, of which a value and a slope are given at a time.

    asks: where the next is wanted; best, least: lowest point so far; bound: no point is lower.
    """

    def __init__(self, models: int, gap: float) -> None:
        self.asks = self.best = np.full(models, 1.0 / models)
        self.least, self.bound, self.gap = np.inf, -np.inf, gap
        self.slopes: list[np.ndarray] = []
        self.offsets: list[float] = []

    @property
    def done(self) -> bool:
        """Near enough to the bound, or nothing known to fit on."""
        if not np.isfinite(self.least):
            return bool(np.isnan(self.least))
        return self.least - self.bound <= self.gap * max(self.least, 1e-12)

    def learn(self, value: float, slope: np.ndarray) -> None:
        if np.isnan(value):
            self.least = self.bound = np.nan
        if self.done:
            return
        if value < self.least:
            self.least, self.best = float(value), self.asks
        self.slopes.append(slope)
        self.offsets.append(float(value - slope @ self.asks))
        lowest, self.bound = self._lowest_point()
        self.asks = 0.5 * (self.best + lowest) if len(self.slopes) % 2 else lowest

    def _lowest_point(self) -> tuple[np.ndarray, float]:
        """Of the greatest of all planes: minimise h with slope @ w + offset <= h for each, w in the simplex."""
        from scipy.optimize import linprog

        models = len(self.best)
        planes = np.column_stack([np.array(self.slopes), -np.ones(len(self.slopes))])
        found = linprog(
            np.append(np.zeros(models), 1.0),
            A_ub=planes,
            b_ub=-np.array(self.offsets),
            A_eq=np.append(np.ones(models), 0.0)[None],
            b_eq=[1.0],
            bounds=[(0.0, 1.0)] * models + [(None, None)],
            method="highs",
        )
        return found.x[:models], float(found.x[-1])


class _Data:
    """Forecasts and truth, read a chunk at a time; everything is summed per lead time and region."""

    def __init__(
        self, arrays: Sequence[np.ndarray], target: np.ndarray, regions: np.ndarray | None, rows: np.ndarray | None
    ) -> None:
        if not arrays:
            raise ConfigError("no forecasts to weigh; name at least one run.")
        if target.ndim != 4 or any(array.shape != target.shape for array in arrays):
            shapes = [array.shape for array in (*arrays, target)]
            raise OofMismatch(
                f"forecasts and truth: expected one shape (N, L, H, W), got {shapes}. Predict them alike."
            )
        self.arrays, self.target = arrays, target
        self.rows = np.arange(len(target)) if rows is None else np.asarray(rows)
        self.region_map = np.zeros(target.shape[2:], dtype=np.int64) if regions is None else np.asarray(regions)
        if self.region_map.shape != target.shape[2:] or self.region_map.dtype.kind not in "iu":
            raise OofMismatch(
                f"regions: expected whole numbers {target.shape[2:]}, got {self.region_map.dtype} "
                f"{self.region_map.shape}."
            )
        self.models, self.leads, self.regions = len(arrays), target.shape[1], int(self.region_map.max(initial=-1)) + 1
        self.cells = [np.flatnonzero(self.region_map.ravel() == r) for r in range(self.regions)]

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
            known = (truth > event.counted[0]) & (truth < event.counted[1])
            there = (truth > event.threshold) & known
            sums[1, :, lead, region] += len(truth)
            for c, own in enumerate(weights[:, lead, region]):  # one by one, since they may be many
                blend = own @ values
                said = (blend > event.threshold) & known
                hits = np.count_nonzero(said & there)
                sums[0, c, lead, region] += np.abs(blend - truth).sum()
                sums[2:, c, lead, region] += hits, there.sum() - hits, said.sum() - hits
        with np.errstate(invalid="ignore"):
            return error_by_skill(sums[0] / sums[1], sums[2], sums[3], sums[4], event.skill)

    def _parts(self) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        """(lead, region, values (M, cells), truth (cells,)), float64, of each chunk: cells of known truth alone."""
        for chunk in _chunks([*self.arrays, self.target], self.rows):
            for lead in range(self.leads):
                truth = np.asarray(self.target[chunk, lead], dtype=np.float64).reshape(len(chunk), -1)
                values = np.stack([array[chunk, lead].reshape(len(chunk), -1) for array in self.arrays])
                for region, cells in enumerate(self.cells):
                    known = ~np.isnan(truth[:, cells])
                    own = values[:, :, cells][:, known].astype(np.float64)
                    if np.isnan(own).any():
                        model = int(np.flatnonzero(np.isnan(own).any(axis=1))[0])
                        missing = np.isnan(values[model][:, cells]) & known
                        row = chunk[np.flatnonzero(missing.any(axis=1))[0]]
                        raise OofMismatch(f"forecast {model}, row {row}, lead {lead}: NaN where the truth is known.")
                    yield lead, region, own, truth[:, cells][known]


def _least_ratio(data: _Data, fitted: ForecastWeights, event: Event) -> ForecastWeights:
    """Move weight between two models of each lead and region as long as error by skill falls.

    All STEPS are tried at once, since counts of hits jump and the nearest improvement need not be the
    best.
    """
    singles = [np.broadcast_to(row, fitted.weights.shape) for row in np.eye(data.models)]
    starts = np.stack([fitted.weights, np.full_like(fitted.weights, 1.0 / data.models), *singles])
    weights, ratio = _best_of(starts, data.ratios(starts, event))
    pairs = [(to, source) for to in range(data.models) for source in range(data.models) if to != source]
    gaining = bool(pairs)
    while gaining:
        moved = np.stack([_moved(weights, to, source, step) for to, source in pairs for step in STEPS])
        better, new = _best_of(moved, data.ratios(moved, event))
        gained = new < ratio - LEAST_GAIN
        weights, ratio = np.where(gained[..., None], better, weights), np.where(gained, new, ratio)
        gaining = bool(gained.any())
    return ForecastWeights(weights, data.errors_and_slopes(weights)[0], fitted.bound, ratio)


def _best_of(candidates: np.ndarray, ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each lead and region its candidate of least ratio; candidates (C, L, R, M), ratios (C, L, R)."""
    place = np.argmin(np.where(np.isnan(ratios), np.inf, ratios), axis=0)[None]
    return np.take_along_axis(candidates, place[..., None], axis=0)[0], np.take_along_axis(ratios, place, axis=0)[0]


def _moved(weights: np.ndarray, to: int, source: int, step: float) -> np.ndarray:
    given = np.minimum(weights[..., source], step)
    moved = weights.copy()
    moved[..., source] -= given
    moved[..., to] += given
    return moved


def _chunks(arrays: Sequence[np.ndarray], rows: np.ndarray) -> Iterator[np.ndarray]:
    row_bytes = max(1, sum(int(np.prod(array.shape[1:])) * array.dtype.itemsize for array in arrays))
    size = max(1, CHUNK_BYTES // row_bytes)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
        for array in arrays:
            release_pages(array)
