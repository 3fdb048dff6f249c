"""Frames of rain carried to the time of the forecast, on a logarithmic scale: the network corrects an extrapolation.

All frames are carried along one field of motion. Where rain neither grows nor decays and the motion is right they are
alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skyfold.data.history import History
from skyfold.data.rain_units import log_rain
from skyfold.errors import ConfigError
from skyfold.motion.fields import METHODS
from skyfold.motion.semi_lagrangian import carried
from skyfold.plugins import nearest
from skyfold.views._view import RainView


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option or method."""
    for name, value in options.items():
        if name != "motion":
            hint = nearest(name, ["motion"])
            raise ConfigError(f"view.options: carried has no option '{name}'{hint}. Known: motion.")
        if value not in METHODS:
            raise ConfigError(
                f"view.options.motion: unknown {value!r}{nearest(str(value), list(METHODS))}. "
                f"There are: {', '.join(METHODS)}."
            )


def build(*, motion: str = "dis") -> Carried:
    """motion: a name in `motion.fields.METHODS`."""
    check({"motion": motion})
    return Carried(motion)


@dataclass(frozen=True)
class Carried(RainView):
    """Inputs float32 (H, W, T), oldest first, one lead time ahead."""

    motion: str

    def inputs(self, history: History) -> np.ndarray:
        if history.leads != 1:
            raise ConfigError(f"view: carried brings frames to one time, not to {history.leads}. Use frames.")
        frames = np.asarray(history.frames, dtype=np.float32)
        field = METHODS[self.motion](frames)
        moved = carried(log_rain(frames), field, ahead=float(history.ahead[0]))
        return np.ascontiguousarray(np.moveaxis(moved, 0, -1))
