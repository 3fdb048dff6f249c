"""What any choice of post-processing would count on every out-of-fold map: measured once, and kept beside the run.

    surfaces/levels/       RowStore, a row a sample: pixels above each of the 256 stored values
    surfaces/components/   RowStore: pixels kept at each minimum area and level of the search (rule "component")

A store is stamped with the contents of the predictions and of the truth, and with its lattice. One of other contents is
begun afresh; one that was broken off goes on where it was. Folds, cross-fitting, bootstrap and a second blend read it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from skyfold.config.blend import PostprocessConfig
from skyfold.data.cache import fingerprint_of
from skyfold.errors import ConfigError, OofMismatch
from skyfold.files import digest
from skyfold.postprocess.component_counts import component_counts
from skyfold.postprocess.level_counts import level_counts
from skyfold.postprocess.map_counts import MapCounts, dropping_areas
from skyfold.postprocess.presence_stack import features_of_counts
from skyfold.postprocess.selection import HALF, Objective, Selection, map_scores, row_stats
from skyfold.progress import Progress
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore, release_pages
from skyfold.types import Metric, Predictions, Samples

CHUNK_PIXELS = 32 << 20
SEARCHED = ("mean_dice", "mean_iou", "global_dice", "global_iou")
Count = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]


@dataclass(frozen=True)
class ThresholdSweep:
    """Counts of the rows (n,) that a fold validated, and the metric they are for."""

    rows: np.ndarray
    counts: MapCounts
    metric: Metric

    @property
    def levels(self) -> np.ndarray:
        return self.counts.levels

    @property
    def min_areas(self) -> np.ndarray:
        return self.counts.min_areas

    @property
    def objective(self) -> Objective:
        return cast(Objective, self.metric.name)

    @property
    def empty(self) -> np.ndarray:
        """Whether the truth is, and so an emptied map scores 1: bool (n, K)."""
        return self.counts.empty

    def presence_features(self, gate_prob: np.ndarray) -> np.ndarray:
        """What the presence model goes by, float32 (n, K, F). gate_prob: (n, K), the classifier's, of these rows."""
        return features_of_counts(self.counts.by_level[:, :, 1], gate_prob)

    @property
    def at_half_stats(self) -> np.ndarray:
        """Counts at level 127 and no minimum area, float64 (n, 3K), as the metric takes them."""
        classes = self.counts.classes
        alone = MapCounts("total", np.array([HALF]), np.array([0]), self.counts.by_level)
        return row_stats(Selection((HALF,) * classes, (0,) * classes, rule="total"), alone)

    @property
    def at_half(self) -> np.ndarray:
        """Score of each map at level 127, float64 (n, K); see `map_scores`."""
        return map_scores(self.at_half_stats, self.objective)


def threshold_grid(count: int) -> np.ndarray:
    """`count` evenly spaced threshold levels; an odd count has 127, probability 0.5, among them.

    >>> lattice(5).tolist()
    [25, 76, 127, 178, 229]
    """
    return np.round(255 * (np.arange(count) + 0.5) / count - 0.5).astype(np.int64)


def measure(
    oof: Predictions,
    samples: Samples,
    folds: Folds,
    metric: Metric,
    post: PostprocessConfig,
    *,
    folder: Path | None = None,
) -> ThresholdSweep:
    """Counts of every validated map at every searched setting, read once, chunk by chunk.

    folder: the run's, whose row store `oof` holds the predictions; counts are kept in its `surfaces`. None: they are
    kept nowhere. ConfigError for a metric that is not made of pixel counts per map; OofMismatch where `oof` is not
    what the folder holds.
    """
    if metric.name not in SEARCHED:
        raise ConfigError(f"post-processing is searched for the metrics {', '.join(SEARCHED)}, not '{metric.name}'.")
    if samples.targets is None:
        raise ConfigError("post-processing is fitted on the training part, which has no targets here.")
    levels, areas = threshold_grid(post.thresholds), np.array(sorted(set(post.min_areas)), dtype=np.int64)
    dropping = dropping_areas(post.rule, areas)
    rows = np.flatnonzero(folds.fold >= 0)
    classes = oof.values.shape[-1]
    of_pixels = "" if folder is None else _fingerprint(folder, oof, samples)

    def counted(part: str, shape: tuple[int, ...], count: Count, fingerprint: str, label: str) -> np.ndarray:
        if folder is None:
            store: _Unkept | RowStore = _Unkept(np.empty((len(oof.ids), *shape), np.int32))
        else:
            store = RowStore.open_or_create(
                folder / "surfaces" / part,
                ids=oof.ids,
                shape=shape,
                dtype="int32",
                fingerprint=digest(of_pixels, fingerprint),
            )
        _fill(store, rows, oof, samples, count, label)
        return store.values if len(rows) == len(oof.ids) else store.values[rows]

    by_level = counted("levels", (classes, 2, 256), level_counts, "", "counting pixels above each level")
    by_area = None
    if len(dropping):

        def count(prob: np.ndarray, target: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
            return component_counts(prob, target, valid, levels=levels, min_areas=dropping)

        shape = (classes, 2, len(dropping), len(levels))
        on = f"{levels.tolist()} {dropping.tolist()}"
        by_area = counted("components", shape, count, on, "scoring thresholds and areas")
    return ThresholdSweep(rows, MapCounts(post.rule, levels, areas, by_level, by_area), metric)


@dataclass(frozen=True)
class _Unkept:
    """Counts in memory alone, filled as a RowStore is."""

    values: np.ndarray

    @property
    def complete(self) -> np.ndarray:
        return np.zeros(len(self.values), dtype=bool)

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        self.values[rows] = values

    def flush(self) -> None:
        """Nothing is kept."""


def _fingerprint(folder: Path, oof: Predictions, samples: Samples) -> str:
    stored = RowStore.open(folder / "oof")
    if getattr(stored.values, "filename", "") != getattr(oof.values, "filename", None):
        raise OofMismatch(
            f"{folder}: its stored predictions are not those that are measured; measure them without a folder."
        )
    return digest(stored.checksum(), fingerprint_of(samples.targets), fingerprint_of(samples.valid))


def _fill(
    store: RowStore | _Unkept, rows: np.ndarray, oof: Predictions, samples: Samples, count: Count, label: str
) -> None:
    """Count the `rows` that are not done. Rows of the store that do not belong to any fold are left alone."""
    assert samples.targets is not None
    missing = rows[~store.complete[rows]]
    size = max(1, CHUNK_PIXELS // max(1, int(np.prod(oof.values.shape[1:]))))
    if not len(missing):
        return
    with Progress(label, len(missing)) as progress:
        for start in range(0, len(missing), size):
            chunk = missing[start : start + size]
            target = np.stack([samples.targets[i].astype(bool) for i in chunk])
            valid = None if samples.valid is None else np.stack([samples.valid[i] for i in chunk])
            store.write(chunk, count(np.asarray(oof.values[chunk]), target, valid))
            release_pages(oof.values)
            progress.advance(len(chunk))
    store.flush()
