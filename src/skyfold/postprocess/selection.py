"""Which level, minimum area and classifier threshold each class gets, and how much of the gain is only fitted.

All is read off the counts of maps, so that choosing again for every fold costs next to nothing.

Of choices that score the same, the one that is farthest from where the score changes is taken, since the test images
will move those places a little: first the smallest minimum area (it changes the masks least), then the middle of the
longest run of equal levels (of equally long runs the one nearest 127, one half), then the same for the top level, then
the middle of the widest range of gate thresholds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import numpy as np

from skyfold.errors import ConfigError, OofMismatch
from skyfold.metrics.pr_curve import threshold_for_precision, threshold_for_recall
from skyfold.metrics.segmentation import METRICS, MeanDice, MeanIoU
from skyfold.postprocess.classifier_gate import passes
from skyfold.postprocess.joint_search import best_ratios, best_sums, shares, sums_of_first
from skyfold.postprocess.map_counts import MapCounts, Rule
from skyfold.types import Metric

Gate = Literal["dice", "expected_dice", "precision", "recall"]
Objective = Literal["mean_dice", "mean_iou", "global_dice", "global_iou"]
HALF = 127
FittedGate = Callable[[np.ndarray], np.ndarray]
EQUAL = 1e-9  # sums of Dice over rows, added up in another order, differ by less


@dataclass(frozen=True)
class Selection:
    """What was chosen, one entry a class.

    gate_threshold_ is None where there is no classifier, top_thresholds where the rule is not "triplet".
    """

    thresholds: tuple[int, ...]
    min_areas: tuple[int, ...]
    gate_thresholds: tuple[float, ...] | None = None
    top_thresholds: tuple[int, ...] | None = None
    rule: Rule = "component"

    def to_json(self) -> str:
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Selection:
        """The selection that `to_json` wrote; numbers come back exactly."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Selection:
        gate, top = values["gate_thresholds"], values["top_thresholds"]
        return cls(
            thresholds=tuple(int(level) for level in values["thresholds"]),
            min_areas=tuple(int(area) for area in values["min_areas"]),
            gate_thresholds=None if gate is None else tuple(float(threshold) for threshold in gate),
            top_thresholds=None if top is None else tuple(int(level) for level in top),
            rule=values["rule"],
        )


@dataclass(frozen=True)
class CrossFit:
    """A selection made on all rows, beside selections made on k-1 folds and scored on the k-th.

    in_sample_stats, stats: float64 (n, 3K), the counts of the one and of the others as the segmentation metrics take
    them (see `row_stats`), NaN where no fold validated the row. by_fold: the selection that was scored on each fold.
    """

    selection: Selection
    by_fold: dict[int, Selection]
    in_sample_stats: np.ndarray
    stats: np.ndarray
    objective: Objective

    @property
    def in_sample(self) -> float:
        return self._score(self.in_sample_stats)

    @property
    def score(self) -> float:
        """The cross-fitted score: what to expect of new images."""
        return self._score(self.stats)

    @property
    def optimism(self) -> float:
        return self.in_sample - self.score

    @property
    def in_sample_rows(self) -> np.ndarray:
        """Score of each map, float64 (n, K), as `rows`."""
        return map_scores(self.in_sample_stats, self.objective)

    @property
    def rows(self) -> np.ndarray:
        """Cross-fitted score of each map, float64 (n, K); NaN where no fold validated the row (see `map_scores`)."""
        return map_scores(self.stats, self.objective)

    def _score(self, stats: np.ndarray) -> float:
        metric = cast(Metric, METRICS[self.objective]())
        return metric.score(stats[~np.isnan(stats).any(axis=1)])


