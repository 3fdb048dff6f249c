"""Forecast metrics: mean absolute error, F1 or CSI of an event, and the error divided by the skill.

A metric turns a sample into sums per lead time (`stats`), and any selection of such rows into a score (`score`). Arrays
are (n, H, W, L), lead times on the last axis, in the unit that the metric names: concentration x 250 for sea ice (0 to
250, never 0 to 1), mm/h for rain (never raw radar values). Values of another unit are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from skyfold.errors import InvalidSubmission

Skill = Literal["f1", "csi"]
SUMS = 5  # of a sample and lead time: absolute error, cells it is over, hits, misses, false alarms
CHUNK_CELLS = 1 << 22


@dataclass(frozen=True)
class ForecastUnit:
    """Unit of forecast and truth, so that values of another unit are refused instead of scored.

    greatest: no value is above it; beyond: what such a value may be; fraction_suspected: refuse a forecast that is not
    0 but nowhere above 1.
    """

    name: str
    greatest: float
    beyond: str
    fraction_suspected: bool = False

    def is_fraction(self, forecast: np.ndarray) -> bool:
        """Whether a forecast is probably in 0 to 1 instead of this unit."""
        return self.fraction_suspected and 0 < float(np.max(forecast, initial=0)) <= 1

    def problem(self, values: np.ndarray, counts: np.ndarray) -> str | None:
        """Describe what is wrong with `values` where `counts` (bool, the same shape); None where nothing is."""
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
class ErrorBySkill:
    """Mean absolute error divided by F1 or CSI: MAE/F1 of the sea-ice contest, MAE/CSI of the rain contest.

    Lead times are pooled. Infinite where nothing was hit; the skill is 1 where there was nothing to hit and no false
    alarm, NaN where no cell counts.

    threshold        the event: a value of at least this much
    counted          open range of the truth within which cells count for the event; None: all
    hidden           what cells that are not `valid` do: "zero": they count as truth 0 forecast 0, so that the error is
                     a mean over the whole grid; "left out": they count nowhere
    error_from       the error is over cells whose truth is at least this much; None: all
    skill            "f1" or "csi"
    pooled           "samples": sums are formed over the samples first; "each": the mean over samples (years) of the
                     ratio of each
    part             "ratio", or only the "error" or the "skill"
    """

    unit: ForecastUnit
    threshold: float
    counted: tuple[float, float] | None = None
    hidden: Literal["zero", "left out"] = "left out"
    error_from: float | None = None
    name: str = "error_by_skill"
    skill: Skill = "f1"
    pooled: Literal["samples", "each"] = "samples"
    part: Literal["ratio", "error", "skill"] = "ratio"

    @property
    def greater_is_better(self) -> bool:
        return self.part == "skill"

    def stats(self, *, target: np.ndarray, pred: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """Sums of each sample, float64 (n, 5 L).

        target, pred: (n, H, W, L); valid: bool, the same or (n, H, W). Five blocks of L: sum of absolute errors, cells
        they are over, hits, misses, false alarms. InvalidSubmission for other shapes, NaN, and values that cannot be of
        the metric's unit.
        """
        if target.ndim != 4 or target.shape != pred.shape:
            raise InvalidSubmission(
                f"forecasts to score: expected truth and forecast of one shape (N, H, W, L), got {target.shape} and "
                f"{pred.shape}. Predict every lead time on the competition's grid."
            )
        if valid is None:
            valid = np.array(True)
        elif valid.dtype != np.bool_ or valid.shape not in (target.shape, target.shape[:3]):
            raise InvalidSubmission(
                f"cells that count: expected bool {target.shape} or {target.shape[:3]}, got {valid.dtype} "
                f"{valid.shape}."
            )
        valid = np.broadcast_to(valid[..., None] if valid.ndim == 3 else valid, target.shape)
        sums = np.empty((len(target), SUMS, target.shape[-1]))
        size = max(1, CHUNK_CELLS // max(1, int(np.prod(target.shape[1:]))))
        for start in range(0, len(target), size):
            rows = slice(start, start + size)
            self._refuse(target[rows], valid[rows], "truth", start)
            self._refuse(pred[rows], valid[rows], "forecast", start)
            sums[rows] = self._sums(target[rows], pred[rows], valid[rows])
        if self.unit.is_fraction(pred) and float(np.max(target, initial=0)) > 1:
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
        cells = [over, observed & predicted, observed & ~predicted, predicted & ~observed]
        counts = [np.count_nonzero(mask, axis=(1, 2)) for mask in cells]
        return np.stack([error.sum(axis=(1, 2), dtype=np.float64, where=in_error), *counts], axis=1)

    def _refuse(self, values: np.ndarray, valid: np.ndarray, which: str, first: int) -> None:
        for row, (own, counts) in enumerate(zip(values, valid, strict=True), start=first):
            if problem := self.unit.problem(own, counts):
                raise InvalidSubmission(f"{which}, sample {row}, in {self.unit.name}: {problem}.")

    def per_row(self, stats: np.ndarray) -> np.ndarray:
        """The metric of each sample, float64 (n,)."""
        return self._value(_by_lead(stats).sum(axis=2))

    def per_lead(self, stats: np.ndarray) -> np.ndarray:
        """The metric of each lead time, samples pooled, float64 (L,)."""
        return self._value(_by_lead(stats).sum(axis=0).T)

    def _value(self, sums: np.ndarray) -> np.ndarray:
        if self.part == "ratio":
            return error_by_skill(sums, self.skill)
        return _mean_error(sums) if self.part == "error" else _skill(sums, self.skill)

    def score(self, stats: np.ndarray) -> float:
        """The metric over the samples of `stats` (n, 5 L); ValueError without any."""
        if not len(stats):
            raise ValueError("no samples to score")
        if self.pooled == "each":
            return float(self.per_row(stats).mean())
        return float(self.per_row(stats.sum(axis=0, keepdims=True))[0])


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
    """Mean absolute error of `stats` (n, 5 L), samples and lead times pooled; NaN where no cell counts."""
    return float(_mean_error(_by_lead(stats).sum(axis=(0, 2))))


def skill_of(stats: np.ndarray, skill: Skill) -> float:
    """F1 or CSI of `stats` (n, 5 L), samples and lead times pooled; NaN where no cell counts."""
    return float(_skill(_by_lead(stats).sum(axis=(0, 2)), skill))


def error_by_skill(sums: np.ndarray, skill: Skill) -> np.ndarray:
    """Mean absolute error divided by skill, float64 (...), of sums (..., 5) in the order of `ErrorBySkill.stats`.

    Infinite without hits; a forecast without error scores 0, whatever its skill.
    """
    error, quality = _mean_error(sums), _skill(sums, skill)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: np.ndarray = np.where(error == 0, 0.0, error / quality)
    return ratio


def _by_lead(stats: np.ndarray) -> np.ndarray:
    """(n, 5 L) -> (n, 5, L)."""
    return stats.reshape(len(stats), SUMS, -1)


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
