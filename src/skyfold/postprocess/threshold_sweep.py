"""Statistics of every out-of-fold map at every searched setting, and what any choice of settings scores by them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from skyfold.errors import OofMismatch
from skyfold.postprocess.rules import CountedRule, TopRule, load_rule
from skyfold.postprocess.selection import HALF, Selection, passes
from skyfold.store.rows import pieces, release_pages
from skyfold.types import ArraySequence, CountMetric, Metric, RowMetric

CHUNK_PIXELS = 32 << 20


@dataclass(frozen=True)
class Maps:
    """Probability maps of N samples and their ground truth.

    prob: uint8 (N, H, W, K), often memory-mapped, whose rows may differ in size; targets[i]: (H, W, K), None: empty;
    valid[i]: bool (H, W), pixels that count, None: all; volumes: rows that are the slices of one volume, for metrics of
    volumes, None: there are none.
    """

    prob: np.ndarray
    targets: ArraySequence | None = None
    valid: ArraySequence | None = None
    volumes: Sequence[Sequence[int]] | None = None

    def chunks(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]]:
        """Yield (rows of the chunk, prob, target, valid), stacked, until all `rows` were read, volumes as wholes.

        Memory maps are released after each chunk.
        """
        if self.volumes is None:
            parts = pieces([self.prob], rows, CHUNK_PIXELS)
        else:
            wanted = set(rows.tolist())
            parts = (np.array(volume) for volume in self.volumes if wanted.issuperset(volume))
        for chunk in parts:
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
        stats, scores, order, chosen = [], [], [], self.rows[rows]
        for chunk, prob, target, valid in self.maps.chunks(chosen):
            places = np.searchsorted(chosen, chunk)
            masks = selection.apply(prob, None if gate_prob is None else gate_prob[places], valid=valid)
            order.append(places)
            stats.append(self.metric.stats(target=target, pred=masks, valid=valid))
            of_classes = (of_class(self.metric, k, target, masks[..., k : k + 1], valid) for k in range(self.classes))
            scores.append(np.stack([row_scores(self.metric, one) for one in of_classes], axis=1))
        back = np.argsort(np.concatenate(order))
        return np.concatenate(stats)[back], np.concatenate(scores)[back]


def row_scores(metric: Metric, stats: np.ndarray) -> np.ndarray:
    """Score of each row of `stats` (n, S) by itself, float64 (n,)."""
    if isinstance(metric, RowMetric):
        return metric.per_row(stats)
    return np.array([metric.score(stats[i : i + 1]) for i in range(len(stats))], dtype=np.float64)


def of_class(metric: Metric, k: int, target: np.ndarray, masks: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
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
