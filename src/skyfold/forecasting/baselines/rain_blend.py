"""Mean or median of several forecasts of rain, with a blur, a factor and a decision threshold fitted on other events.

The width of the blur and the factor are fitted together, then the decision threshold of rain: the forecast from which
on the event (0.1 mm/h) is announced. All minimise MAE / CSI.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np

from skyfold.config.fields import Positive
from skyfold.forecasting.baselines import FittedBaseline
from skyfold.forecasting.baselines.rain_extrapolation import COMBINATIONS, Combination
from skyfold.forecasting.hindcast import FittedForecast, Hindcast
from skyfold.forecasting.past_frames import PastFrames
from skyfold.metrics.forecast import MAE_BY_CSI, RAIN_RATE
from skyfold.postprocess.forecasts import DecisionThreshold, Smoothing, best_candidate, decision_grid, smoothing_grid
from skyfold.types import IntPair, JsonDict


class RainBlend(FittedBaseline):
    """combine: "mean" or "median" of the members; smooth, edge: whether blur and factor, and the decision threshold of
    rain, are fitted; stride: fit on every stride-th sample, since neighbouring samples are alike."""

    UNIT: ClassVar[str | None] = RAIN_RATE.name
    needs_members: ClassVar[bool] = True
    combine: Combination = "median"
    smooth: bool = True
    edge: bool = True
    stride: Positive = 3

    def fit(self, outcomes: Sequence[Hindcast]) -> FittedBlend:
        chosen = outcomes[:: self.stride]
        truth, valid = (np.stack(arrays) for arrays in zip(*((one.truth, one.valid) for one in chosen), strict=True))
        blended = np.stack([COMBINATIONS[self.combine](one.members, axis=0) for one in chosen])
        smoothing, edge = Smoothing(0.0, 1.0), None
        if self.smooth:
            smoothing = best_candidate(smoothing_grid(), blended, truth, MAE_BY_CSI, valid=valid)
        if self.edge:
            thresholds, smooth = decision_grid(MAE_BY_CSI.threshold), smoothing.apply(blended)
            edge = best_candidate(thresholds, smooth, truth, MAE_BY_CSI, valid=valid)
        return FittedBlend(self.combine, smoothing, edge)

    def to_dict(self, fitted: FittedForecast) -> JsonDict:
        assert isinstance(fitted, FittedBlend)
        return {"smoothing": asdict(fitted.smoothing), "edge": fitted.edge and asdict(fitted.edge)}

    def from_dict(self, values: JsonDict, grid: IntPair) -> FittedBlend:
        edge = values["edge"] and DecisionThreshold(**values["edge"])
        return FittedBlend(self.combine, Smoothing(**values["smoothing"]), edge)


PLUGIN = RainBlend


@dataclass(frozen=True)
class FittedBlend:
    """A fitted `RainBlend`; edge: None where rain is announced from the event's threshold on."""

    combine: str
    smoothing: Smoothing
    edge: DecisionThreshold | None

    def forecast(self, history: PastFrames, members: np.ndarray) -> np.ndarray:
        """Forecast, float32 (H, W, L) in mm/h; members: float32 (M, H, W, L).

        `history` is not used.
        """
        smooth = self.smoothing.apply(COMBINATIONS[self.combine](members, axis=0)[None])
        return np.asarray((smooth if self.edge is None else self.edge.apply(smooth))[0])
