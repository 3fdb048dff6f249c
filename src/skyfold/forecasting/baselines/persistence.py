"""Every wanted frame is the last one known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skyfold.forecasting.baselines._options import checked
from skyfold.forecasting.past_frames import PastFrames


def check(options: Mapping[str, Any]) -> None:
    """ConfigError: there are no options."""
    checked("persistence", options, {})


def forecast(history: PastFrames) -> np.ndarray:
    """float32 (H, W, L)."""
    return np.repeat(history.frames[-1].astype(np.float32)[..., None], history.leads, axis=-1)
