"""Features of a cell and a target frame: its earlier years, the last frames, and the cells around.

Only open cells are described: those near which the same season of the last years had both some ice and less than full
ice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from skyfold.forecasting.past_frames import PastFrames
from skyfold.forecasting.seasons import (
    LONG,
    MIN_YEARS,
    YEARS,
    anomaly,
    damped_anomaly,
    open_cells,
    recent_years,
    season_statistics,
)

DAMPED_YEARS = 20  # at most, for the damped anomaly


@dataclass(frozen=True)
class CellFeatures:
    """cells, leads: (A,) flat index of the cell and index of the lead time; values: float16 (A, F), as `NAMES`;
    members: float32 (A, M), other forecasts of the cell."""

    cells: np.ndarray
    leads: np.ndarray
    values: np.ndarray
    members: np.ndarray

    def of(self, cells: np.ndarray) -> CellFeatures:
        """The features and members of some cells only.

        cells: indices, or bool (A,).
        """
        return CellFeatures(self.cells[cells], self.leads[cells], self.values[cells], self.members[cells])

    def column(self, name: str) -> np.ndarray:
        """One feature, float32 (A,)."""
        return self.columns((name,))[:, 0]

    def columns(self, names: Sequence[str]) -> np.ndarray:
        """Several features, float32 (A, len(names)).

        names: of `NAMES`; ValueError for another one.
        """
        return np.asarray(self.values[:, [NAMES.index(name) for name in names]].astype(np.float32))


def cell_features(history: PastFrames, members: np.ndarray) -> CellFeatures:
    """Features of all open cells and lead times; members: float32 (M, H, W, L).

    DataLayoutError where a target frame has fewer than 3 earlier years.
    """
    parts = []
    for lead in range(history.leads):
        features, is_open = _describe(history, lead)
        cells = np.flatnonzero(is_open)
        values = np.stack([features[name].ravel()[cells] for name in NAMES], axis=1).astype(np.float16)
        parts.append((cells, np.full(len(cells), lead, dtype=np.int16), values))
    cells, leads, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    row, column = np.unravel_index(cells, history.shape)
    return CellFeatures(cells, leads, values, np.ascontiguousarray(members[:, row, column, leads].T))


NAMES = (
    *("year_1", "year_2", "year_3", "mean_3", "mean_5", "mean_10", "mean_long", "median_5", "median_9", "spread"),
    *("min_5", "max_5", "ice_fraction", "trend_10", "trend_long", "damped", "last", "last_anomaly"),
    *("month_before_anomaly", "autumn_anomaly", "year_1_anomaly", "around_mean_5", "around_year_1", "around_trend_10"),
    *("around_last_anomaly", "around_year_1_anomaly", "wide_mean_5", "wide_change", "lead", "row", "column"),
)


def _describe(history: PastFrames, lead: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Each of `NAMES` as (H, W), and which cells are open, bool (H, W)."""
    last = len(history.frames) - 1
    years = recent_years(history, lead, LONG, MIN_YEARS)
    features = season_statistics(years)
    features |= {"mean_3": years[:3].mean(axis=0), "median_9": np.median(years[:9], axis=0)}
    features["ice_fraction"] = 100 * features["ice_fraction"]
    features["last"] = history.frames[last].astype(np.float32)
    for name, frame in (("last", last), ("month_before", last - 1), ("autumn", last - 3)):
        features[f"{name}_anomaly"] = anomaly(history, frame)
    features["damped"] = damped_anomaly(history, years[:DAMPED_YEARS])
    features["year_1_anomaly"] = _season_anomaly(history, lead)
    for name, cells in (("mean_5", 5), ("year_1", 5), ("trend_10", 5), ("last_anomaly", 9), ("year_1_anomaly", 9)):
        features[f"around_{name}"] = ndimage.uniform_filter(features[name], cells)
    features["wide_mean_5"] = ndimage.uniform_filter(features["mean_5"], 15)
    features["wide_change"] = ndimage.uniform_filter(features["year_1"] - features["mean_5"], 15)
    row, column = np.indices(history.shape, dtype=np.float32)
    features |= {"lead": np.full(history.shape, lead, dtype=np.float32), "row": row, "column": column}
    ever_ice = history.frames[-LONG * history.frames_per_year :].max(axis=0) > 0  # land never has any
    return features, open_cells(years) & ever_ice


def _season_anomaly(history: PastFrames, lead: int) -> np.ndarray:
    """Mean of the frames before, in and after the season a year ago, minus that of the years before."""
    last = len(history.frames) - 1
    target = last + int(history.lead_times[lead]) - history.frames_per_year
    near = np.array([target - 1, target, min(target + 1, last)])
    back = history.years_ago(np.arange(min(YEARS, history.years_before(target - 1) + 1)))
    means = np.stack([history.frames[near - years].astype(np.float32).mean(axis=0) for years in back.tolist()])
    return np.asarray(means[0] - means[1:].mean(axis=0))
