"""Choice of the threshold, minimum area and gate threshold of each class.

Everything is read off the statistics of a threshold sweep, so that a choice for every fold costs next to nothing.

Of settings that score the same, the one farthest from where the score changes is taken, since test images will move
those places a little: first the smallest minimum area (it changes the masks least), then the middle of the longest run
of equal thresholds (of equally long runs the one nearest 127, one half), then the same for the top threshold, then the
middle of the widest range of gate thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import numpy as np

from skyfold.compiled import compiled
from skyfold.errors import ConfigError, OofMismatch
from skyfold.metrics.pr_curve import threshold_for_precision, threshold_for_recall
from skyfold.postprocess.selection import HALF, Selection, passes
from skyfold.postprocess.threshold_sweep import ThresholdSweep, row_scores
from skyfold.types import CountMetric, RowMetric

GateCriterion = Literal["dice", "precision", "recall"]
EQUAL = 1e-9  # means over rows, added up in another order, differ by less
MAX_GATE_THRESHOLDS = 101  # tried of a metric that is no `RowMetric`, whose every score costs a pass over the rows
ROWS_AT_ONCE = 256  # their scores at all thresholds stay in the processor's cache


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
    "precision"       the precision-recall curve at the precision `target` (the nearest where it is never reached)
    "recall"          the same at the recall `target`

    OofMismatch where there are no rows, or `gate_prob` does not belong to them; ConfigError where `target` is missing.
    """
    chosen_on = np.arange(len(sweep)) if rows is None else rows
    if not len(chosen_on):
        raise OofMismatch("no validated rows to choose thresholds on; train at least one fold.")
    if gate_prob is None:
        every_row = np.array([len(chosen_on)])
        places = [_best_place(_best(sweep, k, chosen_on, every_row), sweep) for k in range(sweep.classes)]
    else:
        sweep.check_gate(gate_prob, chosen_on)
        gated = [
            _with_gate(sweep, k, chosen_on, gate_prob[chosen_on, k], criterion, target) for k in range(sweep.classes)
        ]
        places = [place for place, _ in gated]
    top, m, t = np.array(places).T
    return Selection(
        thresholds=tuple(sweep.thresholds[t].tolist()),
        min_areas=tuple(sweep.min_areas[m].tolist()),
        gate_thresholds=None if gate_prob is None else tuple(threshold for _, threshold in gated),
        top_thresholds=tuple(sweep.thresholds[top].tolist()) if sweep.has_top else None,
        rule=sweep.rule,
    )


def score_grid(sweep: ThresholdSweep, k: int, rows: np.ndarray) -> np.ndarray:
    """Score of class k on `rows` (positions) at every setting without a gate, float64 (P, M, T).

    Top threshold x minimum area x threshold; NaN where the top threshold is below the threshold.
    """
    scores = _best(sweep, k, rows, np.array([len(rows)]))
    return np.where(np.isfinite(scores), scores if sweep.metric.greater_is_better else -scores, np.nan)


def _with_gate(
    sweep: ThresholdSweep, k: int, rows: np.ndarray, prob: np.ndarray, criterion: GateCriterion, target: float | None
) -> tuple[tuple[int, int, int], float]:
    """Place (top, m, t) of class k and its gate threshold. prob: (len(rows),)."""
    order = np.argsort(-prob, kind="stable")
    descending, ordered = prob[order].astype(np.float64), rows[order]
    if criterion != "dice":
        if target is None:
            raise ConfigError(
                f"the gate criterion '{criterion}' needs the {criterion} to reach; set postprocess.gate_target."
            )
        read_off = threshold_for_precision if criterion == "precision" else threshold_for_recall
        threshold = read_off(prob, ~sweep.empty[rows, k], target).threshold
        kept_rows = np.array([passes(prob[:, None], [threshold]).sum()])
        return _best_place(_best(sweep, k, ordered, kept_rows), sweep), threshold
    # How many first rows a threshold can keep: no threshold separates rows of equal probability.
    cuts = np.flatnonzero(np.concatenate([[True], descending[1:] != descending[:-1], [True]]))
    if not isinstance(sweep.metric, RowMetric):
        cuts = cuts[np.unique(np.linspace(0, len(cuts) - 1, MAX_GATE_THRESHOLDS).astype(int))]
    place = top, m, t = _best_place(_best(sweep, k, ordered, cuts), sweep)
    at_cuts = [scores[:, t] for other, scores in _at_cuts(sweep, k, m, ordered, cuts) if other == top]
    return place, _middle_threshold(np.concatenate(at_cuts), cuts, descending)


