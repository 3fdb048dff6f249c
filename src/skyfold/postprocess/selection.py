"""Which level, minimum area and classifier threshold each class gets, and how much of the gain is only fitted.

All is read off Dice surfaces, so that choosing again for every fold costs next to nothing.

Of choices that score the same, the one that is farthest from where the score changes is taken, since the test images
will move those places a little: first the smallest minimum area (it changes the masks least), then the middle of the
longest run of equal levels (of equally long runs the one nearest 127, one half), then the middle of the widest range of
gate thresholds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from skyfold.errors import ConfigError, OofMismatch
from skyfold.metrics.pr_curve import threshold_for_precision, threshold_for_recall
from skyfold.postprocess.classifier_gate import passes

Gate = Literal["dice", "expected_dice", "precision", "recall"]
HALF = 127
FittedGate = Callable[[np.ndarray], np.ndarray]
EQUAL = 1e-9  # sums of Dice over rows, added up in another order, differ by less


@dataclass(frozen=True)
class Selection:
    """What was chosen, one entry a class; gate_threshold_ is None where there is no classifier."""

    level_: tuple[int, ...]
    min_area_: tuple[int, ...]
    gate_threshold_: tuple[float, ...] | None

    def to_json(self) -> str:
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Selection:
        """The selection that `to_json` wrote; numbers come back exactly."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Selection:
        gate = values["gate_threshold_"]
        return cls(
            level_=tuple(int(level) for level in values["level_"]),
            min_area_=tuple(int(area) for area in values["min_area_"]),
            gate_threshold_=None if gate is None else tuple(float(threshold) for threshold in gate),
        )


@dataclass(frozen=True)
class CrossFit:
    """A selection made on all rows, beside selections made on k-1 folds and scored on the k-th.

    naive_rows, rows: float64 (n, K), Dice per row and class of the one and of the others, NaN where no fold validated
    the row. by_fold: the selection that was scored on each fold.
    """

    selection: Selection
    by_fold: dict[int, Selection]
    naive_rows: np.ndarray
    rows: np.ndarray

    @property
    def naive(self) -> float:
        return float(np.nanmean(self.naive_rows))

    @property
    def score(self) -> float:
        """The cross-fitted score: what to expect of new images."""
        return float(np.nanmean(self.rows))

    @property
    def optimism(self) -> float:
        return self.naive - self.score


def select(
    surface: np.ndarray,
    empty: np.ndarray,
    gate_prob: np.ndarray | None = None,
    *,
    levels: np.ndarray,
    min_areas: np.ndarray,
    gate: Gate = "dice",
    wanted: float | None = None,
) -> Selection:
    """What maximises mean Dice, jointly per class.

    surface: float32 (n, K, T, M), empty: bool (n, K), both as from `dice_surface`; levels (T,), min_areas (M,).
    gate_prob: (n, K) probability that the class is there; None: no gate. A mask is kept where it is at or above the
    threshold, and the threshold comes from

    "dice"            the joint optimum of level, area and threshold
    "expected_dice"   1 / (1 + d), d the mean Dice where the class is there: keeping gains p d, emptying gains 1 - p
    "precision"       the precision-recall curve at the `wanted` precision (the nearest it comes where never reached)
    "recall"          the same at the `wanted` recall
    """
    _check(surface, empty, gate_prob, levels, min_areas)
    if not len(surface):
        raise OofMismatch("no validated rows to choose thresholds on; train at least one fold.")
    chosen = []
    for k in range(surface.shape[1]):
        dice = np.ascontiguousarray(surface[:, k])
        if gate_prob is None:
            place, threshold = _best_place(_sum_of_rows(dice), levels), None
        else:
            place, threshold = _best_with_gate(dice, empty[:, k], gate_prob[:, k], levels, gate, wanted)
        chosen.append((int(levels[place[0]]), int(min_areas[place[1]]), threshold))
    level, min_area, thresholds = zip(*chosen, strict=True)
    return Selection(level, min_area, None if gate_prob is None else thresholds)


