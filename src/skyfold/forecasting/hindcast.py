"""Hindcasts: earlier dates with what was known and forecast then and what was observed, to fit a forecast on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from skyfold.forecasting.past_frames import PastFrames


@dataclass(frozen=True, eq=False)  # the same date is the same object, so that what is computed from it can be cached
class Hindcast:
    """One earlier date.

    history  what was known on it
    members  float32 (M, H, W, L), other forecasts of it, none of them fitted on anything later
    truth    float32 (H, W, L), what was observed, 0 where flagged; all of it before the date that is fitted for
    valid    bool (H, W, L), False where flagged
    """

    history: PastFrames
    members: np.ndarray
    truth: np.ndarray
    valid: np.ndarray


class FittedForecast(Protocol):
    """A fitted `FittedBaseline`."""

    def forecast(self, history: PastFrames, members: np.ndarray) -> np.ndarray:
        """float32 (H, W, L) from what is known and the M forecasts of its members, (M, H, W, L)."""
        ...
