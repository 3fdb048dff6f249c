"""A weighted mean of members whose weights, per lead time and region, erred least on other dates or events.

Without `event` the weights have the least mean absolute error. With it they have the least error / skill, the contests'
figure. A region is a block of the grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skyfold.errors import ConfigError
from skyfold.forecasting.forecast_weights import Event, fit_forecast_weights
from skyfold.forecasting.hindcast import Hindcast
from skyfold.forecasting.past_frames import PastFrames
from skyfold.metrics.forecast import MAE_BY_CSI, MAE_BY_F1
from skyfold.plugins import check_known
from skyfold.types import IntPair


def _just_below(threshold: float) -> float:
    """An `Event` is above its threshold, a metric's at or above it."""
    return float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))


EVENTS = {
    "rain": Event(_just_below(MAE_BY_CSI.threshold), "csi"),
    "ice": Event(_just_below(MAE_BY_F1.threshold), "f1", MAE_BY_F1.counted or (-np.inf, np.inf)),
}
UNITS = {"rain": MAE_BY_CSI.unit.name, "ice": MAE_BY_F1.unit.name}
OPTIONS = ("event", "blocks", "every")
NEEDS_MEMBERS = True


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option or value."""
    check_known(options, OPTIONS, where="forecast options: weighted_blend")
    for name, value in options.items():
        if name == "event":
            if value is not None and (not isinstance(value, str) or value not in EVENTS):
                raise ConfigError(f"forecast options.event: unknown {value!r}. There are: {', '.join(EVENTS)}.")
            continue
        counts = value if name == "blocks" and isinstance(value, list | tuple) else [value]
        if len(counts) != (2 if name == "blocks" else 1) or not all(type(n) is int and n > 0 for n in counts):
            wanted = "two positive whole numbers, rows and columns" if name == "blocks" else "a positive whole number"
            raise ConfigError(f"forecast options.{name}: expected {wanted}, got {value!r}.")


def unit(options: Mapping[str, Any]) -> str | None:
    """Of the frames whose event is named; None: of any."""
    return UNITS.get(str(options.get("event")))


def fit(
    outcomes: Sequence[Hindcast],
    *,
    event: str | None = None,
    blocks: Sequence[int] = (1, 1),
    every: int = 1,
) -> WeightedBlend:
    """event: a name in `EVENTS`; blocks: (rows, columns) of regions; every: one in so many outcomes is learned from.

    ConfigError where there are no members, or more blocks than rows or columns.
    """
    chosen = outcomes[::every]
    if not len(chosen[0].members):
        raise ConfigError("forecasts: weighted_blend blends its members; name some in members.")
    rows, columns = chosen[0].history.shape
    if blocks[0] > rows or blocks[1] > columns:
        raise ConfigError(f"forecast options.blocks: at most {rows} x {columns}, the grid; got {list(blocks)}.")
    members = np.stack([outcome.members for outcome in chosen], axis=1)
    truth = np.stack([_known(outcome) for outcome in chosen])
    regions = block_map(chosen[0].history.shape, (blocks[0], blocks[1]))
    fitted = fit_forecast_weights(
        members, truth, regions, event=EVENTS[event] if event else None, gap=1e-4, max_passes=60
    )
    # Members weigh the same in a region without any truth.
    unknown = np.isnan(fitted.error)[..., None]
    return WeightedBlend(np.where(unknown, 1.0 / len(members), fitted.weights), regions)


@dataclass(frozen=True)
class WeightedBlend:
    """weights: (L, R, M); regions: int (H, W)."""

    weights: np.ndarray
    regions: np.ndarray

    def forecast(self, history: PastFrames, members: np.ndarray) -> np.ndarray:
        """members: float32 (M, H, W, L). Returns float32 (H, W, L)."""
        of_cell = self.weights[:, self.regions].astype(np.float32)  # (L, H, W, M)
        blended = np.einsum("lhwm,mhwl->hwl", of_cell, members)
        # Weights that add up to 1 but for rounding: a mean must not leave the range of what it is a mean of.
        within: np.ndarray = np.clip(blended, members.min(axis=0), members.max(axis=0))
        return within


def block_map(shape: IntPair, blocks: IntPair) -> np.ndarray:
    """int64 (H, W): which of rows x columns blocks, as equal as can be, a cell lies in.

    >>> block_map((2, 4), (1, 2)).tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    row, column = (np.arange(side) * count // side for side, count in zip(shape, blocks, strict=True))
    return row[:, None] * blocks[1] + column[None]


def _known(outcome: Hindcast) -> np.ndarray:
    """float32 (H, W, L): the truth, NaN where flagged."""
    valid = outcome.valid if outcome.valid.ndim == outcome.truth.ndim else outcome.valid[..., None]
    return np.where(valid, outcome.truth, np.float32(np.nan))
