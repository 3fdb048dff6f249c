"""Statistics of every out-of-fold map at every searched setting, computed once and stored beside the run.

    threshold_sweep/histogram/      RowStore, a row per sample: pixels of every map above each of the 256 stored values
    threshold_sweep/<rule>_counts/  RowStore: pixels kept at each minimum area and threshold (see `SweptRule`)
    threshold_sweep/statistics/     RowStore: the metric's own statistics at each setting, where counts do not give them

Metrics and rules of pixel counts are swept exactly, all thresholds at once. For any other the rule is applied at every
setting and the metric computes its statistics: slower, in the same bounded memory. A store has the fingerprint of the
predictions, the ground truth and the settings: one of other contents is discarded, an interrupted one is resumed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from skyfold.config.blend import PostprocessConfig
from skyfold.data.cache import fingerprint_of
from skyfold.errors import ConfigError, OofMismatch
from skyfold.files import digest
from skyfold.plugins import source_digest
from skyfold.postprocess.map_arrays import Maps
from skyfold.postprocess.rules import CountedRule, Rule, SweptRule, load_rule
from skyfold.postprocess.threshold_counts import threshold_counts
from skyfold.postprocess.threshold_sweep import ThresholdSweep, stats_of_class
from skyfold.progress import Progress
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.types import CountMetric, Metric, Predictions, Samples

Compute = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]


def threshold_grid(count: int) -> np.ndarray:
    """`count` evenly spaced thresholds; an odd count has 127, probability 0.5, among them.

    >>> threshold_grid(5).tolist()
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
    """Sweep every validated map at every searched setting, read once, chunk by chunk.

    folder: the run's, whose row store `oof` holds the predictions; statistics are stored in its `threshold_sweep`, or
    kept in memory only where it is None. ConfigError where there is no ground truth; OofMismatch where `oof` is not
    what the folder holds.
    """
    if samples.targets is None:
        raise ConfigError("post-processing is fitted on the training part, which has no targets here.")
    stored = "" if folder is None else _fingerprint(folder, oof, samples)

    def open_store(part: str, shape: tuple[int, ...], dtype: str, settings: str) -> RowStore:
        assert folder is not None
        path, fingerprint = folder / "threshold_sweep" / part, digest(stored, settings)
        return RowStore.open_or_create(path, ids=oof.ids, shape=shape, dtype=dtype, fingerprint=fingerprint)

    return sweep_maps(
        Maps(oof.values, samples.targets, samples.valid),
        metric,
        rule=post.rule,
        thresholds=threshold_grid(post.thresholds),
        min_areas=np.array(sorted(set(post.min_areas)), dtype=np.int64),
        rows=np.flatnonzero(folds.fold >= 0),
        open_store=_in_memory(len(oof.ids)) if folder is None else open_store,
    )


class Store(Protocol):
    """Rows to fill: a RowStore, or memory."""

    @property
    def values(self) -> np.ndarray: ...

    @property
    def complete(self) -> np.ndarray: ...

    def write(self, rows: np.ndarray, values: np.ndarray) -> None: ...

    def flush(self) -> None: ...


def sweep_maps(
    maps: Maps,
    metric: Metric,
    *,
    rule: str,
    thresholds: np.ndarray,
    min_areas: np.ndarray,
    rows: np.ndarray | None = None,
    open_store: Callable[[str, tuple[int, ...], str, str], Store] | None = None,
) -> ThresholdSweep:
    """Sweep the `rows` (None: all) of `maps`; thresholds and min_areas as in `ThresholdSweep`.

    open_store: called with the name, row shape, dtype and settings of a part, None: it is kept in memory.
    """
    open_store = open_store or _in_memory(len(maps.prob))
    chosen = load_rule(rule)
    rows = np.arange(len(maps.prob)) if rows is None else rows
    classes, settings = maps.prob.shape[-1], f"{thresholds.tolist()} {min_areas.tolist()}"

    def filled(part: str, shape: tuple[int, ...], dtype: str, made_with: str, compute: Compute) -> np.ndarray:
        store = open_store(part, shape, dtype, made_with)
        missing = rows[~store.complete[rows]]
        if len(missing):
            with Progress(f"threshold sweep, {part.replace('_', ' ')}", len(missing)) as progress:
                for chunk, prob, target, valid in maps.chunks(missing):
                    store.write(chunk, compute(prob, target, valid))
                    progress.advance(len(chunk))
            store.flush()
        return store.values if len(rows) == len(maps.prob) else store.values[rows]

    histogram = filled("histogram", (classes, 2, 256), "int32", "", threshold_counts)
    swept = statistics = None
    if not (isinstance(metric, CountMetric) and isinstance(chosen, CountedRule)):
        one = np.zeros((1, *maps.prob.shape[1:3], 1), dtype=bool)
        shape = (classes, len(min_areas) * len(thresholds) + 1, metric.stats(target=one, pred=one).shape[1])
        file = getattr(inspect.getmodule(type(metric)), "__file__", None)  # None: defined in a notebook
        source = Path(file).read_bytes() if file else b""
        made_with = digest(settings, repr(metric), source, rule, source_digest("postprocess.rules", rule))
        compute = partial(_statistics, metric, chosen, thresholds, min_areas)
        statistics = filled("statistics", shape, "float64", made_with, compute)
    elif isinstance(chosen, SweptRule) and chosen.needs_sweep(min_areas):
        compute = partial(chosen.sweep, thresholds=thresholds, min_areas=min_areas)
        swept = filled(f"{rule}_counts", (classes, 2, len(min_areas), len(thresholds)), "int32", settings, compute)
    return ThresholdSweep(rows, metric, rule, thresholds, min_areas, histogram, swept, statistics, maps)


def _statistics(
    metric: Metric,
    rule: Rule,
    thresholds: np.ndarray,
    min_areas: np.ndarray,
    prob: np.ndarray,
    target: np.ndarray,
    valid: np.ndarray | None,
) -> np.ndarray:
    """float64 (n, K, M * T + 1, S) by applying the rule at every setting, as in `ThresholdSweep.statistics`."""
    of_classes = []
    for k in range(prob.shape[-1]):
        one = prob[..., k : k + 1]
        masks = (rule.apply(one, [threshold], [area], valid) for area in min_areas for threshold in thresholds)
        settings = [stats_of_class(metric, k, target, mask, valid) for mask in masks]
        emptied = stats_of_class(metric, k, target, np.zeros(one.shape, dtype=bool), valid)
        of_classes.append(np.stack([*settings, emptied], axis=1))
    return np.stack(of_classes, axis=1)


def _in_memory(count: int) -> Callable[[str, tuple[int, ...], str, str], Store]:
    return lambda part, shape, dtype, settings: _Memory(np.empty((count, *shape), dtype))


@dataclass(frozen=True)
class _Memory:
    values: np.ndarray

    @property
    def complete(self) -> np.ndarray:
        return np.zeros(len(self.values), dtype=bool)

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        self.values[rows] = values

    def flush(self) -> None:
        """Nothing to write."""


def _fingerprint(folder: Path, oof: Predictions, samples: Samples) -> str:
    stored = RowStore.open(folder / "oof")
    if getattr(stored.values, "filename", "") != getattr(oof.values, "filename", None):
        raise OofMismatch(
            f"{folder}: its stored predictions are not those that are measured; measure them without a folder."
        )
    return digest(stored.checksum(), fingerprint_of(samples.targets), fingerprint_of(samples.valid))