def _best(sweep: ThresholdSweep, k: int, rows: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """The best score of every setting at any of the cuts, float64 (P, M, T); see `_at_cuts`."""
    thresholds = len(sweep.thresholds)
    best = np.full((thresholds if sweep.has_top else 1, len(sweep.min_areas), thresholds), -np.inf)
    for m in range(len(sweep.min_areas)):
        for top, scores in _at_cuts(sweep, k, m, rows, cuts):
            own = best[top, m, : scores.shape[1]]
            np.maximum(own, scores.max(axis=0), out=own)
    return best


def _at_cuts(
    sweep: ThresholdSweep, k: int, m: int, rows: np.ndarray, cuts: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (place of a top threshold, scores float64 (c, thresholds up to the top one)), the negative where less is
    better, for some of the cuts after the others.

    rows: in the order in which a gate empties them, the last first; cuts: (C,) ascending, a cut c keeps the first c
    masks.
    """
    metric, sign = sweep.metric, 1 if sweep.metric.greater_is_better else -1
    emptied, kept = sweep.emptied(rows, k), sweep.kept(rows, k, m)
    reaches = [top + 1 for top in range(len(kept))] if sweep.has_top else [len(sweep.thresholds)]
    if not isinstance(metric, RowMetric):
        stats = sweep.stats(rows, k, m)
        for top, reach in enumerate(reaches):
            stay = [(kept[top] & (np.arange(len(rows)) < cut))[:, None] for cut in cuts]
            masks = ((np.where(one, stats[:, :, t], emptied) for t in range(reach)) for one in stay)
            yield top, sign * np.array([[metric.score(one) for one in of_cut] for of_cut in masks])
        return
    is_mean = metric.pooled == "each"
    if is_mean:
        emptied = row_scores(metric, emptied)[:, None]
    running = np.zeros((len(reaches), emptied.shape[1], len(sweep.thresholds)))
    all_emptied = emptied.sum(axis=0)[:, None]
    for start, end in pairwise([*range(0, len(rows), ROWS_AT_ONCE), len(rows) + 1]):
        part, own = slice(start, end), cuts[(cuts >= start) & (cuts < end)] - start
        values = sweep.scores(rows[part], k, m)[:, None] if is_mean else sweep.stats(rows[part], k, m)
        for top, reach in enumerate(reaches):
            sums = np.empty((len(own), len(all_emptied), reach))
            _sums_at_cuts(values, emptied[part], kept[top, part], own, running[top], sums)
            sums += all_emptied
            if not len(own):
                continue
            if is_mean:
                scores = sums[:, 0] / len(rows)
            elif isinstance(metric, CountMetric):
                scores = metric.of_counts(*sums.swapaxes(0, 1))
            else:
                scores = metric.per_row(sums.swapaxes(1, 2).reshape(-1, sums.shape[1])).reshape(len(own), -1)
            yield top, sign * scores


@compiled
def _sums_at_cuts(values, emptied, kept, cuts, running, sums):  # type: ignore[no-untyped-def]
    """Walk down the rows with a running sum of what the kept masks add to the emptied ones, and store it at each cut.

    values: float64 (n, S, T), of the masks; emptied: (n, S), of emptied ones; kept: bool (n,), False: emptied at every
    cut; cuts: (c,) ascending; running: (S, T), goes on to the next rows; sums: (c, S, T or fewer), filled.
    """
    place = 0
    for i in range(len(values) + 1):
        while place < len(cuts) and cuts[place] == i:
            sums[place] = running[:, : sums.shape[2]]
            place += 1
        if i < len(values) and kept[i]:
            for s in range(values.shape[1]):
                for t in range(sums.shape[2]):
                    running[s, t] += values[i, s, t] - emptied[i, s]


def _best_place(scores: np.ndarray, sweep: ThresholdSweep) -> tuple[int, int, int]:
    """Position (top, m, t) of the greatest of `scores` (P, M, T), by the module's rule where several are equal."""
    equal = _greatest(scores)
    m = int(np.flatnonzero(equal.any(axis=(0, 2)))[0])
    t = _middle_of_longest(np.asarray(equal[:, m].any(axis=0)), sweep.thresholds)
    top = _middle_of_longest(np.asarray(equal[:, m, t]), sweep.thresholds) if len(scores) > 1 else 0
    return top, m, t


def _greatest(scores: np.ndarray) -> np.ndarray:
    """Where scores equal the greatest, bool."""
    equal: np.ndarray = scores >= scores.max() - EQUAL * max(1.0, float(scores.max()))
    return equal


def _middle_of_longest(flags: np.ndarray, thresholds: np.ndarray) -> int:
    starts, ends = _runs(flags)
    middles = (starts + ends - 1) // 2
    longest = (ends - starts) == (ends - starts).max()
    distance = np.abs(np.asarray(thresholds)[middles] - HALF)
    return int(middles[longest][np.argmin(distance[longest])])


def _middle_threshold(scores: np.ndarray, cuts: np.ndarray, descending: np.ndarray) -> float:
    """Threshold in the middle of the widest range in which `scores` (C,) stay at their greatest.

    A cut after row c is made by any threshold above the probability of row c and up to that of row c - 1.
    """
    above = np.append(max(1.0, float(np.nextafter(descending[0], np.inf))), descending[cuts[1:] - 1])
    below = np.append(descending[cuts[:-1]], min(0.0, float(descending[-1])))
    starts, ends = _runs(_greatest(scores))
    high, low = above[starts], below[ends - 1]
    widest = int(np.argmax(high - low))
    middle = float((high[widest] + low[widest]) / 2)
    return middle if middle > low[widest] else float(high[widest])


def _runs(flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First position of every run of True, and the position after its last."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return changes[0::2], changes[1::2]
