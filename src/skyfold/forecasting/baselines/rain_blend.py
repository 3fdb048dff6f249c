"""What several forecasts of rain say, averaged, blurred, multiplied and cut as did best on other events.

Fitted are the width of the blur and the factor, together, and then the edge of rain: from which forecast on the event
(0.1 mm/h) is announced. All minimise MAE / CSI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skyfold.errors import ConfigError
from skyfold.forecasting.baselines.rain_extrapolation import COMBINATIONS
from skyfold.forecasting.hindcast import Hindcast
from skyfold.forecasting.past_frames import PastFrames
from skyfold.metrics.forecast import MAE_BY_CSI, RAIN_RATE
from skyfold.plugins import check_known
from skyfold.postprocess.candidates import measure
from skyfold.postprocess.event_threshold import EventEdge, edge_grid
from skyfold.postprocess.smoothing import Smoothing, smoothing_grid

OPTIONS = ("combine", "smooth", "edge", "every")
AS_IT_IS = Smoothing(0.0, 1.0)
NEEDS_MEMBERS = True


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option or value."""
    check_known(options, OPTIONS, where="forecast options: rain_blend")
    for name, value in options.items():
        if name == "combine" and (not isinstance(value, str) or value not in COMBINATIONS):
            raise ConfigError(f"forecast options.combine: unknown {value!r}. There are: {', '.join(COMBINATIONS)}.")
        if name in ("smooth", "edge") and not isinstance(value, bool):
            raise ConfigError(f"forecast options.{name}: expected true or false, got {value!r}.")
        if name == "every" and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ConfigError(f"forecast options.every: expected a whole number of 1 or more, got {value!r}.")


def unit(options: Mapping[str, Any]) -> str:
    """Of the frames it is for."""
    return RAIN_RATE.name


@dataclass(frozen=True)
class FittedBlend:
    """combine: "mean" or "median" of the members; edge: None where it stays at the threshold."""

    combine: str
    smoothing: Smoothing
    edge: EventEdge | None

    def forecast(self, history: PastFrames, members: np.ndarray) -> np.ndarray:
        """members: float32 (M, H, W, L). Returns float32 (H, W, L)."""
        smooth = self.smoothing.apply(COMBINATIONS[self.combine](members, axis=0)[None])
        final: np.ndarray = (smooth if self.edge is None else self.edge.apply(smooth))[0]
        return final


def fit(
    outcomes: Sequence[Hindcast],
    *,
    combine: str = "median",
    smooth: bool = True,
    edge: bool = True,
    every: int = 3,
) -> FittedBlend:
    """Choose on one in `every` outcomes, neighbours being much alike. smooth, edge: whether each is fitted at all.

    ConfigError where there are no members.
    """
    chosen = outcomes[::every]
    if not len(chosen[0].members):
        raise ConfigError("forecasts: rain_blend blends its members; name some in members.")
    truth = np.stack([outcome.truth for outcome in chosen])
    valid = np.stack([_with_leads(outcome.valid, outcome.truth) for outcome in chosen])
    blended = np.stack([COMBINATIONS[combine](outcome.members, axis=0) for outcome in chosen])
    every_row = np.arange(len(chosen))
    smoothing = AS_IT_IS
    if smooth:
        smoothing = measure(smoothing_grid(), blended, truth, MAE_BY_CSI, valid=valid).best(every_row)
    moved = None
    if edge:
        candidates = edge_grid(MAE_BY_CSI.threshold)
        moved = measure(candidates, smoothing.apply(blended), truth, MAE_BY_CSI, valid=valid).best(every_row)
    return FittedBlend(combine, smoothing, moved)


def _with_leads(valid: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.broadcast_to(valid if valid.ndim == truth.ndim else valid[..., None], truth.shape)