def select(
    counts: MapCounts,
    gate_prob: np.ndarray | None = None,
    *,
    rows: np.ndarray | None = None,
    objective: Objective = "mean_dice",
    gate: Gate = "dice",
    wanted: float | None = None,
) -> Selection:
    """What maximises the objective on `rows` (positions, None: all), each class by itself.

    gate_prob: (n, K) probability that the class is there; None: no gate. A mask is kept where it is at or above the
    threshold, and the threshold comes from

    "dice"            the joint optimum of all settings and the threshold
    "expected_dice"   1 / (1 + d), d the mean share where the class is there: keeping gains p d, emptying gains 1 - p
                      (for objectives that are a mean over maps)
    "precision"       the precision-recall curve at the `wanted` precision (the nearest it comes where never reached)
    "recall"          the same at the `wanted` recall
    """
    chosen_on = np.arange(len(counts)) if rows is None else rows
    _check_gate(gate_prob, counts, chosen_on)
    if not len(chosen_on):
        raise OofMismatch("no validated rows to choose thresholds on; train at least one fold.")
    if gate_prob is not None and gate == "expected_dice" and objective.startswith("global"):
        raise ConfigError(f"the gate 'expected_dice' is for a metric that is a mean over maps, not for '{objective}'.")
    top_thresholds, areas, levels, thresholds = [], [], [], []
    for k in range(counts.classes):
        one = _Class(counts, k, chosen_on, objective)
        if gate_prob is None:
            (top, m, t), threshold = _best_place(one.best(np.array([len(chosen_on)])), counts.levels), 0.0
        else:
            (top, m, t), threshold = _best_with_gate(one, gate_prob[chosen_on, k], counts.levels, gate, wanted)
        top_thresholds.append(int(counts.levels[top]))
        areas.append(int(counts.min_areas[m]))
        levels.append(int(counts.levels[t]))
        thresholds.append(threshold)
    return Selection(
        thresholds=tuple(levels),
        min_areas=tuple(areas),
        gate_thresholds=None if gate_prob is None else tuple(thresholds),
        top_thresholds=tuple(top_thresholds) if counts.rule == "triplet" else None,
        rule=counts.rule,
    )


def row_stats(
    selection: Selection, counts: MapCounts, gate_prob: np.ndarray | None = None, *, rows: np.ndarray | None = None
) -> np.ndarray:
    """Counts of the masks that `selection` makes of `rows` (positions, None: all), float64 (len(rows), 3K).

    As the segmentation metrics take them: pixels in both masks, in the predicted, in the true one, K columns each.
    """
    scored = np.arange(len(counts)) if rows is None else rows
    _check_gate(gate_prob, counts, scored)
    if selection.gate_thresholds is not None and gate_prob is None:
        raise OofMismatch("the selection has a gate: give the classifier's probabilities too.")
    stats = np.empty((3, len(scored), counts.classes))
    for k in range(counts.classes):
        m = _position(selection.min_areas[k], counts.min_areas)
        t = _position(selection.thresholds[k], counts.levels)
        top = 0 if selection.top_thresholds is None else _position(selection.top_thresholds[k], counts.levels)
        kept = counts.kept(scored, k, m)[:, top]
        stats[:2, :, k] = counts.of_masks(scored, k, m)[:, :, t].T * kept
    stats[2] = counts.truth[scored]
    if selection.gate_thresholds is not None and gate_prob is not None:
        stats[:2] *= passes(gate_prob[scored], selection.gate_thresholds)
    return np.concatenate(list(stats), axis=1)


