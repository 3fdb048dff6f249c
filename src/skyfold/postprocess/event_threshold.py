"""From which forecast on an event is announced: the edge of rain (0.1 mm/h) or of ice (15 %), calibrated.

The contests count hits where forecast and truth both reach a threshold. A forecast of least error does not reach it as
often as it should. So all that lies from `edge` up to the threshold is lifted to it, or, where the edge lies above the
threshold, all that lies between is lowered to just below. Values move by little, the skill score by much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0)  # of the threshold


@dataclass(frozen=True)
class EventEdge:
    """edge: a forecast of at least this much announces the event; threshold: that of the contest; in its unit."""

    edge: float
    threshold: float

    def apply(self, pred: np.ndarray) -> np.ndarray:
        """A new array like `pred`, of any shape: the event is in it exactly where `pred` reaches the edge."""
        said = pred >= self.edge
        least, most = _float_at_least(self.threshold, pred.dtype), _float_below(self.threshold, pred.dtype)
        return np.where(said, np.maximum(pred, least), np.minimum(pred, most)).astype(pred.dtype)


def edge_grid(threshold: float, shares: Sequence[float] = SHARES) -> list[EventEdge]:
    """The edge at each of `shares` of the threshold, to choose from (see candidates.py)."""
    return [EventEdge(share * threshold, threshold) for share in shares]


def _float_at_least(value: float, dtype: np.dtype) -> Any:
    """The least number of `dtype` that is not below `value`."""
    rounded = np.asarray(value, dtype=dtype)[()]
    return rounded if float(rounded) >= value else np.nextafter(rounded, np.asarray(np.inf, dtype=dtype)[()])


def _float_below(value: float, dtype: np.dtype) -> Any:
    """The greatest number of `dtype` that is below `value`."""
    return np.nextafter(_float_at_least(value, dtype), np.asarray(-np.inf, dtype=dtype)[()])
