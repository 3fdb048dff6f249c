"""Calibrated decision thresholds of forecasts: from which value on an event counts as forecast.

The contests count hits where forecast and truth both reach a threshold (0.1 mm/h of rain, 15 % of ice). A forecast of
least error does not reach it as often as it should. So values from the decision threshold up to the event's are raised
to it or, where the decision threshold is higher, values between the two are lowered to just below. Values move by
little, the skill score by much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FRACTIONS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0)  # of the threshold


@dataclass(frozen=True)
class DecisionThreshold:
    """decision: a forecast of at least this much counts as the event; event: threshold of the contest; in its unit."""

    decision: float
    event: float

    def apply(self, pred: np.ndarray) -> np.ndarray:
        """A new array like `pred`, of any shape, with the event exactly where `pred` reaches the decision threshold."""
        event = pred >= self.decision
        least, most = _float_at_least(self.event, pred.dtype), _float_below(self.event, pred.dtype)
        return np.where(event, np.maximum(pred, least), np.minimum(pred, most)).astype(pred.dtype)


def decision_grid(event: float, fractions: Sequence[float] = FRACTIONS) -> list[DecisionThreshold]:
    """A decision threshold at each of `fractions` of the event's threshold, to choose from (see candidates.py)."""
    return [DecisionThreshold(fraction * event, event) for fraction in fractions]


def _float_at_least(value: float, dtype: np.dtype) -> Any:
    """The least number of `dtype` that is not below `value`."""
    rounded = np.asarray(value, dtype=dtype)[()]
    return rounded if float(rounded) >= value else np.nextafter(rounded, np.asarray(np.inf, dtype=dtype)[()])


def _float_below(value: float, dtype: np.dtype) -> Any:
    """The greatest number of `dtype` that is below `value`."""
    return np.nextafter(_float_at_least(value, dtype), np.asarray(-np.inf, dtype=dtype)[()])
