"""Weighted mean of other forecasts, with weights per lead time and region fitted on other dates or events.

Weights have the least mean absolute error or, with `event`, the least error / skill, the metric of the contests. A
region is a block of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from skyfold.config.fields import Positive, Size
from skyfold.errors import ConfigError
from skyfold.forecasting.baselines import FittedBaseline
from skyfold.forecasting.forecast_weights import fit_forecast_weights
from skyfold.forecasting.hindcast import FittedForecast, Hindcast
from skyfold.forecasting.past_frames import PastFrames
from skyfold.metrics.forecast import MAE_BY_CSI, MAE_BY_F1
from skyfold.types import IntPair, JsonDict

METRICS = {"rain": MAE_BY_CSI, "ice": MAE_BY_F1}


class WeightedBlend(FittedBaseline):
    """event: "rain" or "ice", whose error / skill the weights minimise, None: the mean absolute error; blocks: (rows,
    columns) of regions; stride: fit on every stride-th date or sample."""

    needs_members: ClassVar[bool] = True
    event: Literal["rain", "ice"] | None = None
    blocks: Size = (1, 1)
    stride: Positive = 1

    @property
    def unit(self) -> str | None:
        return METRICS[self.event].unit.name if self.event else None

    def fit(self, outcomes: Sequence[Hindcast]) -> FittedWeights:
        """Fit weights. ConfigError where there are no members, or more blocks than rows or columns."""
        chosen = outcomes[:: self.stride]
        rows, columns = chosen[0].history.shape
        if self.blocks[0] > rows or self.blocks[1] > columns:
            raise ConfigError(f"options.blocks: at most {rows} x {columns}, the grid; got {list(self.blocks)}.")
        members = np.stack([outcome.members for outcome in chosen], axis=1)
        truth = np.stack([np.where(outcome.valid, outcome.truth, np.float32(np.nan)) for outcome in chosen])
        regions = block_map((rows, columns), self.blocks)
        metric = METRICS[self.event] if self.event else None
        return FittedWeights(fit_forecast_weights(members, truth, regions, metric), regions)

    def to_dict(self, fitted: FittedForecast) -> JsonDict:
        assert isinstance(fitted, FittedWeights)
        return {"weights": fitted.weights.tolist()}

    def from_dict(self, values: JsonDict, grid: IntPair) -> FittedWeights:
        return FittedWeights(np.array(values["weights"], dtype=np.float64), block_map(grid, self.blocks))


PLUGIN = WeightedBlend


@dataclass(frozen=True)
class FittedWeights:
    """weights: (L, R, M); regions: int (H, W)."""

    weights: np.ndarray
    regions: np.ndarray

    def forecast(self, history: PastFrames, members: np.ndarray) -> np.ndarray:
        """Weighted mean of the members, float32 (H, W, L); members: float32 (M, H, W, L).

        `history` is not used.
        """
        of_cell = self.weights[:, self.regions].astype(np.float32)  # (L, H, W, M)
        blended = np.einsum("lhwm,mhwl->hwl", of_cell, members)
        # Weights add up to 1 but for rounding; a mean must not leave the range of its members.
        return np.asarray(np.clip(blended, members.min(axis=0), members.max(axis=0)))


def block_map(shape: IntPair, blocks: IntPair) -> np.ndarray:
    """Number of the block of each cell, int64 (H, W), of rows x columns blocks that are as equal as possible.

    >>> block_map((2, 4), (1, 2)).tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    row, column = (np.arange(side) * count // side for side, count in zip(shape, blocks, strict=True))
    return row[:, None] * blocks[1] + column[None]