def score_rows(
    selection: Selection,
    surface: np.ndarray,
    empty: np.ndarray,
    gate_prob: np.ndarray | None = None,
    *,
    levels: np.ndarray,
    min_areas: np.ndarray,
) -> np.ndarray:
    """Dice per row and class under `selection`, float64 (n, K); arrays as for `select`."""
    _check(surface, empty, gate_prob, levels, min_areas)
    t, m = _positions(selection.level_, levels), _positions(selection.min_area_, min_areas)
    dice = surface[:, np.arange(surface.shape[1]), t, m].astype(np.float64)
    if selection.gate_threshold_ is None:
        return dice
    if gate_prob is None:
        raise OofMismatch("the selection has a gate: give the classifier's probabilities too.")
    return np.where(passes(gate_prob, selection.gate_threshold_), dice, empty.astype(np.float64))


def cross_fitted(
    surface: np.ndarray,
    empty: np.ndarray,
    fold: np.ndarray,
    gate_prob: np.ndarray | FittedGate | None = None,
    *,
    levels: np.ndarray,
    min_areas: np.ndarray,
    gate: Gate = "dice",
    wanted: float | None = None,
) -> CrossFit:
    """Choose on k-1 folds and score on the k-th, for every fold. fold: int (n,); rows of -1 take no part at all.

    gate_prob: (n, K); or, where the probabilities are fitted too, a function of the rows, bool (n,), it may learn from
    that returns (n, K) for all rows.
    """
    folds = [int(f) for f in np.unique(fold) if f != -1]
    if len(folds) < 2 or len(fold) != len(surface):
        raise OofMismatch(f"cross-fitting needs 2 folds or more and a fold for each row; got folds {folds}.")

    def choose_and_score(chosen_on: np.ndarray, scored: np.ndarray, values: np.ndarray) -> Selection:
        probs = gate_prob(chosen_on) if callable(gate_prob) else gate_prob
        own, other = (None if probs is None else probs[rows] for rows in (chosen_on, scored))
        selection = select(
            surface[chosen_on], empty[chosen_on], own, levels=levels, min_areas=min_areas, gate=gate, wanted=wanted
        )
        values[scored] = score_rows(
            selection, surface[scored], empty[scored], other, levels=levels, min_areas=min_areas
        )
        return selection

    naive_rows, rows = (np.full(empty.shape, np.nan) for _ in range(2))
    covered = fold != -1
    selection = choose_and_score(covered, covered, naive_rows)
    by_fold = {f: choose_and_score(covered & (fold != f), fold == f, rows) for f in folds}
    return CrossFit(selection, by_fold, naive_rows, rows)


def _check(
    surface: np.ndarray,
    empty: np.ndarray,
    gate_prob: np.ndarray | None,
    levels: np.ndarray,
    min_areas: np.ndarray,
) -> None:
    rows_and_classes = surface.shape[:2]
    if surface.ndim != 4 or surface.shape[2:] != (len(levels), len(min_areas)) or empty.shape != rows_and_classes:
        raise ValueError(
            f"expected a surface (n, K, {len(levels)}, {len(min_areas)}) and empty (n, K); got {surface.shape} "
            f"and {empty.shape}"
        )
    if gate_prob is not None and (
        gate_prob.shape != rows_and_classes or not ((gate_prob >= 0) & (gate_prob <= 1)).all()
    ):
        raise OofMismatch(
            f"the classifier's probabilities: expected {rows_and_classes} in 0..1 without NaN, got {gate_prob.shape}. "
            "Train it on the same folds and samples as the masks."
        )


def _positions(values: tuple[int, ...], lattice: np.ndarray) -> np.ndarray:
    positions = np.searchsorted(lattice, values)
    if (positions == len(lattice)).any() or (np.asarray(lattice)[positions] != values).any():
        raise ValueError(f"{values} are not all on the lattice {np.asarray(lattice).tolist()} of the surface")
    return positions


def _sum_of_rows(dice: np.ndarray) -> np.ndarray:
    total: np.ndarray = dice.sum(axis=0, dtype=np.float64)
    return total