def cross_fitted(
    counts: MapCounts,
    fold: np.ndarray,
    gate_prob: np.ndarray | FittedGate | None = None,
    *,
    objective: Objective = "mean_dice",
    gate: Gate = "dice",
    wanted: float | None = None,
) -> CrossFit:
    """Choose on k-1 folds and score on the k-th, for every fold. fold: int (n,); rows of -1 take no part at all.

    gate_prob: (n, K); or, where the probabilities are fitted too, a function of the rows, bool (n,), it may learn from
    that returns (n, K) for all rows.
    """
    folds = [int(f) for f in np.unique(fold) if f != -1]
    if len(folds) < 2 or len(fold) != len(counts):
        raise OofMismatch(f"cross-fitting needs 2 folds or more and a fold for each row; got folds {folds}.")

    def choose_and_score(chosen_on: np.ndarray, scored: np.ndarray, stats: np.ndarray) -> Selection:
        probs = gate_prob(chosen_on) if callable(gate_prob) else gate_prob
        selection = select(counts, probs, rows=np.flatnonzero(chosen_on), objective=objective, gate=gate, wanted=wanted)
        stats[scored] = row_stats(selection, counts, probs, rows=np.flatnonzero(scored))
        return selection

    in_sample_stats, stats = (np.full((len(fold), 3 * counts.classes), np.nan) for _ in range(2))
    covered = fold != -1
    selection = choose_and_score(covered, covered, in_sample_stats)
    by_fold = {f: choose_and_score(covered & (fold != f), fold == f, stats) for f in folds}
    return CrossFit(selection, by_fold, in_sample_stats, stats, objective)


def map_scores(stats: np.ndarray, objective: Objective) -> np.ndarray:
    """Score of each map by itself, float64 (n, K) of stats (n, 3K); NaN stays NaN.

    For an objective of all pixels taken together, the Dice or IoU of each map, whose mean is not the objective.
    """
    alone = MeanIoU() if objective.endswith("iou") else MeanDice()
    return alone.per_class(stats)


