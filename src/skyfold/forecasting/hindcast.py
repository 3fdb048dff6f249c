"""What a forecast may be fitted on: earlier dates, what was known and forecast on them, and what then came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from skyfold.forecasting.past_frames import PastFrames


@dataclass(frozen=True, eq=False)  # the same date is the same object, so that what is made of it can be kept
class Hindcast:
    """One earlier date.

    history  what was known on it
    members  float32 (M, H, W, L), what other forecasts said on it, none of them fitted on anything later
    truth    float32 (H, W, L), what came, 0 where flagged; all of it before the date the fit is made for
    valid    bool (H, W, L), False where flagged
    """

    history: PastFrames
    members: np.ndarray
    truth: np.ndarray
    valid: np.ndarray


class FittedForecast(Protocol):
    """What `fit(outcomes, **options)` of a family that learns gives."""

    def forecast(self, history: PastFrames, members: np.ndarray) -> np.ndarray:
        """float32 (H, W, L) from what is known and what the M members say of it, (M, H, W, L)."""
        ...
