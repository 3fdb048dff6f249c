"""Search of blend weights on the score itself, jointly with one threshold per class.

Hard Dice and IoU are step functions without a gradient, so the searches compare exact scores: greedy ensemble selection
(Caruana et al. 2004), or hill climbing that moves weight between two members. The third, SLSQP, follows the gradient of
the correlation with the ground truth and takes its thresholds from exact scores. Blend weights are whole parts, which
keeps counts and the rounding of the stored blend exact (see `mask_counts`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skyfold.blending.byte_sums import MAX_PARTS
from skyfold.blending.mask_counts import NOBODY, add_parts, count_masks, cuts_of, weighted_sums
from skyfold.blending.uncertain_pixels import ScreenedMaps, UncertainPixels
from skyfold.config.blend import WeightsConfig
from skyfold.errors import ConfigError, OofMismatch
from skyfold.types import CountMetric

FINEST = 100  # a hundredth of the weight is the smallest that hill climbing and SLSQP give
STAY = np.array([[0, 0, 0]])  # the move that changes nothing
COUNTS_AT_ONCE = 2_000_000  # rows x moves x thresholds, each of some 50 bytes
MIN_GAIN = 1e-12  # a smaller one is rounding of the mean over maps


@dataclass(frozen=True)
class SearchedWeights:
    """parts: (M,) whole parts of weight; thresholds: (K,) the best of each class, in 0..254; score: on the rows they
    were searched on."""

    parts: tuple[int, ...]
    thresholds: tuple[int, ...]
    score: float

    @property
    def blend_weights(self) -> tuple[float, ...]:
        """The parts as fractions that add up to 1."""
        return tuple(part / sum(self.parts) for part in self.parts)


@dataclass(frozen=True)
class CrossFittedWeights:
    """Weights searched on all rows, and for each fold those searched without it.

    in_sample: score of `searched` on the rows it was searched on; cross_fitted: score of all folds, each with the
    weights and thresholds that were searched on the others.
    """

    searched: SearchedWeights
    by_fold: dict[int, SearchedWeights]
    in_sample: float
    cross_fitted: float

    @property
    def optimism(self) -> float:
        return self.in_sample - self.cross_fitted


def search_thresholds(config: WeightsConfig) -> np.ndarray:
    """The thresholds to search, ascending int64; an odd count over a symmetric range contains 127, one half.

    >>> search_thresholds(WeightsConfig(thresholds=3)).tolist()
    [51, 127, 204]
    """
    low, high = config.threshold_range
    thresholds = np.linspace(low, high, config.thresholds) if config.thresholds > 1 else np.array([(low + high) / 2])
    return np.unique(np.clip(np.round(255 * thresholds - 0.5 + 1e-9), 0, 254).astype(np.int64))


def search(
    maps: ScreenedMaps,
    config: WeightsConfig,
    metric: CountMetric,
    *,
    use: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> SearchedWeights:
    """Search as `config` says, on the screened rows that `use` (bool (n,), None: all) marks.

    groups: (n,) labels, whose samples go into a bag together or not at all; None: every row is its own group.
    Raises OofMismatch where no row is marked.
    """
    use = np.ones(len(maps.rows), dtype=bool) if use is None else use
    if not use.any():
        raise OofMismatch("no rows to search blend weights on; train at least two folds.")
    if config.bags == 1:
        return _search_once(maps, config, metric, use, np.arange(maps.members))
    rng = np.random.default_rng(seed)
    labels = np.unique(np.arange(len(use)) if groups is None else groups, return_inverse=True)[1]
    used_labels = np.unique(labels[use])
    total = np.zeros(maps.members)
    for _ in range(config.bags):
        drawn = rng.permutation(used_labels)[: max(1, round(config.row_fraction * len(used_labels)))]
        members = np.sort(rng.permutation(maps.members)[: max(1, int(np.ceil(config.model_fraction * maps.members)))])
        total += _search_once(maps, config, metric, use & np.isin(labels, drawn), members).blend_weights
    return _at_best_thresholds(maps, metric, whole_parts(total, MAX_PARTS), use)


def cross_fitted_weights(
    maps: ScreenedMaps, fold: np.ndarray, metric: CountMetric, search_on: Callable[[np.ndarray], SearchedWeights]
) -> CrossFittedWeights:
    """Search on all screened rows, and for every fold on the others. search_on: called with bool (n,), rows to use.

    fold: int (n,), of the screened rows, -1: in none. A pooled metric is scored over all folds together. Raises
    OofMismatch for fewer than 2 folds.
    """
    folds = [int(f) for f in np.unique(fold) if f != -1]
    if len(folds) < 2:
        raise OofMismatch(f"cross-fitting needs 2 folds or more; got folds {folds}.")
    searched = search_on(fold != -1)
    by_fold = {f: search_on((fold != -1) & (fold != f)) for f in folds}
    together = np.concatenate([counts_at(maps, by_fold[f], np.flatnonzero(fold == f)) for f in folds], axis=1)
    in_sample = counts_at(maps, searched, np.flatnonzero(fold != -1))
    return CrossFittedWeights(searched, by_fold, _mean_score(in_sample, metric), _mean_score(together, metric))


def greedy(
    maps: ScreenedMaps, metric: CountMetric, use: np.ndarray, members: np.ndarray, steps: int
) -> SearchedWeights:
    """Add the member, of `members`, that scores best with those added before, `steps` times; the best of all steps.

    Of equal candidates the first is taken, of equal steps the earliest, so that the weights stay simple.
    """
    state = _SearchState(maps, metric, use, np.zeros(maps.members, dtype=np.int64))
    moves = np.array([(member, NOBODY, 1) for member in members])
    best: SearchedWeights | None = None
    for _ in range(min(steps, MAX_PARTS)):
        scores, thresholds = state.scores_after(moves)
        place = int(np.argmax(scores >= scores.max() - MIN_GAIN))
        state.apply(moves[place])
        if best is None or scores[place] > best.score + MIN_GAIN:
            best = state.result(scores[place], thresholds[place])
    assert best is not None
    return best


def hill_climb(maps: ScreenedMaps, metric: CountMetric, use: np.ndarray, members: np.ndarray) -> SearchedWeights:
    """From equal weights, move weight between the two members that gain most by it; halve the step where none does."""
    start = np.zeros(maps.members, dtype=np.int64)
    start[members] = _equal_parts(len(members))
    state = _SearchState(maps, metric, use, start)
    scores, thresholds = state.scores_after(STAY)
    best = state.result(scores[0], thresholds[0])
    step = 1 << int(start.sum()).bit_length() - 2
    while step:
        pairs = [(to, source) for to in members for source in members if to != source and state.parts[source]]
        moves = np.array([(to, source, min(step, state.parts[source])) for to, source in pairs], dtype=np.int64)
        scores, thresholds = state.scores_after(moves) if len(moves) else (np.array([-np.inf]), thresholds)
        place = int(np.argmax(scores))
        if scores[place] > best.score + MIN_GAIN:
            state.apply(moves[place])
            best = state.result(scores[place], thresholds[place])
        else:
            step //= 2
    return best


def slsqp(maps: ScreenedMaps, metric: CountMetric, use: np.ndarray, members: np.ndarray) -> SearchedWeights:
    """Maximise the correlation of the blend with the ground truth by sequential quadratic programming.

    Over the uncertain pixels of each class; the squared correlations are averaged over classes. All that is needed of
    the pixels are their sums of products (M + 1, M + 1). The correlation knows no threshold: equal weights, from which
    it starts, are kept where they score better at their best thresholds.
    """
    from scipy.optimize import minimize

    covariances = [_covariance(pixels, np.flatnonzero(use), members, metric) for pixels in maps.classes]
    varied = [covariance for covariance in covariances if covariance[-1, -1] > 0]
    equal = np.full(len(members), 1.0 / len(members))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        total, gradient = 0.0, np.zeros_like(weights)
        for covariance in varied:
            with_truth, among = covariance[:-1, -1], covariance[:-1, :-1]
            agreement, spread = with_truth @ weights, max(weights @ among @ weights, 1e-12)
            total += agreement * abs(agreement) / spread / covariance[-1, -1]
            slope = 2 * abs(agreement) * (with_truth - agreement / spread * (among @ weights)) / spread
            gradient += slope / covariance[-1, -1]
        return -total, -gradient

    found = minimize(
        loss,
        equal,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(members),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like},
    ).x
    candidates = []
    for weights in (equal, np.clip(np.nan_to_num(found), 0.0, 1.0) + 1e-12):
        parts = np.zeros(maps.members, dtype=np.int64)
        parts[members] = whole_parts(weights, len(members) * _equal_parts(len(members)))
        candidates.append(_at_best_thresholds(maps, metric, parts, use))
    return max(candidates, key=lambda searched: searched.score)


def whole_parts(weights: np.ndarray, total: int) -> np.ndarray:
    """Split `total` parts in proportion to `weights`, int64 (M,): rounded down, the rest to the largest remainders.

    >>> whole_parts(np.array([1.0, 1.0, 1.0]), 100).tolist()
    [34, 33, 33]
    """
    exact = np.asarray(weights, dtype=np.float64) * total / np.sum(weights)
    parts = np.floor(exact + 1e-9).astype(np.int64)
    rest = np.argsort(parts - exact, kind="stable")[: total - int(parts.sum())]
    parts[rest] += 1
    return parts


def counts_at(maps: ScreenedMaps, searched: SearchedWeights, rows: np.ndarray) -> np.ndarray:
    """Pixels in both masks, predicted and true, int64 (3, len(rows), K), of the blend with these weights."""
    parts = np.array(searched.parts, dtype=np.int64)
    columns = []
    for pixels, threshold in zip(maps.classes, searched.thresholds, strict=True):
        cut = cuts_of(np.array([threshold]), int(parts.sum()))
        both, pred = count_masks(pixels, weighted_sums(pixels, parts), STAY, cut, rows)
        columns.append((both[:, 0, 0], pred[:, 0, 0], pixels.target[rows]))
    return np.array(columns, dtype=np.int64).transpose(1, 2, 0)


def score_of_counts(both: np.ndarray, pred: np.ndarray, target: np.ndarray, metric: CountMetric) -> np.ndarray:
    """Score over axis 0, the maps of one class, from counts of pixels."""
    if metric.pooled == "samples":
        both, pred, target = (count.sum(axis=0, keepdims=True, dtype=np.int64) for count in (both, pred, target))
    mean: np.ndarray = metric.of_counts(both, pred, target).mean(axis=0)
    return mean


class _SearchState:
    """Weights that are being changed: their parts and, for every class, the weighted sum of each uncertain pixel."""

    def __init__(self, maps: ScreenedMaps, metric: CountMetric, use: np.ndarray, parts: np.ndarray) -> None:
        self.maps, self.metric, self.rows = maps, metric, np.flatnonzero(use)
        self.parts = parts.copy()
        self.sums = [weighted_sums(pixels, parts) for pixels in maps.classes]

    def scores_after(self, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score after each of `moves` (see `count_masks`), float64 (C,), and the best thresholds of the classes (C, K).

        All moves exchange parts, or all add equally many.
        """
        total = int(self.parts.sum() + (moves[0, 2] if moves[0, 1] == NOBODY else 0))
        cuts = cuts_of(self.maps.thresholds, total)
        at_once = max(1, COUNTS_AT_ONCE // (len(self.rows) * len(cuts)))
        scores, thresholds = np.zeros(len(moves)), np.empty((len(moves), len(self.maps.classes)), dtype=np.int64)
        for k, (pixels, sums) in enumerate(zip(self.maps.classes, self.sums, strict=True)):
            for start in range(0, len(moves), at_once):
                part = slice(start, start + at_once)
                both, pred = count_masks(pixels, sums, moves[part], cuts, self.rows)
                by_threshold = score_of_counts(both, pred, pixels.target[self.rows, None, None], self.metric)
                scores[part] += by_threshold.max(axis=1)
                thresholds[part, k] = self.maps.thresholds[_middle_of_best(by_threshold)]
        return scores / len(self.maps.classes), thresholds

    def apply(self, move: np.ndarray) -> None:
        to, source, parts = move.tolist()
        for member, change in ((to, parts), (source, -parts)):
            if member != NOBODY:
                self.parts[member] += change
                for pixels, sums in zip(self.maps.classes, self.sums, strict=True):
                    add_parts(pixels, sums, member, change)

    def result(self, score: float, thresholds: np.ndarray) -> SearchedWeights:
        return SearchedWeights(tuple(self.parts.tolist()), tuple(thresholds.tolist()), float(score))


def _search_once(
    maps: ScreenedMaps, config: WeightsConfig, metric: CountMetric, use: np.ndarray, members: np.ndarray
) -> SearchedWeights:
    if config.search == "greedy":
        return greedy(maps, metric, use, members, config.steps)
    return (hill_climb if config.search == "hill_climb" else slsqp)(maps, metric, use, members)


def _at_best_thresholds(maps: ScreenedMaps, metric: CountMetric, parts: np.ndarray, use: np.ndarray) -> SearchedWeights:
    state = _SearchState(maps, metric, use, parts)
    scores, thresholds = state.scores_after(STAY)
    return state.result(scores[0], thresholds[0])


def _equal_parts(members: int) -> int:
    """Parts of each member at equal weights, about FINEST in all, so that a search can start at exactly equal ones."""
    if members > MAX_PARTS:
        raise ConfigError(
            f"weights: hill_climb and slsqp know {MAX_PARTS} parts of weight, fewer than the {members} runs. Search "
            "greedily, or name fewer runs."
        )
    return max(1, FINEST // members)


def _covariance(pixels: UncertainPixels, rows: np.ndarray, members: np.ndarray, metric: CountMetric) -> np.ndarray:
    """Covariance of the members' values and, last, the ground truth over the uncertain pixels, float64 (M + 1, M + 1).

    For a mean over maps a map's pixels weigh the less the more there are of them, as in its Dice.
    """
    products, sums, count = np.zeros((len(members) + 1,) * 2), np.zeros(len(members) + 1), 0.0
    for i in rows:
        values, truth = pixels.row(int(i))
        together = np.concatenate([values[members] / np.float32(255), truth[None]], dtype=np.float32)
        weight = 1.0 if metric.pooled == "samples" else 1.0 / (1.0 + pixels.target[i] + values.shape[1])
        products += weight * (together @ together.T)
        sums += weight * together.sum(axis=1, dtype=np.float64)
        count += weight * values.shape[1]
    mean = sums / max(count, 1e-12)
    covariance: np.ndarray = products / max(count, 1e-12) - np.outer(mean, mean)
    return covariance


def _middle_of_best(by_threshold: np.ndarray) -> np.ndarray:
    """Position of the best threshold of every move, (C,): of equal ones the middle. by_threshold: float64 (C, T)."""
    best = by_threshold >= by_threshold.max(axis=1, keepdims=True) - MIN_GAIN
    middle = (best.sum(axis=1, keepdims=True) - 1) // 2
    return np.asarray((best.cumsum(axis=1) > middle).argmax(axis=1))


def _mean_score(counts: np.ndarray, metric: CountMetric) -> float:
    both, pred, target = counts
    return float(score_of_counts(both, pred, target, metric).mean())
