"""Choice of the threshold, minimum area and gate threshold of each class, on all rows and nested by fold.

Everything is read off the statistics of a threshold sweep, so that a choice for every fold costs next to nothing.

Of settings that score the same, the one farthest from where the score changes is taken, since test images will move
those places a little: first the smallest minimum area (it changes the masks least), then the middle of the longest run
of equal thresholds (of equally long runs the one nearest 127, one half), then the same for the top threshold, then the
middle of the widest range of gate thresholds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from skyfold.errors import ConfigError, OofMismatch
from skyfold.metrics.pr_curve import threshold_for_precision, threshold_for_recall
from skyfold.postprocess.classifier_gate import passes
from skyfold.postprocess.running_sums import sums_at_cuts
from skyfold.postprocess.selection import HALF, Selection
from skyfold.postprocess.threshold_sweep import ThresholdSweep, row_scores
from skyfold.types import CountMetric, Metric, RowMetric

GateCriterion = Literal["dice", "expected_dice", "precision", "recall"]
FittedGate = Callable[[np.ndarray], np.ndarray]
EQUAL = 1e-9  # sums of scores over rows, added up in another order, differ by less
MAX_GATE_THRESHOLDS = 101  # tried of a metric that is no `RowMetric`, whose every score costs a pass over the rows


@dataclass(frozen=True)
class CrossFit:
    """A selection made on all rows, and for each fold the selection made on the others, which scores the fold.

    fold: int (n,), -1 where no fold validates the row. in_sample_stats, stats: float64 (n, S), of the masks of the one
    and of the others, as the metric takes them; in_sample_map_scores, map_scores: float64 (n, K), of each map by
    itself. NaN in rows of no fold.
    """

    metric: Metric
    fold: np.ndarray
    selection: Selection
    by_fold: dict[int, Selection]
    in_sample_stats: np.ndarray
    stats: np.ndarray
    in_sample_map_scores: np.ndarray
    map_scores: np.ndarray

    @property
    def in_sample(self) -> float:
        return self.metric.score(self.in_sample_stats[self.fold != -1])

    @property
    def score(self) -> float:
        """The cross-fitted score: what to expect of new images."""
        return self.metric.score(self.stats[self.fold != -1])

    @property
    def optimism(self) -> float:
        return self.in_sample - self.score


def cross_fitted(
    sweep: ThresholdSweep,
    fold: np.ndarray,
    gate_prob: np.ndarray | FittedGate | None = None,
    *,
    criterion: GateCriterion = "dice",
    target: float | None = None,
) -> CrossFit:
    """Choose on k-1 folds and score on the k-th, for every fold. fold: int (n,); rows of -1 take no part.

    gate_prob: (n, K); or, where the probabilities are fitted too, a function of the rows, bool (n,), it may learn from
    that returns (n, K) for all rows. criterion, target: see `select`.
    """
    folds = [int(f) for f in np.unique(fold) if f != -1]
    if len(folds) < 2 or len(fold) != len(sweep):
        raise OofMismatch(f"cross-fitting needs 2 folds or more and a fold for each row; got folds {folds}.")

    def choose(fitted_on: np.ndarray, scored: np.ndarray) -> tuple[Selection, np.ndarray, np.ndarray]:
        probs = gate_prob(fitted_on) if callable(gate_prob) else gate_prob
        selection = select(sweep, probs, rows=np.flatnonzero(fitted_on), criterion=criterion, target=target)
        return selection, *sweep.evaluate(selection, probs, rows=np.flatnonzero(scored))

    covered = fold != -1
    selection, of_all, of_all_maps = choose(covered, covered)
    filled = [np.full((len(fold), *part.shape[1:]), np.nan) for part in (of_all, of_all, of_all_maps, of_all_maps)]
    in_sample_stats, stats, in_sample_map_scores, map_scores = filled
    in_sample_stats[covered], in_sample_map_scores[covered] = of_all, of_all_maps
    by_fold = {}
    for f in folds:
        by_fold[f], stats[fold == f], map_scores[fold == f] = choose(covered & (fold != f), fold == f)
    return CrossFit(sweep.metric, fold, selection, by_fold, in_sample_stats, stats, in_sample_map_scores, map_scores)


def select(
    sweep: ThresholdSweep,
    gate_prob: np.ndarray | None = None,
    *,
    rows: np.ndarray | None = None,
    criterion: GateCriterion = "dice",
    target: float | None = None,
) -> Selection:
    """The setting with the best score on `rows` (positions, None: all), for each class by itself.

    gate_prob: (n, K) probability that the class is in the image; None: no gate. A mask is kept where it is at or above
    the gate threshold, which is chosen by the criterion

    "dice"            the joint optimum of all settings and the gate threshold
    "expected_dice"   1 / (1 + d), d the mean score where the class is present: keeping gains p d, emptying gains 1 - p
                      (for metrics that are a mean over maps, see `check_criterion`)
    "precision"       the precision-recall curve at the precision `target` (the nearest where it is never reached)
    "recall"          the same at the recall `target`
    """
    chosen_on = np.arange(len(sweep)) if rows is None else rows
    if not len(chosen_on):
        raise OofMismatch("no validated rows to choose thresholds on; train at least one fold.")
    if gate_prob is not None:
        sweep.check_gate(gate_prob, chosen_on)
        check_criterion(sweep.metric, criterion)
    places, gate_thresholds = [], []
    for k in range(sweep.classes):
        if gate_prob is None:
            places.append(_best_place(_Class(sweep, k, chosen_on).best(np.array([len(chosen_on)])), sweep.thresholds))
        else:
            place, threshold = _best_with_gate(sweep, k, chosen_on, gate_prob[chosen_on, k], criterion, target)
            places.append(place)
            gate_thresholds.append(threshold)
    top, m, t = np.array(places).T
    return Selection(
        thresholds=tuple(sweep.thresholds[t].tolist()),
        min_areas=tuple(sweep.min_areas[m].tolist()),
        gate_thresholds=None if gate_prob is None else tuple(gate_thresholds),
        top_thresholds=tuple(sweep.top_thresholds[top].tolist()) if sweep.has_top else None,
        rule=sweep.rule,
    )


def check_criterion(metric: Metric, criterion: GateCriterion) -> None:
    """ConfigError where a gate cannot be chosen by `criterion` for this metric."""
    mean = isinstance(metric, RowMetric) and metric.pooled == "each" and metric.greater_is_better
    if criterion == "expected_dice" and not mean:
        raise ConfigError(
            f"postprocess.gate_criterion: expected_dice is for a metric that is a mean over maps, not for "
            f"'{metric.name}'. Use dice, precision or recall."
        )


def score_grid(sweep: ThresholdSweep, k: int, rows: np.ndarray) -> np.ndarray:
    """Score of class k on `rows` (positions) at every setting without a gate, float64 (P, M, T).

    Top threshold x minimum area x threshold; NaN where the top threshold is below the threshold.
    """
    one = _Class(sweep, k, rows)
    scores = one.best(np.array([len(rows)])) * one.sign / (len(rows) if one.is_mean else 1)
    return np.where(np.isfinite(scores), scores, np.nan)


@dataclass(frozen=True)
class _Class:
    """Figures of merit, greater is better, of the settings of one class on some rows.

    The rows come in the order in which a gate empties them, the last first: a cut c keeps the first c masks.
    """

    sweep: ThresholdSweep
    k: int
    rows: np.ndarray

    @property
    def sign(self) -> int:
        return 1 if self.sweep.metric.greater_is_better else -1

    @property
    def is_mean(self) -> bool:
        return isinstance(self.sweep.metric, RowMetric) and self.sweep.metric.pooled == "each"

    def best(self, cuts: np.ndarray) -> np.ndarray:
        """The best figure of every setting at any of the cuts, float64 (P, M, T); -inf where the top is lower."""
        return self._over_settings(lambda values, emptied, kept: self._at_cuts(values, emptied, kept, cuts).max(axis=0))

    def at(self, place: tuple[int, int, int], cuts: np.ndarray) -> np.ndarray:
        """The figure of one setting at each cut, float64 (C,)."""
        top, m, t = place
        values, emptied = self._values(m)
        return self._at_cuts(values[:, :, t : t + 1], emptied, self._kept(m)[:, top], cuts)[:, 0]

    def best_of_expected(self, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Figure of every setting with its own gate threshold 1 / (1 + d), and that threshold; each (P, M, T).

        probs: (n,) of the rows, descending.
        """
        there = ~self.sweep.empty[self.rows, self.k]
        everywhere = np.array([int(there.sum())])

        def thresholds(values: np.ndarray, emptied: np.ndarray, kept: np.ndarray) -> np.ndarray:
            where_there = self._at_cuts(values[there], emptied[there], kept[there], everywhere)[0]
            return 1.0 / (1.0 + np.maximum(where_there / max(int(there.sum()), 1), 0.0))

        def figures(values: np.ndarray, emptied: np.ndarray, kept: np.ndarray) -> np.ndarray:
            own = np.searchsorted(-probs, -thresholds(values, emptied, kept), side="right")
            cuts, place = np.unique(own, return_inverse=True)
            return self._at_cuts(values, emptied, kept, cuts)[place, np.arange(len(own))]

        return self._over_settings(figures), self._over_settings(thresholds)

    def _over_settings(self, figure: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """figure(values of some thresholds, of the emptied masks, which are kept) -> (those thresholds,)."""
        tops, thresholds = len(self.sweep.top_thresholds), len(self.sweep.thresholds)
        figures = np.full((tops, len(self.sweep.min_areas), thresholds), -np.inf)
        for m in range(len(self.sweep.min_areas)):
            (values, emptied), kept = self._values(m), self._kept(m)
            for top in range(tops):
                reach = thresholds if tops == 1 else top + 1
                figures[top, m, :reach] = figure(values[:, :, :reach], emptied, kept[:, top])
        return figures

    def _values(self, m: int) -> tuple[np.ndarray, np.ndarray]:
        """What a figure is made of, (n, S, T) of masks and (n, S) of emptied ones: scores (S = 1), else statistics."""
        emptied = self.sweep.emptied(self.rows, self.k)
        if not self.is_mean:
            return self.sweep.stats(self.rows, self.k, m), emptied
        return self.sweep.scores(self.rows, self.k, m)[:, None], row_scores(self.sweep.metric, emptied)[:, None]

    def _kept(self, m: int) -> np.ndarray:
        return self.sweep.kept(self.rows, self.k, m)

    def _at_cuts(self, values: np.ndarray, emptied: np.ndarray, kept: np.ndarray, cuts: np.ndarray) -> np.ndarray:
        """float64 (C, T): a sum of scores over the rows, of other metrics their score."""
        metric = self.sweep.metric
        if not isinstance(metric, RowMetric):
            return self.sign * np.array([_score_each(metric, values, emptied, kept, cut) for cut in cuts])
        sums = sums_at_cuts(values, emptied, kept, cuts)
        if self.is_mean:
            return self.sign * sums[:, 0]
        if isinstance(metric, CountMetric):
            return self.sign * metric.of_counts(*sums.swapaxes(0, 1))
        return self.sign * metric.per_row(sums.swapaxes(1, 2).reshape(-1, sums.shape[1])).reshape(len(sums), -1)


def _score_each(metric: Metric, values: np.ndarray, emptied: np.ndarray, kept: np.ndarray, cut: int) -> list[float]:
    stays = (kept & (np.arange(len(kept)) < cut))[:, None]
    return [metric.score(np.where(stays, values[:, :, t], emptied)) for t in range(values.shape[2])]


def _best_with_gate(
    sweep: ThresholdSweep, k: int, rows: np.ndarray, prob: np.ndarray, criterion: GateCriterion, target: float | None
) -> tuple[tuple[int, int, int], float]:
    """Place (top, m, t) of class k and its gate threshold. prob: (len(rows),)."""
    order = np.argsort(-prob, kind="stable")
    descending = prob[order].astype(np.float64)
    ordered = _Class(sweep, k, rows[order])
    if criterion in ("precision", "recall"):
        threshold = _threshold_for(prob, ~sweep.empty[rows, k], criterion, target)
        kept_rows = int(passes(prob[:, None], [threshold]).sum())
        return _best_place(ordered.best(np.array([kept_rows])), sweep.thresholds), threshold
    if criterion == "expected_dice":
        figures, thresholds = ordered.best_of_expected(descending)
        place = _best_place(figures, sweep.thresholds)
        return place, float(thresholds[place])
    cuts = _cuts_between_different(descending)
    if not isinstance(sweep.metric, RowMetric):
        cuts = cuts[np.unique(np.linspace(0, len(cuts) - 1, MAX_GATE_THRESHOLDS).astype(int))]
    place = _best_place(ordered.best(cuts), sweep.thresholds)
    return place, _middle_threshold(ordered.at(place, cuts), cuts, descending)


def _cuts_between_different(descending: np.ndarray) -> np.ndarray:
    """How many first rows a threshold can keep: no threshold separates rows of equal probability."""
    return np.flatnonzero(np.concatenate([[True], descending[1:] != descending[:-1], [True]]))


def _threshold_for(prob: np.ndarray, there: np.ndarray, criterion: GateCriterion, target: float | None) -> float:
    if target is None:
        raise ConfigError(
            f"the gate criterion '{criterion}' needs the {criterion} to reach; set postprocess.gate_target."
        )
    read_off = threshold_for_precision if criterion == "precision" else threshold_for_recall
    return read_off(prob, there, target).threshold


def _best_place(figures: np.ndarray, thresholds: np.ndarray) -> tuple[int, int, int]:
    """Position (top, m, t) of the greatest of `figures` (P, M, T), by the module's rule where several are equal."""
    equal = figures >= figures.max() - EQUAL * max(1.0, float(figures.max()))
    m = int(np.flatnonzero(equal.any(axis=(0, 2)))[0])
    t = _middle_of_longest(equal[:, m].any(axis=0), thresholds)
    top = _middle_of_longest(equal[:, m, t], thresholds) if len(figures) > 1 else 0
    return top, m, t


def _middle_of_longest(flags: np.ndarray, thresholds: np.ndarray) -> int:
    starts, ends = _runs(flags)
    middles = (starts + ends - 1) // 2
    longest = (ends - starts) == (ends - starts).max()
    distance = np.abs(np.asarray(thresholds)[middles] - HALF)
    return int(middles[longest][np.argmin(distance[longest])])


def _middle_threshold(figures: np.ndarray, cuts: np.ndarray, descending: np.ndarray) -> float:
    """Threshold in the middle of the widest range in which `figures` (C,) stay at their greatest.

    A cut after row c is made by any threshold above the probability of row c and up to that of row c - 1.
    """
    above = np.append(max(1.0, float(np.nextafter(descending[0], np.inf))), descending[cuts[1:] - 1])
    below = np.append(descending[cuts[:-1]], min(0.0, float(descending[-1])))
    starts, ends = _runs(figures >= figures.max() - EQUAL * max(1.0, float(figures.max())))
    high, low = above[starts], below[ends - 1]
    widest = int(np.argmax(high - low))
    middle = float((high[widest] + low[widest]) / 2)
    return middle if middle > low[widest] else float(high[widest])


def _runs(flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First position of every run of True, and the position after its last."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return changes[0::2], changes[1::2]