def _best_with_gate(
    dice: np.ndarray, empty: np.ndarray, prob: np.ndarray, levels: np.ndarray, gate: Gate, wanted: float | None
) -> tuple[tuple[int, int], float]:
    """Place on the surface of one class and gate threshold. dice: float32 (n, T, M); empty: bool (n,); prob: (n,)."""
    if gate in ("precision", "recall"):
        threshold = _threshold_wanted(prob, ~empty, gate, wanted)
        kept = passes(prob[:, None], [threshold])[:, 0]
        return _best_place(_sum_of_rows(dice[kept]) + empty[~kept].sum(), levels), threshold
    order = np.argsort(-prob, kind="stable")
    descending = prob[order].astype(np.float64)
    cuts = np.flatnonzero(np.append(np.append(True, descending[1:] != descending[:-1]), True))
    sums = _sums_by_cut(dice[order], empty[order], cuts)
    if gate == "dice":
        place = _best_place(sums.max(axis=0), levels)
        return place, _middle_threshold(sums[(slice(None), *place)], cuts, descending)
    thresholds = 1.0 / (1.0 + _mean_dice_when_there(dice, empty))
    kept_rows = np.searchsorted(-descending, -thresholds, side="right")
    place = _best_place(np.take_along_axis(sums, np.searchsorted(cuts, kept_rows)[None], axis=0)[0], levels)
    return place, float(thresholds[place])


def _threshold_wanted(prob: np.ndarray, there: np.ndarray, gate: Gate, wanted: float | None) -> float:
    if wanted is None:
        raise ConfigError(f"the gate '{gate}' needs the {gate} that is wanted; set postprocess.gate_wanted.")
    read_off = threshold_for_precision if gate == "precision" else threshold_for_recall
    return read_off(prob, there, wanted).threshold


def _mean_dice_when_there(dice: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """(T, M); 0 where no row has the class, so that only certainty keeps a mask."""
    there = ~empty
    return _sum_of_rows(dice[there]) / max(int(there.sum()), 1)


def _sums_by_cut(dice: np.ndarray, empty: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Sum of Dice where the first `cut` rows keep their masks and the others are emptied: float64 (cuts, T, M).

    A cut never falls between rows of equal probability, since no threshold could make it.
    """
    sums = np.empty((len(cuts), *dice.shape[1:]))
    padded = np.zeros((len(dice) + 1, dice.shape[2]))
    for t in range(dice.shape[1]):  # one level at a time bounds the memory of the running sums
        np.cumsum(dice[:, t] - empty[:, None].astype(np.float64), axis=0, out=padded[1:])
        sums[:, t] = padded[cuts]
    return sums + float(empty.sum())


def _best_place(sums: np.ndarray, levels: np.ndarray) -> tuple[int, int]:
    """Position (t, m) of the greatest of `sums` (T, M), by the module's rule where several are equal."""
    equal = sums >= sums.max() - EQUAL * max(1.0, float(sums.max()))
    m = int(np.flatnonzero(equal.any(axis=0))[0])
    starts, ends = _runs(equal[:, m])
    middles = (starts + ends - 1) // 2
    longest = (ends - starts) == (ends - starts).max()
    distance = np.abs(np.asarray(levels)[middles] - HALF)
    return int(middles[longest][np.argmin(distance[longest])]), m


def _middle_threshold(sums: np.ndarray, cuts: np.ndarray, descending: np.ndarray) -> float:
    """Threshold in the middle of the widest range in which `sums` (cuts,) stays at its greatest.

    A cut after row c is made by any threshold above the probability of row c and up to that of row c - 1.
    """
    above = np.append(max(1.0, float(np.nextafter(descending[0], np.inf))), descending[cuts[1:] - 1])
    below = np.append(descending[cuts[:-1]], min(0.0, float(descending[-1])))
    starts, ends = _runs(sums >= sums.max() - EQUAL * max(1.0, float(sums.max())))
    high, low = above[starts], below[ends - 1]
    widest = int(np.argmax(high - low))
    middle = float((high[widest] + low[widest]) / 2)
    return middle if middle > low[widest] else float(high[widest])


def _runs(flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First position of every run of True, and the position after its last."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return changes[0::2], changes[1::2]
