"""What several forecasts of rain say, averaged, blurred, multiplied and cut as did best on other events.

Fitted are the width of the blur and the factor, together, and then the edge of rain: from which forecast on the event
(0.1 mm/h) is announced. All minimise MAE / CSI.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skyfold.config.fields import Positive
from skyfold.errors import ConfigError
from skyfold.forecasting.baselines import FittedBaseline
from skyfold.forecasting.baselines.rain_extrapolation import COMBINATIONS, Combination
from skyfold.forecasting.hindcast import Hindcast
from skyfold.forecasting.past_frames import PastFrames
from skyfold.metrics.forecast import MAE_BY_CSI, RAIN_RATE
from skyfold.postprocess.forecasts import DecisionThreshold, Smoothing, decision_grid, measure, smoothing_grid

AS_IT_IS = Smoothing(0.0, 1.0)


class RainBlend(FittedBaseline):
    """combine: "mean" or "median" of the members; smooth, edge: whether each is fitted at all; every: one in so many
    outcomes is chosen on, neighbours being much alike."""

    needs_members: ClassVar[bool] = True
    combine: Combination = "median"
    smooth: bool = True
    edge: bool = True
    every: Positive = 3

    @property
    def unit(self) -> str:
        return RAIN_RATE.name

    def fit(self, outcomes: Sequence[Hindcast]) -> FittedBlend:
        """ConfigError where there are no members."""
        chosen = outcomes[:: self.every]
        if not len(chosen[0].members):
            raise ConfigError("forecasts: rain_blend blends its members; name some in members.")
        truth = np.stack([outcome.truth for outcome in chosen])
        valid = np.stack([_with_leads(outcome.valid, outcome.truth) for outcome in chosen])
        blended = np.stack([COMBINATIONS[self.combine](outcome.members, axis=0) for outcome in chosen])
        every_row = np.arange(len(chosen))
        smoothing = AS_IT_IS
        if self.smooth:
            smoothing = measure(smoothing_grid(), blended, truth, MAE_BY_CSI, valid=valid).best(every_row)
        moved = None
        if self.edge:
            candidates = decision_grid(MAE_BY_CSI.threshold)
            moved = measure(candidates, smoothing.apply(blended), truth, MAE_BY_CSI, valid=valid).best(every_row)
        return FittedBlend(self.combine, smoothing, moved)


PLUGIN = RainBlend


@dataclass(frozen=True)
class FittedBlend:
    """combine: "mean" or "median" of the members; edge: None where it stays at the threshold."""

    combine: str
    smoothing: Smoothing
    edge: DecisionThreshold | None

    def forecast(self, history: PastFrames, members: np.ndarray) -> np.ndarray:
        """members: float32 (M, H, W, L). Returns float32 (H, W, L)."""
        smooth = self.smoothing.apply(COMBINATIONS[self.combine](members, axis=0)[None])
        final: np.ndarray = (smooth if self.edge is None else self.edge.apply(smooth))[0]
        return final


def _with_leads(valid: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.broadcast_to(valid if valid.ndim == truth.ndim else valid[..., None], truth.shape)
