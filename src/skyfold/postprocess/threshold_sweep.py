"""Statistics of every out-of-fold map at every searched setting, computed once and stored beside the run.

    threshold_sweep/histogram/      RowStore, a row per sample: pixels of every map above each of the 256 stored values
    threshold_sweep/<rule>_counts/  RowStore: pixels kept at each minimum area and threshold (`sweep` of a rule)
    threshold_sweep/statistics/     RowStore: the metric's own statistics at each setting, where counts do not give them

Metrics and rules of pixel counts are swept exactly, all thresholds at once. For any other the rule is applied at every
setting and the metric computes its statistics: slower, in the same bounded memory. A store has the fingerprint of the
predictions, the ground truth and the settings: one of other contents is discarded, an interrupted one is resumed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from skyfold.config.blend import PostprocessConfig
from skyfold.data.cache import fingerprint_of
from skyfold.errors import ConfigError, OofMismatch
from skyfold.files import digest
from skyfold.plugins import source_digest
from skyfold.postprocess.rules import CountedRule, SweptRule, TopRule, load_rule
from skyfold.postprocess.selection import HALF, Selection, passes
from skyfold.postprocess.threshold_counts import threshold_counts
from skyfold.progress import Progress
from skyfold.store.folds import Folds
from skyfold.store.locks import waited_for
from skyfold.store.rows import CheckedRows, RowStore, release_pages
from skyfold.types import ArraySequence, CountMetric, Metric, Predictions, RowMetric, Samples

CHUNK_PIXELS = 32 << 20
Compute = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]


@dataclass(frozen=True)
class Maps:
    """Probability maps of N samples and their ground truth.

    prob: uint8 (N, H, W, K), often memory-mapped; targets[i]: (H, W, K), None: empty; valid[i]: bool (H, W), pixels
    that count, None: all.
    """

    prob: np.ndarray
    targets: ArraySequence | None = None
    valid: ArraySequence | None = None

    def chunks(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]]:
        """Yield (rows of the chunk, prob, target, valid), stacked, until all `rows` were read.

        Memory maps are released after each chunk.
        """
        size = max(1, CHUNK_PIXELS // max(1, int(np.prod(self.prob.shape[1:]))))
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            prob = np.asarray(self.prob[chunk])
            if self.targets is None:
                target = np.zeros(prob.shape, dtype=bool)
            else:
                target = np.stack([self.targets[i].astype(bool) for i in chunk])
            yield chunk, prob, target, None if self.valid is None else np.stack([self.valid[i] for i in chunk])
            release_pages(self.prob)


@dataclass(frozen=True)
class ThresholdSweep:
    """Statistics of n maps x K classes at every setting of a rule; arrays may be memory-mapped.

    rows        int64 (n,), the samples of `maps` that were measured
    rule        name of the rule
    thresholds  (T,) ascending in 0..254; min_areas: (M,) ascending, pixels
    histogram   int32 (n, K, 2, 256), see `threshold_counts`
    swept       int32 (n, K, 2, M, T) of a rule whose counts need a sweep, else None
    statistics  float64 (n, K, M * T + 1, S) of one class, the last of the emptied mask; None where counts give them
    maps        where pixels are read again, for metrics that are no function of counts
    """

    rows: np.ndarray
    metric: Metric
    rule: str
    thresholds: np.ndarray
    min_areas: np.ndarray
    histogram: np.ndarray
    swept: np.ndarray | None = None
    statistics: np.ndarray | None = None
    maps: Maps | None = None

    def __len__(self) -> int:
        return len(self.histogram)

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return int(self.histogram.shape[1])

    @property
    def empty(self) -> np.ndarray:
        """Where the truth has no pixel: bool (n, K)."""
        return np.asarray(self.histogram[:, :, 0, 0] == 0)

    @property
    def has_top(self) -> bool:
        """Whether the rule has top thresholds to choose."""
        return isinstance(load_rule(self.rule), TopRule)

    def scores(self, rows: np.ndarray, k: int, m: int) -> np.ndarray:
        """Score of each mask of class k with min_areas[m] by itself, float64 (len(rows), T); of a `RowMetric`.

        Of a rule with top thresholds before any mask is emptied (see `kept`).
        """
        assert isinstance(self.metric, RowMetric)
        stats = self.stats(rows, k, m)
        if isinstance(self.metric, CountMetric):
            return self.metric.of_counts(*stats.swapaxes(0, 1))
        return self.metric.per_row(stats.swapaxes(1, 2).reshape(-1, stats.shape[1])).reshape(len(stats), -1)

    def stats(self, rows: np.ndarray, k: int, m: int) -> np.ndarray:
        """The metric's statistics of class k only, float64 (len(rows), S, T), as for `scores`."""
        count = len(self.thresholds)
        if self.statistics is not None:
            return np.asarray(self.statistics[rows, k, m * count : (m + 1) * count].swapaxes(1, 2))
        stats = np.empty((len(rows), 3, count))
        if self.swept is not None:
            stats[:, :2] = self.swept[rows, k, :, m]
        else:
            rule = load_rule(self.rule)
            assert isinstance(rule, CountedRule)
            stats[:, :2] = rule.counts(self.histogram[rows, k], self.thresholds, self.min_areas[m])
        stats[:, 2] = self.histogram[rows, k, 0, :1]
        return stats

    def emptied(self, rows: np.ndarray, k: int) -> np.ndarray:
        """Statistics of the emptied masks of class k, float64 (len(rows), S)."""
        if self.statistics is not None:
            return np.asarray(self.statistics[rows, k, -1])
        return self.histogram[rows, k, 0, :1] * np.array([0.0, 0.0, 1.0])

    def kept(self, rows: np.ndarray, k: int, m: int) -> np.ndarray:
        """bool (P, len(rows)): whether a mask stays with min_areas[m] at each top threshold; P = 1 without any."""
        if not self.has_top:
            return np.ones((1, len(rows)), dtype=np.bool_)
        above = self.histogram[rows, k, 1][:, self.thresholds + 1]
        rule = load_rule(self.rule)
        assert isinstance(rule, TopRule)
        return np.ascontiguousarray(rule.keeps(above, self.min_areas[m]).T)

    def evaluate(
        self, selection: Selection, gate_prob: np.ndarray | None = None, *, rows: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Statistics (n, S) of the masks that `selection` makes, and the score of each map by itself (n, K).

        gate_prob: (len(self), K), needed where the selection has a gate; rows: positions, None: all.
        """
        rows = np.arange(len(self)) if rows is None else rows
        if selection.gate_thresholds is not None and gate_prob is None:
            raise OofMismatch("the selection has a gate: give the classifier's probabilities too.")
        if gate_prob is not None:
            self.check_gate(gate_prob, rows)
            gate_prob = gate_prob[rows]
        if not isinstance(self.metric, CountMetric):
            return self._of_pixels(selection, gate_prob, rows)
        stats = np.empty((len(rows), self.classes, 3))
        for k in range(self.classes):
            m = _position(selection.min_areas[k], self.min_areas)
            t = _position(selection.thresholds[k], self.thresholds)
            top = 0 if selection.top_thresholds is None else _position(selection.top_thresholds[k], self.thresholds)
            stats[:, k] = self.stats(rows, k, m)[:, :, t]
            stats[~self.kept(rows, k, m)[top], k, :2] = 0
        if selection.gate_thresholds is not None and gate_prob is not None:
            stats[~passes(gate_prob, selection.gate_thresholds), :2] = 0
        return _of_counts(self.metric, stats)

    def check_gate(self, gate_prob: np.ndarray, rows: np.ndarray) -> None:
        """OofMismatch unless gate_prob is (n, K), in 0..1 on `rows` (positions)."""
        expected = (len(self), self.classes)
        if gate_prob.shape != expected or not ((gate_prob[rows] >= 0) & (gate_prob[rows] <= 1)).all():
            raise OofMismatch(
                f"the classifier's probabilities: expected {expected} in 0..1 without NaN, got {gate_prob.shape}. "
                "Train it on the same folds and samples as the masks."
            )

    def at_half(self) -> tuple[np.ndarray, np.ndarray]:
        """As `evaluate`, of masks at probability 0.5 that no rule changes."""
        if isinstance(self.metric, CountMetric):
            at_half = self.histogram[..., HALF + 1]
            return _of_counts(self.metric, np.append(at_half, self.histogram[:, :, 0, :1], axis=2).astype(np.float64))
        return self.evaluate(Selection((HALF,) * self.classes, (0,) * self.classes, rule="total"))

    def all_empty(self) -> np.ndarray:
        """Score of each emptied map by itself, float64 (n, K)."""
        every = np.arange(len(self))
        return np.stack([row_scores(self.metric, self.emptied(every, k)) for k in range(self.classes)], axis=1)

    def _of_pixels(
        self, selection: Selection, gate_prob: np.ndarray | None, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        assert self.maps is not None
        stats, scores, done = [], [], 0
        for chunk, prob, target, valid in self.maps.chunks(self.rows[rows]):
            gate = None if gate_prob is None else gate_prob[done : done + len(chunk)]
            masks = selection.apply(prob, gate, valid=valid)
            done += len(chunk)
            stats.append(self.metric.stats(target=target, pred=masks, valid=valid))
            of_classes = (_of_class(self.metric, k, target, masks[..., k : k + 1], valid) for k in range(self.classes))
            scores.append(np.stack([row_scores(self.metric, one) for one in of_classes], axis=1))
        return np.concatenate(stats), np.concatenate(scores)


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
            Maps(oof.values, samples.targets, samples.valid),
            metric,
            rule=post.rule,
            thresholds=threshold_grid(post.thresholds),
            min_areas=np.array(sorted(set(post.min_areas)), dtype=np.int64),
            rows=np.flatnonzero(folds.fold >= 0),
            open_store=open_store,
        )


def sweep_maps(
    maps: Maps,
    metric: Metric,
    *,
    rule: str,
    thresholds: np.ndarray,
    min_areas: np.ndarray,
    rows: np.ndarray | None = None,
    open_store: Callable[[str, tuple[int, ...], str, str], RowStore] | None = None,
) -> ThresholdSweep:
    """Sweep the `rows` (None: all) of `maps`; thresholds and min_areas as in `ThresholdSweep`.

    open_store: called with the name, row shape, dtype and settings of a part, None: it is kept in memory.
    """
    chosen = load_rule(rule)
    rows = np.arange(len(maps.prob)) if rows is None else rows
    classes, settings = maps.prob.shape[-1], f"{thresholds.tolist()} {min_areas.tolist()}"

    def filled(part: str, shape: tuple[int, ...], dtype: str, made_with: str, compute: Compute) -> np.ndarray:
        store = None if open_store is None else open_store(part, shape, dtype, made_with)
        values = np.empty((len(maps.prob), *shape), dtype) if store is None else store.values
        missing = rows if store is None else rows[~store.complete[rows]]
        with Progress(f"threshold sweep, {part.replace('_', ' ')}", len(missing)) as progress:
            for chunk, prob, target, valid in maps.chunks(missing):
                computed = compute(prob, target, valid)
                if store is None:
                    values[chunk] = computed
                else:
                    store.write(chunk, computed)
                progress.advance(len(chunk))
        if store is not None and len(missing):
            store.flush()
        return values if len(rows) == len(maps.prob) else values[rows]

    def statistics_of(prob: np.ndarray, target: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
        """float64 (n, K, M * T + 1, S) by applying the rule at every setting, as in `ThresholdSweep.statistics`."""
        of_classes = []
        for k in range(classes):
            one = prob[..., k : k + 1]
            masks = (chosen.apply(one, [threshold], [area], valid) for area in min_areas for threshold in thresholds)
            settings_and_emptied = chain(masks, [np.zeros(one.shape, dtype=bool)])
            found = [_of_class(metric, k, target, mask, valid) for mask in settings_and_emptied]
            of_classes.append(np.stack(found, axis=1))
        return np.stack(of_classes, axis=1)

    histogram = filled("histogram", (classes, 2, 256), "int32", "", threshold_counts)
    swept = statistics = None
    if not (isinstance(metric, CountMetric) and isinstance(chosen, CountedRule)):
        one = np.zeros((1, *maps.prob.shape[1:3], 1), dtype=bool)
        shape = (classes, len(min_areas) * len(thresholds) + 1, metric.stats(target=one, pred=one).shape[1])
        file = getattr(inspect.getmodule(type(metric)), "__file__", None)  # None: defined in a notebook
        source = Path(file).read_bytes() if file else b""
        made_with = digest(settings, repr(metric), source, rule, source_digest("postprocess.rules", rule))
        statistics = filled("statistics", shape, "float64", made_with, statistics_of)
    elif isinstance(chosen, SweptRule) and min_areas[-1] > 1:
        compute = partial(chosen.sweep, thresholds=thresholds, min_areas=min_areas)
        swept = filled(f"{rule}_counts", (classes, 2, len(min_areas), len(thresholds)), "int32", settings, compute)
    return ThresholdSweep(rows, metric, rule, thresholds, min_areas, histogram, swept, statistics, maps)


def row_scores(metric: Metric, stats: np.ndarray) -> np.ndarray:
    """Score of each row of `stats` (n, S) by itself, float64 (n,)."""
    if isinstance(metric, RowMetric):
        return metric.per_row(stats)
    return np.array([metric.score(stats[i : i + 1]) for i in range(len(stats))], dtype=np.float64)


def _of_class(metric: Metric, k: int, target: np.ndarray, masks: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Statistics of class k only: target bool (n, H, W, K), masks bool (n, H, W, 1)."""
    return metric.stats(target=target[..., k : k + 1], pred=masks, valid=valid)


def _of_counts(metric: CountMetric, stats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """stats (n, K, 3) as one row per sample, (n, 3K), and the score of each map."""
    return stats.swapaxes(1, 2).reshape(len(stats), -1), metric.of_counts(*np.moveaxis(stats, 2, 0))


def _position(value: int, grid: np.ndarray) -> int:
    position = int(np.searchsorted(grid, value))
    if position == len(grid) or grid[position] != value:
        raise ValueError(f"{value} is not among the searched values {grid.tolist()}")
    return position


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
    return digest(stored.checksum(), fingerprint_of(samples.targets), fingerprint_of(samples.valid))
