"""The last frame of rain carried along a field of motion, or along several whose results are then averaged.

A frame left in its place is `persistence`; shifted as a whole, the motion "phase_correlation".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from skyfold.errors import ConfigError
from skyfold.forecasting.motion.fields import METHODS
from skyfold.forecasting.motion.pysteps_field import require_pysteps
from skyfold.forecasting.motion.semi_lagrangian import extrapolate
from skyfold.forecasting.past_frames import PastFrames
from skyfold.metrics.forecast import RAIN_RATE
from skyfold.plugins import check_known, nearest

CLASSICAL = ("dis", "dis_fast", "dis_fine", "farneback")
COMBINATIONS: dict[str, Callable[..., np.ndarray]] = {"mean": np.mean, "median": np.median}


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option, motion or combination, or where no motion is named."""
    check_known(options, ("motions", "combine"), where="forecast options: rain_extrapolation")
    motions = options.get("motions", ("dis",))
    if isinstance(motions, str) or not isinstance(motions, Sequence) or not motions:
        raise ConfigError(f"forecast options.motions: expected a list of methods, got {motions!r}.")
    for name, values, table in (
        ("motions", motions, METHODS),
        ("combine", [options.get("combine", "mean")], COMBINATIONS),
    ):
        for value in values:
            if not isinstance(value, str) or value not in table:
                raise ConfigError(
                    f"forecast options.{name}: unknown {value!r}{nearest(str(value), list(table))}. "
                    f"There are: {', '.join(table)}."
                )


def unit(options: Mapping[str, Any]) -> str:
    """Of the frames it is for."""
    return RAIN_RATE.name


def require(options: Mapping[str, Any]) -> None:
    """ConfigError where a motion needs a package that is not installed."""
    if "pysteps" in options.get("motions", ()):
        require_pysteps()


def forecast(history: PastFrames, *, motions: Sequence[str] = ("dis",), combine: str = "mean") -> np.ndarray:
    """float32 (H, W, L) of frames in mm/h, at least two. motions: names in `motion.fields.METHODS`, each carries the
    last frame by itself; combine: "mean" or "median" of them, pixel by pixel.

    ConfigError where a method needs a package that is not installed.
    """
    frames = np.asarray(history.frames, dtype=np.float32)
    fields = [METHODS[name](frames) for name in motions]
    leads = [
        COMBINATIONS[combine]([extrapolate(frames[-1], field, steps=float(lead_times)) for field in fields], axis=0)
        for lead_times in history.lead_times
    ]
    return np.stack(leads, axis=-1).astype(np.float32)
