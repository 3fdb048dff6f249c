"""Forecast metrics: mean absolute error, F1 or CSI of an event, and the error divided by the skill.

Every metric turns a sample into sums per lead time (`stats`), and a selection of such rows into a score (`score`).
Arrays are (n, H, W, L), lead times on the last axis, in the one unit the metric names: concentration x 250 for sea ice
(0 to 250, never 0 to 1), mm/h for rain (never raw radar values). Values of another unit are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from skyfold.errors import InvalidSubmission

Skill = Literal["f1", "csi"]
SUMS = 5  # of a sample and lead time: absolute error, cells it is over, hits, misses, false alarms
CHUNK_CELLS = 1 << 22


@dataclass(frozen=True)
class ForecastUnit:
    """What values mean, so that those of another unit are refused rather than scored.

    greatest: no value is above it; fraction_suspected: a forecast that is not 0 but nowhere above 1 is a fraction.
    """

    name: str
    greatest: float
    beyond: str
    fraction_suspected: bool = False

    def problem(self, values: np.ndarray, counts: np.ndarray) -> str | None:
        """What is wrong with the values where `counts`; None where nothing is."""
        low = values.min(where=counts, initial=0.0)
        high = values.max(where=counts, initial=0.0)
        if np.isnan(low) or np.isnan(high):
            return "NaN instead of a value. Predict this sample again"
        if low < 0:
            return f"{low:g} is below 0, which stands for missing data or a model without its last step. Clip it at 0"
        if high > self.greatest:
            return f"{high:g} is above {self.greatest:g}: {self.beyond}"
        return None


CONCENTRATION = ForecastUnit(
    "concentration x 250",
    250.0,
    "a flag (pole hole, coast, land, missing). Hide flagged cells by `valid`, and clip forecasts",
    fraction_suspected=True,
)
RAIN_RATE = ForecastUnit("mm/h", 1000.0, "a raw radar value, not a rain rate. Convert it first")


@dataclass(frozen=True)
class _Forecast:
    """What all forecast metrics have in common.

    threshold        the event: a value of at least this much
    counted          open range of the truth within which cells count for the event; None: all
    hidden           what cells that are not `valid` do: "zero": they count as truth 0 forecast 0, so that the error is
                     a mean over the whole grid; "left out": they count nowhere
    error_from       the error is over cells whose truth is at least this much; None: all
    """

    unit: ForecastUnit
    threshold: float
    counted: tuple[float, float] | None = None
    hidden: Literal["zero", "left out"] = "left out"
    error_from: float | None = None

    def stats(self, *, target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """target, pred: (n, H, W, L); valid: bool, the same or (n, H, W). Returns float64 (n, 5 L).

        Five blocks of L: sum of absolute errors, cells they are over, hits, misses, false alarms. InvalidSubmission
        for other shapes, NaN, and values that cannot be of the metric's unit.
        """
        valid = _checked(target, pred, valid)
        sums = np.empty((len(target), SUMS, target.shape[-1]))
        for rows in _chunks(target):
            part_valid = np.ones(target[rows].shape, dtype=bool) if valid is None else valid[rows]
            truth, forecast = target[rows], pred[rows]
            self._refuse(truth, part_valid, "truth", rows.start)
            self._refuse(forecast, part_valid, "forecast", rows.start)
            sums[rows] = self._sums(truth, forecast, part_valid)
        if self.unit.fraction_suspected and 0 < float(np.max(pred, initial=0)) <= 1 < float(np.max(target, initial=0)):
            raise InvalidSubmission(
                f"forecast: nowhere above 1, while the truth is in {self.unit.name}. Multiply the forecast by "
                f"{self.unit.greatest:g}."
            )
        return sums.reshape(len(target), -1)

    def _sums(self, truth: np.ndarray, forecast: np.ndarray, valid: np.ndarray) -> np.ndarray:
        error = np.abs(forecast.astype(np.float32) - truth.astype(np.float32))
        in_error = valid if self.error_from is None else valid & (truth >= self.error_from)
        over = np.ones_like(valid) if self.hidden == "zero" and self.error_from is None else in_error
        in_event = valid
        if self.counted is not None:
            in_event = valid & (truth > self.counted[0]) & (truth < self.counted[1])
        observed, predicted = (truth >= self.threshold) & in_event, (forecast >= self.threshold) & in_event
        return np.stack(
            [
                error.sum(axis=(1, 2), dtype=np.float64, where=in_error),
                _cells(over),
                _cells(observed & predicted),
                _cells(observed & ~predicted),
                _cells(predicted & ~observed),
            ],
            axis=1,
        )

    def _refuse(self, values: np.ndarray, valid: np.ndarray, which: str, first: int) -> None:
        if self.unit.problem(values, valid) is None:
            return
        for row, (own, counts) in enumerate(zip(values, valid, strict=True)):
            if problem := self.unit.problem(own, counts):
                raise InvalidSubmission(f"{which}, sample {first + row}, in {self.unit.name}: {problem}.")


@dataclass(frozen=True)
class ErrorBySkill(_Forecast):
    """Mean absolute error divided by F1 or CSI: MAE/F1 of the sea-ice contest, MAE/CSI of the rain contest.

    Lead times are pooled. pooled: "samples", all sums are formed over the samples first, or "each", the mean over
    samples of the ratio of each (a sample being a year). Infinite where nothing was hit; the skill is 1 where there was
    nothing to hit and no false alarm, NaN where no cell counts.
    """

    name: str = "error_by_skill"
    skill: Skill = "f1"
    pooled: Literal["samples", "each"] = "samples"
    greater_is_better: bool = False

    def per_row(self, stats: np.ndarray) -> np.ndarray:
        """float64 (n,): the ratio of each sample."""
        return _ratio(_by_lead(stats).sum(axis=2), self.skill)

    def per_lead(self, stats: np.ndarray) -> np.ndarray:
        """float64 (L,): the ratio of each lead time, samples pooled."""
        return _ratio(_by_lead(stats).sum(axis=0).T, self.skill)

    def score(self, stats: np.ndarray) -> float:
        _refuse_nothing(stats)
        if self.pooled == "each":
            return float(self.per_row(stats).mean())
        return float(self.per_row(stats.sum(axis=0, keepdims=True))[0])


@dataclass(frozen=True)
class MeanAbsoluteError(_Forecast):
    """Mean absolute error over cells, samples and lead times; with `error_from`, over cells of so much truth only."""

    name: str = "mean_absolute_error"
    greater_is_better: bool = False

    def per_lead(self, stats: np.ndarray) -> np.ndarray:
        """float64 (L,); NaN where no cell counts."""
        return _mean_error(_by_lead(stats).sum(axis=0).T)

    def score(self, stats: np.ndarray) -> float:
        _refuse_nothing(stats)
        return mean_error_of(stats)


@dataclass(frozen=True)
class EventSkill(_Forecast):
    """F1 or CSI of the event only, samples and lead times pooled."""

    name: str = "event_skill"
    skill: Skill = "csi"
    greater_is_better: bool = True

    def per_lead(self, stats: np.ndarray) -> np.ndarray:
        """float64 (L,); NaN where no cell counts."""
        return _skill(_by_lead(stats).sum(axis=0).T, self.skill)

    def score(self, stats: np.ndarray) -> float:
        _refuse_nothing(stats)
        return skill_of(stats, self.skill)


MAE_BY_F1 = ErrorBySkill(
    CONCENTRATION,
    threshold=37.5,  # 15 %
    counted=(12.5, 125.0),  # 5 % to 50 %
    hidden="zero",
    name="mae_by_f1",
    skill="f1",
    pooled="each",
)
MAE_BY_CSI = ErrorBySkill(RAIN_RATE, threshold=0.1, name="mae_by_csi", skill="csi")


def mean_error_of(stats: np.ndarray) -> float:
    """The mean absolute error of the `stats` of any of these metrics (n, 5 L), samples and lead times pooled."""
    return float(_mean_error(_by_lead(stats).sum(axis=(0, 2))))


def skill_of(stats: np.ndarray, skill: Skill) -> float:
    """F1 or CSI of the `stats` of any of these metrics (n, 5 L), samples and lead times pooled."""
    return float(_skill(_by_lead(stats).sum(axis=(0, 2)), skill))


def _checked(target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None) -> np.ndarray | None:
    """`valid` with a last axis."""
    if target.ndim != 4 or target.shape != pred.shape:
        raise InvalidSubmission(
            f"forecasts to score: expected truth and forecast of one shape (N, H, W, L), got {target.shape} and "
            f"{pred.shape}. Predict every lead time on the competition's grid."
        )
    if valid is None:
        return None
    if valid.dtype != np.bool_ or valid.shape not in (target.shape, target.shape[:3]):
        raise InvalidSubmission(
            f"cells that count: expected bool {target.shape} or {target.shape[:3]}, got {valid.dtype} {valid.shape}."
        )
    return np.broadcast_to(valid if valid.ndim == 4 else valid[..., None], target.shape)


def _chunks(target: np.ndarray) -> Iterator[slice]:
    size = max(1, CHUNK_CELLS // max(1, int(np.prod(target.shape[1:]))))
    for start in range(0, len(target), size):
        yield slice(start, min(start + size, len(target)))


def _cells(mask: np.ndarray) -> np.ndarray:
    cells: np.ndarray = np.count_nonzero(mask, axis=(1, 2)).astype(np.float64)
    return cells


def _by_lead(stats: np.ndarray) -> np.ndarray:
    """(n, 5 L) -> (n, 5, L)."""
    return stats.reshape(len(stats), SUMS, -1)


def _ratio(sums: np.ndarray, skill: Skill) -> np.ndarray:
    """sums (..., 5). A forecast without error scores 0, whatever its skill."""
    error, quality = _mean_error(sums), _skill(sums, skill)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: np.ndarray = np.where(error == 0, 0.0, error / quality)
    return ratio


def _mean_error(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        error: np.ndarray = sums[..., 0] / sums[..., 1]
    return error


def _skill(sums: np.ndarray, skill: Skill) -> np.ndarray:
    hits, misses, alarms = sums[..., 2], sums[..., 3], sums[..., 4]
    factor = 2.0 if skill == "f1" else 1.0
    whole = factor * hits + misses + alarms
    skill_of_known = np.where(whole == 0, 1.0, factor * hits / np.maximum(whole, 1.0))
    return np.where(sums[..., 1] + whole == 0, np.nan, skill_of_known)  # where no cell counts, nothing is known


def _refuse_nothing(stats: np.ndarray) -> None:
    if not len(stats):
        raise ValueError("no samples to score")