@dataclass(frozen=True)
class _Class:
    """The rows of one class that something is chosen on, and the best figures of its settings."""

    counts: MapCounts
    k: int
    rows: np.ndarray
    objective: Objective

    @property
    def is_mean(self) -> bool:
        return self.objective.startswith("mean")

    @property
    def truth(self) -> np.ndarray:
        return self.counts.by_level[self.rows, self.k, 0, 0].astype(np.int64)

    def ordered(self, order: np.ndarray) -> _Class:
        return _Class(self.counts, self.k, self.rows[order], self.objective)

    def best(self, cuts: np.ndarray) -> np.ndarray:
        """Of every setting the best figure at any of the cuts, float64 (P, M, T): a sum of shares, or a ratio."""
        figures = []
        for m in range(len(self.counts.min_areas)):
            masks, kept = self.counts.of_masks(self.rows, self.k, m), self.counts.kept(self.rows, self.k, m)
            if self.is_mean:
                figures.append(best_sums(self._shares(masks), self.truth == 0, kept, cuts))
            else:
                figures.append(best_ratios(masks, self.truth, kept, cuts))
        return np.stack(figures, axis=1)

    def best_of_expected(self, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sum of shares of every setting with its own threshold 1 / (1 + d), and that threshold; each (P, M, T).

        probs: (n,) of the rows, descending.
        """
        empty = self.truth == 0
        sums, thresholds = [], []
        for m in range(len(self.counts.min_areas)):
            masks, kept = self.counts.of_masks(self.rows, self.k, m), self.counts.kept(self.rows, self.k, m)
            share, there = self._shares(masks), ~empty
            all_there = np.full((kept.shape[1], share.shape[1]), int(there.sum()))
            when_there = sums_of_first(share[there], empty[there], kept[there], all_there) / max(int(there.sum()), 1)
            threshold = 1.0 / (1.0 + np.maximum(when_there, 0.0))
            stop = np.searchsorted(-probs, -threshold, side="right")
            sums.append(sums_of_first(share, empty, kept, stop))
            thresholds.append(threshold)
        return np.stack(sums, axis=1), np.stack(thresholds, axis=1)

    def figures_at(self, place: tuple[int, int, int], cuts: np.ndarray) -> np.ndarray:
        """The figure of one setting at each cut, float64 (C,)."""
        top, m, t = place
        masks = self.counts.of_masks(self.rows, self.k, m)[:, :, t : t + 1]
        masks = masks * self.counts.kept(self.rows, self.k, m)[:, top, None, None]
        if self.is_mean:
            gained = self._shares(masks)[:, 0] - (self.truth == 0)
            return np.asarray(np.append(0.0, np.cumsum(gained))[cuts] + (self.truth == 0).sum())
        both, pred = (np.append(0, np.cumsum(masks[:, which, 0], dtype=np.int64))[cuts] for which in range(2))
        total = pred + self.truth.sum()
        return np.where(total == 0, 1.0, 2.0 * both / np.maximum(total, 1))

    def _shares(self, masks: np.ndarray) -> np.ndarray:
        return shares(masks, self.truth, iou=self.objective == "mean_iou")


def _check_gate(gate_prob: np.ndarray | None, counts: MapCounts, rows: np.ndarray) -> None:
    wanted = (len(counts), counts.classes)
    if gate_prob is not None and (
        gate_prob.shape != wanted or not ((gate_prob[rows] >= 0) & (gate_prob[rows] <= 1)).all()
    ):
        raise OofMismatch(
            f"the classifier's probabilities: expected {wanted} in 0..1 without NaN, got {gate_prob.shape}. "
            "Train it on the same folds and samples as the masks."
        )


def _position(value: int, threshold_grid: np.ndarray) -> int:
    position = int(np.searchsorted(threshold_grid, value))
    if position == len(threshold_grid) or threshold_grid[position] != value:
        raise ValueError(f"{value} is not on the lattice {np.asarray(threshold_grid).tolist()} of the counts")
    return position


def _best_with_gate(
    one: _Class, prob: np.ndarray, levels: np.ndarray, gate: Gate, wanted: float | None
) -> tuple[tuple[int, int, int], float]:
    """Place (top, m, t) of one class and its gate threshold. prob: (n,) of the rows of `one`."""
    order = np.argsort(-prob, kind="stable")
    descending = prob[order].astype(np.float64)
    one_ordered = one.ordered(order)
    if gate in ("precision", "recall"):
        threshold = _threshold_wanted(prob, one.truth > 0, gate, wanted)
        kept_rows = int(passes(prob[:, None], [threshold]).sum())
        return _best_place(one_ordered.best(np.array([kept_rows])), levels), threshold
    if gate == "expected_dice":
        sums, thresholds = one_ordered.best_of_expected(descending)
        place = _best_place(sums, levels)
        return place, float(thresholds[place])
    cuts = _cuts_between_different(descending)
    place = _best_place(one_ordered.best(cuts), levels)
    return place, _middle_threshold(one_ordered.figures_at(place, cuts), cuts, descending)


def _cuts_between_different(descending: np.ndarray) -> np.ndarray:
    """How many first rows a threshold can keep: no threshold parts rows of equal probability."""
    return np.flatnonzero(np.concatenate([[True], descending[1:] != descending[:-1], [True]]))


def _threshold_wanted(prob: np.ndarray, there: np.ndarray, gate: Gate, wanted: float | None) -> float:
    if wanted is None:
        raise ConfigError(f"the gate '{gate}' needs the {gate} that is wanted; set postprocess.gate_target.")
    read_off = threshold_for_precision if gate == "precision" else threshold_for_recall
    return read_off(prob, there, wanted).threshold


def _best_place(figures: np.ndarray, levels: np.ndarray) -> tuple[int, int, int]:
    """Position (top, m, t) of the greatest of `figures` (P, M, T), by the module's rule where several are equal."""
    equal = figures >= figures.max() - EQUAL * max(1.0, float(figures.max()))
    m = int(np.flatnonzero(equal.any(axis=(0, 2)))[0])
    t = _middle_of_longest(equal[:, m].any(axis=0), levels)
    top = _middle_of_longest(equal[:, m, t], levels) if len(figures) > 1 else 0
    return top, m, t


def _middle_of_longest(flags: np.ndarray, levels: np.ndarray) -> int:
    starts, ends = _runs(flags)
    middles = (starts + ends - 1) // 2
    longest = (ends - starts) == (ends - starts).max()
    distance = np.abs(np.asarray(levels)[middles] - HALF)
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
