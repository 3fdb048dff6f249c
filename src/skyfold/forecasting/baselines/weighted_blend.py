"""A weighted mean of members whose weights, per lead time and region, erred least on other dates or events.

Without `event` the weights have the least mean absolute error. With it they have the least error / skill, the contests'
figure. A region is a block of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from skyfold.config.fields import Positive, Size
from skyfold.errors import ConfigError
from skyfold.forecasting.baselines import FittedBaseline
from skyfold.forecasting.forecast_weights import Event, fit_forecast_weights
from skyfold.forecasting.hindcast import Hindcast
from skyfold.forecasting.past_frames import PastFrames
from skyfold.metrics.forecast import MAE_BY_CSI, MAE_BY_F1
from skyfold.types import IntPair


def _just_below(threshold: float) -> float:
    """An `Event` is above its threshold, a metric's at or above it."""
    return float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))


EVENTS = {
    "rain": Event(_just_below(MAE_BY_CSI.threshold), "csi"),
    "ice": Event(_just_below(MAE_BY_F1.threshold), "f1", MAE_BY_F1.counted or (-np.inf, np.inf)),
}
UNITS = {"rain": MAE_BY_CSI.unit.name, "ice": MAE_BY_F1.unit.name}


class WeightedBlend(FittedBaseline):
    """event: what the weights are to forecast best; blocks: (rows, columns) of regions; every: one in so many outcomes
    is learned from."""

    needs_members: ClassVar[bool] = True
    event: Literal["rain", "ice"] | None = None
    blocks: Size = (1, 1)
    every: Positive = 1

    @property
    def unit(self) -> str | None:
        return UNITS[self.event] if self.event else None

    def fit(self, outcomes: Sequence[Hindcast]) -> FittedWeights:
        """ConfigError where there are no members, or more blocks than rows or columns."""
        chosen = outcomes[:: self.every]
        if not len(chosen[0].members):
            raise ConfigError("forecasts: weighted_blend blends its members; name some in members.")
        rows, columns = chosen[0].history.shape
        if self.blocks[0] > rows or self.blocks[1] > columns:
            raise ConfigError(f"options.blocks: at most {rows} x {columns}, the grid; got {list(self.blocks)}.")
        members = np.stack([outcome.members for outcome in chosen], axis=1)
        truth = np.stack([_known(outcome) for outcome in chosen])
        regions = block_map(chosen[0].history.shape, self.blocks)
        event = EVENTS[self.event] if self.event else None
        fitted = fit_forecast_weights(members, truth, regions, event=event, gap=1e-4, max_passes=60)
        # Members weigh the same in a region without any truth.
        unknown = np.isnan(fitted.error)[..., None]
        return FittedWeights(np.where(unknown, 1.0 / len(members), fitted.weights), regions)


PLUGIN = WeightedBlend


@dataclass(frozen=True)
class FittedWeights:
    """weights: (L, R, M); regions: int (H, W)."""

    weights: np.ndarray
    regions: np.ndarray

    def forecast(self, history: PastFrames, members: np.ndarray) -> np.ndarray:
        """members: float32 (M, H, W, L). Returns float32 (H, W, L)."""
        of_cell = self.weights[:, self.regions].astype(np.float32)  # (L, H, W, M)
        blended = np.einsum("lhwm,mhwl->hwl", of_cell, members)
        # Weights that add up to 1 but for rounding: a mean must not leave the range of what it is a mean of.
        within: np.ndarray = np.clip(blended, members.min(axis=0), members.max(axis=0))
        return within


def block_map(shape: IntPair, blocks: IntPair) -> np.ndarray:
    """int64 (H, W): which of rows x columns blocks, as equal as can be, a cell lies in.

    >>> block_map((2, 4), (1, 2)).tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    row, column = (np.arange(side) * count // side for side, count in zip(shape, blocks, strict=True))
    return row[:, None] * blocks[1] + column[None]


def _known(outcome: Hindcast) -> np.ndarray:
    """float32 (H, W, L): the truth, NaN where flagged."""
    valid = outcome.valid if outcome.valid.ndim == outcome.truth.ndim else outcome.valid[..., None]
    return np.where(valid, outcome.truth, np.float32(np.nan))
