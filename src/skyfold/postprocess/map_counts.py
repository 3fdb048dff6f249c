"""What every map of a set counts under every setting of a rule, so that any choice is scored without its pixels.

A rule turns probabilities into masks, by settings that each class has of its own:

"component"   prob > level; 8-connected components of fewer than `min_area` pixels are dropped
"total"       prob > level; a mask of fewer than `min_area` pixels is emptied
"triplet"     prob > level, emptied where fewer than `min_area` pixels are above a second, higher level, the top
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from skyfold.postprocess.component_counts import component_counts
from skyfold.postprocess.level_counts import level_counts
from skyfold.postprocess.map_arrays import check_lattice

Rule = Literal["component", "total", "triplet"]


@dataclass(frozen=True)
class MapCounts:
    """Pixel counts of n maps x K classes; the arrays may be memory-mapped and are read a class at a time.

    levels      (T,) ascending in 0..254; min_areas (M,) ascending, pixels
    by_level    int32 (n, K, 2, 256) as from `level_counts`
    by_area     int32 (n, K, 2, A, T) as from `component_counts` of the `dropping_areas`; None where there are none
    """

    rule: Rule
    levels: np.ndarray
    min_areas: np.ndarray
    by_level: np.ndarray
    by_area: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_lattice(self.levels, 0, 254, "levels")
        check_lattice(self.min_areas, 0, 2**31 - 1, "min_areas")
        expected = (*self.by_level.shape[:3], len(dropping_areas(self.rule, self.min_areas)), len(self.levels))
        if self.by_level.ndim != 4 or self.by_level.shape[2:] != (2, 256):
            raise ValueError(f"by_level: expected (n, K, 2, 256), got {self.by_level.shape}")
        if (self.by_area is None) != (expected[3] == 0) or (
            self.by_area is not None and self.by_area.shape != expected
        ):
            raise ValueError(
                f"by_area: expected {expected}, got {None if self.by_area is None else self.by_area.shape}"
            )

    def __len__(self) -> int:
        return len(self.by_level)

    @property
    def classes(self) -> int:
        return int(self.by_level.shape[1])

    @property
    def truth(self) -> np.ndarray:
        """Pixels of the truth, int64 (n, K)."""
        return self.by_level[:, :, 0, 0].astype(np.int64)

    @property
    def empty(self) -> np.ndarray:
        """Where the truth has no pixel, and so an emptied map is right: bool (n, K)."""
        return np.asarray(self.by_level[:, :, 0, 0] == 0)

    @property
    def top_thresholds(self) -> int:
        """How many top levels there are to choose from: T under the triplet rule, else 1, which says nothing."""
        return len(self.levels) if self.rule == "triplet" else 1

    def of_masks(self, rows: np.ndarray, k: int, m: int) -> np.ndarray:
        """int32 (len(rows), 2, T): pixels of the masks in the truth, and in all, with min_areas[m] at every level.

        Under the triplet rule before any mask is emptied (see `kept`).
        """
        dropping = dropping_areas(self.rule, self.min_areas)
        if self.rule == "component" and self.min_areas[m] in dropping:
            assert self.by_area is not None
            counts: np.ndarray = self.by_area[rows, k, :, int(np.searchsorted(dropping, self.min_areas[m]))]
            return counts
        counts = self.by_level[rows, k][:, :, self.levels + 1]
        if self.rule == "total":
            counts *= counts[:, 1:] >= self.min_areas[m]
        return counts

    def kept(self, rows: np.ndarray, k: int, m: int) -> np.ndarray:
        """bool (len(rows), tops): whether the mask stays, with at least min_areas[m] pixels above the top level."""
        if self.rule != "triplet":
            return np.ones((len(rows), 1), dtype=np.bool_)
        return np.asarray(self.by_level[rows, k, 1][:, self.levels + 1] >= self.min_areas[m])


def count_maps(
    prob: np.ndarray,
    target: np.ndarray,
    valid: np.ndarray | None = None,
    *,
    rule: Rule,
    levels: np.ndarray,
    min_areas: np.ndarray,
    workers: int | None = None,
) -> MapCounts:
    """Count maps that fit in memory. Arrays as for `level_counts`, levels and min_areas as in `MapCounts`."""
    dropping = dropping_areas(rule, min_areas)
    by_area = None
    if len(dropping):
        by_area = component_counts(prob, target, valid, levels=levels, min_areas=dropping, workers=workers)
    by_level = level_counts(prob, target, valid, workers=workers)
    return MapCounts(rule, np.asarray(levels), np.asarray(min_areas), by_level, by_area)


def dropping_areas(rule: Rule, min_areas: np.ndarray) -> np.ndarray:
    """The minimum areas for which components have to be known: those above one pixel, which every component has."""
    areas = np.asarray(min_areas)
    return areas[areas > 1] if rule == "component" else areas[:0]
