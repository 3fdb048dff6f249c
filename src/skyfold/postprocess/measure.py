"""Measure every out-of-fold map at every searched setting, once, and store the statistics beside the run.

    threshold_sweep/histogram/      RowStore, a row per sample: pixels of every map above each of the 256 stored values
    threshold_sweep/<rule>_counts/  RowStore: pixels kept at each minimum area and threshold (`sweep` of a rule)
    threshold_sweep/confusion/      RowStore: pixels of each true class by predicted class, once they were asked for
    threshold_sweep/statistics/     RowStore: the metric's own statistics at each setting, where counts do not give them

Metrics and rules of pixel counts are swept exactly, all thresholds at once. For any other the rule is applied at every
setting and the metric computes its statistics: slower, in the same bounded memory. A store has the fingerprint of the
predictions, the ground truth and the settings: one of other contents is discarded, an interrupted one is resumed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np

from skyfold import plugins
from skyfold.config.blend import PostprocessConfig
from skyfold.data.cache import fingerprint_of
from skyfold.errors import ConfigError, OofMismatch
from skyfold.files import digest
from skyfold.metrics.score_submission import slices_of_volumes
from skyfold.postprocess.confusion import confusion_counts
from skyfold.postprocess.rules import CountedRule, SweptRule, load_rule
from skyfold.postprocess.selection import ruled_masks
from skyfold.postprocess.threshold_counts import threshold_counts
from skyfold.postprocess.threshold_sweep import Maps, ThresholdSweep, of_class
from skyfold.progress import Progress
from skyfold.store.folds import Folds
from skyfold.store.locks import waited_for
from skyfold.store.rows import CheckedRows, RowStore, row_shape
from skyfold.types import CountMetric, Metric, Predictions, Samples, VolumeMetric

Compute = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]
OpenStore = Callable[[str, tuple[int, ...], str, str], RowStore]


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
    open_store = None
    if folder is not None:
        open_store = partial(_open_store, folder, oof.ids, _fingerprint(folder, oof, samples))
    # Another blend of the same run may count now.
    with waited_for(folder / "threshold_sweep.lock") if folder else nullcontext():
        return sweep_maps(
            Maps(oof.values, samples.targets, samples.valid, _volumes(metric, oof.ids)),
            metric,
            rule=post.rule,
            thresholds=threshold_grid(post.thresholds),
            min_areas=np.array(sorted(set(post.min_areas)), dtype=np.int64),
            rows=np.flatnonzero(folds.fold >= 0),
            open_store=open_store,
        )


def measure_confusion(folder: Path, samples: Samples) -> np.ndarray:
    """`confusion_counts` of every out-of-fold row of the run or blend in `folder`, int32 (n, K, K), counted once.

    samples: those of its rows, whose classes exclude each other. OofMismatch where they are not.
    """
    store = RowStore.open(folder / "oof")
    if not np.array_equal(store.ids, samples.ids):
        raise OofMismatch(f"{folder}: its predictions are of other samples than the data hold now.")
    maps, rows = Maps(cast(np.ndarray, store.checked), samples.targets, samples.valid), np.flatnonzero(store.complete)
    classes = store.values.shape[-1]
    parts = {"confusion": _Part((classes, classes), "int32", "", confusion_counts)}
    open_store = partial(_open_store, folder, store.ids, _made_of(store, samples))
    with waited_for(folder / "threshold_sweep.lock"):
        return _filled(maps, rows, parts, open_store, "confusion matrix")["confusion"]


def sweep_maps(
    maps: Maps,
    metric: Metric,
    *,
    rule: str,
    thresholds: np.ndarray,
    min_areas: np.ndarray,
    rows: np.ndarray | None = None,
    open_store: OpenStore | None = None,
    label: str = "threshold sweep",
) -> ThresholdSweep:
    """Sweep the `rows` (None: all) of `maps`; thresholds and min_areas as in `ThresholdSweep`.

    label: of the progress; open_store: called with the name, row shape, dtype and settings of a part, None: it is kept
    in memory.
    """
    chosen = load_rule(rule)
    rows = np.arange(len(maps.prob)) if rows is None else rows
    classes, settings = maps.prob.shape[-1], f"{thresholds.tolist()} {min_areas.tolist()}"

    def statistics_of(prob: np.ndarray, target: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
        """float64 (n, K, M * T + 1, S) by applying the rule at every setting, as in `ThresholdSweep.statistics`."""
        of_classes = []
        for k in range(classes):
            one = prob[..., k : k + 1]
            masks = (ruled_masks(chosen, one, [t], [area], valid) for area in min_areas for t in thresholds)
            settings_and_emptied = chain(masks, [np.zeros(one.shape, dtype=bool)])
            found = [of_class(metric, k, target, mask, valid) for mask in settings_and_emptied]
            of_classes.append(np.stack(found, axis=1))
        return np.stack(of_classes, axis=1)

    parts = {"histogram": _Part((classes, 2, 256), "int32", "", threshold_counts)}
    swept = f"{rule}_counts"
    if not (isinstance(metric, CountMetric) and isinstance(chosen, CountedRule)):
        one = np.zeros((1, *row_shape(maps.prob, 0)[:2], 1), dtype=bool)
        shape = (classes, len(min_areas) * len(thresholds) + 1, metric.stats(target=one, pred=one).shape[1])
        file = getattr(inspect.getmodule(type(metric)), "__file__", None)  # None: defined in a notebook
        source = Path(file).read_bytes() if file else b""
        made_with = digest(settings, repr(metric), source, rule, plugins.source_digest("postprocess.rules", rule))
        parts["statistics"] = _Part(shape, "float64", made_with, statistics_of)
    elif isinstance(chosen, SweptRule) and min_areas[-1] > 1:
        compute = partial(chosen.sweep, thresholds=thresholds, min_areas=min_areas)
        settings += plugins.outside_digest("postprocess.rules", rule)
        parts[swept] = _Part((classes, 2, len(min_areas), len(thresholds)), "int32", settings, compute)
    values = _filled(maps, rows, parts, open_store, label)
    return ThresholdSweep(
        *(rows, metric, rule, thresholds, min_areas, values["histogram"]),
        swept=values.get(swept),
        statistics=values.get("statistics"),
        maps=maps,
    )


@dataclass(frozen=True)
class _Part:
    """Rows of a sweep: shape and dtype of one, the settings it depends on, and what computes those of a chunk."""

    shape: tuple[int, ...]
    dtype: str
    settings: str
    compute: Compute


def _filled(
    maps: Maps,
    rows: np.ndarray,
    parts: dict[str, _Part],
    open_store: OpenStore | None,
    label: str,
) -> dict[str, np.ndarray]:
    """The values of each part at `rows`; maps are read once for all parts that lack some."""
    stores: dict[str, RowStore] = {}
    if open_store is not None:
        stores = {name: open_store(name, part.shape, part.dtype, part.settings) for name, part in parts.items()}
    values = {name: np.empty((len(maps.prob), *part.shape), part.dtype) for name, part in parts.items() if not stores}
    values |= {name: store.values for name, store in stores.items()}
    lacking = {name: np.isin(np.arange(len(maps.prob)), rows) for name in parts}
    for name, store in stores.items():
        lacking[name] &= ~store.complete
    missing = rows[np.any([lacks[rows] for lacks in lacking.values()], axis=0)]
    with Progress(label, len(missing)) as progress:
        for chunk, prob, target, valid in maps.chunks(missing):
            for name, part in parts.items():
                own = lacking[name][chunk]
                if not own.any():
                    continue
                arrays = (prob, target, valid)
                if not own.all():
                    arrays = (prob[own], target[own], None if valid is None else valid[own])
                if name in stores:
                    stores[name].write(chunk[own], part.compute(*arrays))
                else:
                    values[name][chunk[own]] = part.compute(*arrays)
            progress.advance(len(chunk))
    if len(missing):
        for store in stores.values():
            store.flush()
    return values if len(rows) == len(maps.prob) else {name: array[rows] for name, array in values.items()}


def _volumes(metric: Metric, ids: np.ndarray) -> list[list[int]] | None:
    return slices_of_volumes(metric, ids) if isinstance(metric, VolumeMetric) else None


def _open_store(
    folder: Path, ids: np.ndarray, stored: str, part: str, shape: tuple[int, ...], dtype: str, settings: str
) -> RowStore:
    path, fingerprint = folder / "threshold_sweep" / part, digest(stored, settings)
    return RowStore.open_or_create(path, ids=ids, shape=shape, dtype=dtype, fingerprint=fingerprint)


def _fingerprint(folder: Path, oof: Predictions, samples: Samples) -> str:
    stored = RowStore.open(folder / "oof")
    if not isinstance(oof.values, CheckedRows) or oof.values.store.folder != stored.folder:
        raise OofMismatch(
            f"{folder}: its stored predictions are not those that are measured; measure them without a folder."
        )
    return _made_of(stored, samples)


def _made_of(stored: RowStore, samples: Samples) -> str:
    return digest(stored.checksum(), fingerprint_of(samples.targets), fingerprint_of(samples.valid))
