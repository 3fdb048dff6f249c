"""Which weights the models of a weighted mean get, searched on the score itself together with a threshold per class.

Hard Dice and IoU have steps and no gradient, so the searches compare exact scores: adding models one by one (Caruana
et al. 2004), or moving weight between two models. The third follows a gradient, that of the correlation with the truth,
and takes its thresholds from the exact scores. Weights are whole parts, at most 257 of them, so that sums of stored
bytes, and with them the rounding of the blend that is stored later, are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from skyfold.blending.uncertain_pixels import (
    MOST_PARTS,
    PackedMaps,
    UncertainPixels,
    add_to_sums,
    counts_after_adding,
    counts_after_exchange,
    cuts_of,
    weighted_sums,
)
from skyfold.config.blend import WeightsConfig
from skyfold.errors import ConfigError, OofMismatch

MapMetric = Literal["mean_dice", "mean_iou", "global_dice", "global_iou"]
FINEST = 100  # a hundredth of the weight is the smallest that hill climbing and slsqp give
STAY = np.array([[0, 0, 0]])  # no parts change hands
COUNTS_AT_ONCE = 2_000_000  # rows x moves x levels, each of some 50 bytes
LEAST_GAIN = 1e-12  # a smaller one is rounding of the mean over maps
Choose = Callable[[np.ndarray], "Chosen"]


@dataclass(frozen=True)
class Chosen:
    """parts: (M,) whole parts of weight; levels: (K,) the level each class does best at; score: of the rows it was
    chosen on."""

    parts: tuple[int, ...]
    levels: tuple[int, ...]
    score: float

    @property
    def weights(self) -> tuple[float, ...]:
        """The same as shares that add up to 1."""
        return tuple(part / sum(self.parts) for part in self.parts)


@dataclass(frozen=True)
class CrossFittedWeights:
    """Weights chosen on all rows, beside weights chosen on k-1 folds and scored, with their levels, on the k-th."""

    chosen: Chosen
    by_fold: dict[int, Chosen]
    in_sample: float
    cross_fitted: float

    @property
    def optimism(self) -> float:
        return self.in_sample - self.cross_fitted


def levels_of(config: WeightsConfig) -> np.ndarray:
    """The levels that are searched, ascending int64; an odd count over a symmetric range has 127, one half.

    >>> levels_of(WeightsConfig(thresholds=3)).tolist()
    [51, 127, 204]
    """
    low, high = config.threshold_range
    thresholds = np.linspace(low, high, config.thresholds) if config.thresholds > 1 else np.array([(low + high) / 2])
    return np.unique(np.clip(np.round(255 * thresholds - 0.5 + 1e-9), 0, 254).astype(np.int64))


def search(
    maps: PackedMaps,
    config: WeightsConfig,
    metric: MapMetric,
    *,
    use: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> Chosen:
    """Search as `config` says, on the packed rows that `use` (bool (n,), None: all) marks.

    groups: (n,) labels, whose samples go into a bag together or not at all; None: every row its own.
    """
    use = np.ones(len(maps.rows), dtype=bool) if use is None else use
    if not use.any():
        raise OofMismatch("no rows to search weights on; train at least two folds.")
    if config.bags == 1:
        return _search_once(maps, config, metric, use, np.arange(maps.models))
    rng = np.random.default_rng(seed)
    labels = np.unique(np.arange(len(use)) if groups is None else groups, return_inverse=True)[1]
    members = np.unique(labels[use])
    total = np.zeros(maps.models)
    for _ in range(config.bags):
        drawn = rng.permutation(members)[: max(1, round(config.row_fraction * len(members)))]
        models = np.sort(rng.permutation(maps.models)[: max(1, int(np.ceil(config.model_fraction * maps.models)))])
        total += _search_once(maps, config, metric, use & np.isin(labels, drawn), models).weights
    return _at_best_levels(maps, metric, whole_parts(total, MOST_PARTS), use)


def cross_fitted_weights(maps: PackedMaps, fold: np.ndarray, metric: MapMetric, choose: Choose) -> CrossFittedWeights:
    """Choose on all packed rows, and for every fold on the others. choose: bool (n,) rows -> Chosen.

    fold: int (n,), of the packed rows. A global metric is scored over all folds together, each with its own weights.
    """
    folds = [int(f) for f in np.unique(fold) if f != -1]
    if len(folds) < 2:
        raise OofMismatch(f"cross-fitting needs 2 folds or more; got folds {folds}.")
    chosen = choose(fold != -1)
    by_fold = {f: choose((fold != -1) & (fold != f)) for f in folds}
    together = np.concatenate([counts_at(maps, by_fold[f], np.flatnonzero(fold == f)) for f in folds], axis=1)
    in_sample = counts_at(maps, chosen, np.flatnonzero(fold != -1))
    return CrossFittedWeights(chosen, by_fold, _mean_score(in_sample, metric), _mean_score(together, metric))


def greedy(maps: PackedMaps, metric: MapMetric, use: np.ndarray, models: np.ndarray, steps: int) -> Chosen:
    """Add the model, of `models`, that scores best with what was added before, `steps` times; the best of all steps.

    Of equal candidates the first is taken, of equal steps the earliest, so that weights stay as plain as they can be.
    """
    search_ = _Search(maps, metric, use, np.zeros(maps.models, dtype=np.int64))
    best: Chosen | None = None
    for _ in range(min(steps, MOST_PARTS)):
        scores, levels = search_.scores_after_adding(models)
        place = int(np.argmax(scores >= scores.max() - LEAST_GAIN))
        search_.give(int(models[place]), 1)
        if best is None or scores[place] > best.score + LEAST_GAIN:
            best = Chosen(tuple(search_.parts.tolist()), tuple(levels[place].tolist()), float(scores[place]))
    assert best is not None
    return best


def hill_climb(maps: PackedMaps, metric: MapMetric, use: np.ndarray, models: np.ndarray) -> Chosen:
    """From equal weights, move weight between the two models that gain most by it; halve the step where none does.

    About a hundred parts, a multiple of the models, so that it begins at exactly equal weights and ends no lower.
    """
    if len(models) > MOST_PARTS:
        raise ConfigError(f"weights: hill climbing knows {MOST_PARTS} parts, fewer than the {len(models)} runs.")
    each = max(1, FINEST // len(models))
    start = np.zeros(maps.models, dtype=np.int64)
    start[models] = each
    search_ = _Search(maps, metric, use, start)
    scores, levels = search_.scores_after_exchange(STAY)
    best = Chosen(tuple(start.tolist()), tuple(levels[0].tolist()), float(scores[0]))
    step = 1 << (each * len(models)).bit_length() - 2
    while step:
        pairs = [(to, source) for to in models for source in models if to != source and search_.parts[source]]
        moves = np.array([(to, source, min(step, search_.parts[source])) for to, source in pairs], dtype=np.int64)
        scores, levels = search_.scores_after_exchange(moves) if len(moves) else (np.array([-np.inf]), levels)
        place = int(np.argmax(scores))
        if scores[place] > best.score + LEAST_GAIN:
            to, source, parts = moves[place].tolist()
            search_.give(to, parts)
            search_.give(source, -parts)
            best = Chosen(tuple(search_.parts.tolist()), tuple(levels[place].tolist()), float(scores[place]))
        else:
            step //= 2
    return best


def slsqp(maps: PackedMaps, metric: MapMetric, use: np.ndarray, models: np.ndarray) -> Chosen:
    """Maximise the correlation of the blend with the truth, from equal weights by sequential quadratic programming.

    Over the uncertain pixels of each class; the squares of the correlations are averaged over classes. All that is
    needed of the pixels are their sums of products (M + 1, M + 1). The correlation is a stand-in that knows no level:
    equal weights are kept where they score better at their best levels.
    """
    from scipy.optimize import minimize

    covariances = [_covariance(pixels, np.flatnonzero(use), models, metric) for pixels in maps.classes]
    varied = [covariance for covariance in covariances if covariance[-1, -1] > 0]
    equal = np.full(len(models), 1.0 / len(models))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        total, gradient = 0.0, np.zeros_like(weights)
        for covariance in varied:
            with_truth, among = covariance[:-1, -1], covariance[:-1, :-1]
            agreement, spread = with_truth @ weights, max(weights @ among @ weights, 1e-12)
            total += agreement * abs(agreement) / spread / covariance[-1, -1]
            slope = 2 * abs(agreement) * (with_truth - agreement / spread * (among @ weights)) / spread
            gradient += slope / covariance[-1, -1]
        return -total, -gradient

    shares = minimize(
        loss,
        equal,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(models),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like},
    ).x
    candidates = []
    for share in (equal, np.clip(np.nan_to_num(shares), 0.0, 1.0) + 1e-12):
        spread = np.zeros(maps.models)
        spread[models] = share
        candidates.append(_at_best_levels(maps, metric, whole_parts(spread, _multiple(len(models))), use))
    return max(candidates, key=lambda chosen: chosen.score)


def _covariance(pixels: UncertainPixels, rows: np.ndarray, models: np.ndarray, metric: MapMetric) -> np.ndarray:
    """Covariance of the models' values and, last, the truth over the uncertain pixels, float64 (M + 1, M + 1).

    For the mean over maps a map's pixels weigh the less the more there are of them, as in its Dice.
    """
    products, sums, count = np.zeros((len(models) + 1,) * 2), np.zeros(len(models) + 1), 0.0
    for i in rows:
        values, truth = pixels.of_row(int(i))
        together = np.concatenate([values[models] / np.float32(255), truth[None]], dtype=np.float32)
        weight = 1.0 if metric.startswith("global") else 1.0 / (1.0 + pixels.target[i] + values.shape[1])
        products += weight * (together @ together.T)
        sums += weight * together.sum(axis=1, dtype=np.float64)
        count += weight * values.shape[1]
    mean = sums / max(count, 1e-12)
    covariance: np.ndarray = products / max(count, 1e-12) - np.outer(mean, mean)
    return covariance


def whole_parts(weights: np.ndarray, total: int) -> np.ndarray:
    """`total` parts shared out as `weights` are, int64 (M,): rounded down, the rest to the largest remainders.

    >>> whole_parts(np.array([1.0, 1.0, 1.0]), 100).tolist()
    [34, 33, 33]
    """
    exact = np.asarray(weights, dtype=np.float64) * total / np.sum(weights)
    parts = np.floor(exact + 1e-9).astype(np.int64)
    rest = np.argsort(parts - exact, kind="stable")[: total - int(parts.sum())]
    parts[rest] += 1
    return parts


def counts_at(maps: PackedMaps, chosen: Chosen, rows: np.ndarray) -> np.ndarray:
    """Pixels in both masks, predicted and true, int64 (3, len(rows), K), of the blend that `chosen` stands for."""
    parts = np.array(chosen.parts, dtype=np.int64)
    columns = []
    for pixels, level in zip(maps.classes, chosen.levels, strict=True):
        cut = cuts_of(np.array([level]), int(parts.sum()))
        both, pred = counts_after_exchange(pixels, weighted_sums(pixels, parts), STAY, cut, rows)
        columns.append((both[:, 0, 0], pred[:, 0, 0], pixels.target[rows]))
    return np.array(columns, dtype=np.int64).transpose(1, 2, 0)


class _Search:
    """Weights that are being changed: their parts and, for every class, the weighted sum of each uncertain pixel."""

    def __init__(self, maps: PackedMaps, metric: MapMetric, use: np.ndarray, parts: np.ndarray) -> None:
        self.maps, self.metric, self.rows = maps, metric, np.flatnonzero(use)
        self.parts = parts.copy()
        self.sums = [weighted_sums(pixels, parts) for pixels in maps.classes]

    def scores_after_adding(self, models: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What one more part of each of `models` would score, float64 (C,), and the classes' best levels (C, K)."""
        return self._scores(counts_after_adding, models, int(self.parts.sum()) + 1)

    def scores_after_exchange(self, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same after each of `moves`, (to, from, parts)."""
        return self._scores(counts_after_exchange, moves, int(self.parts.sum()))

    def give(self, model: int, parts: int) -> None:
        self.parts[model] += parts
        for pixels, sums in zip(self.maps.classes, self.sums, strict=True):
            add_to_sums(pixels, sums, model, parts)

    def _scores(
        self, count: Callable[..., tuple[np.ndarray, np.ndarray]], moves: np.ndarray, total: int
    ) -> tuple[np.ndarray, np.ndarray]:
        cuts = cuts_of(self.maps.levels, total)
        at_once = max(1, COUNTS_AT_ONCE // (len(self.rows) * len(cuts)))
        scores, levels = np.zeros(len(moves)), np.empty((len(moves), len(self.maps.classes)), dtype=np.int64)
        for k, (pixels, sums) in enumerate(zip(self.maps.classes, self.sums, strict=True)):
            for start in range(0, len(moves), at_once):
                part = slice(start, start + at_once)
                both, pred = count(pixels, sums, moves[part], cuts, self.rows)
                by_level = score_of_counts(both, pred, pixels.target[self.rows, None, None], self.metric)
                scores[part] += by_level.max(axis=1)
                levels[part, k] = self.maps.levels[_middle_of_best(by_level)]
        return scores / len(self.maps.classes), levels


def score_of_counts(both: np.ndarray, pred: np.ndarray, target: np.ndarray, metric: MapMetric) -> np.ndarray:
    """The score over axis 0, the maps of one class, from counts of pixels; 1 where mask and truth are both empty."""
    if metric in ("global_dice", "global_iou"):
        both, pred, target = (count.sum(axis=0, keepdims=True, dtype=np.int64) for count in (both, pred, target))
    iou = metric in ("mean_iou", "global_iou")
    part = both if iou else 2 * both
    whole = pred + target - both if iou else pred + target
    mean: np.ndarray = np.where(whole == 0, 1.0, part / np.maximum(whole, 1)).mean(axis=0)
    return mean


def _search_once(
    maps: PackedMaps, config: WeightsConfig, metric: MapMetric, use: np.ndarray, models: np.ndarray
) -> Chosen:
    if config.search == "greedy":
        return greedy(maps, metric, use, models, config.steps)
    return (hill_climb if config.search == "hill_climb" else slsqp)(maps, metric, use, models)


def _at_best_levels(maps: PackedMaps, metric: MapMetric, parts: np.ndarray, use: np.ndarray) -> Chosen:
    scores, levels = _Search(maps, metric, use, parts).scores_after_exchange(STAY)
    return Chosen(tuple(parts.tolist()), tuple(levels[0].tolist()), float(scores[0]))


def _multiple(models: int) -> int:
    """Parts that can be shared equally, about FINEST of them."""
    return models * max(1, FINEST // models)


def _middle_of_best(by_level: np.ndarray) -> np.ndarray:
    """Position of the best level of every move, (C,): of equal ones the middle. by_level: float64 (C, T)."""
    best = by_level >= by_level.max(axis=1, keepdims=True) - LEAST_GAIN
    places = [np.flatnonzero(row) for row in best]
    return np.array([place[(len(place) - 1) // 2] for place in places])


def _mean_score(counts: np.ndarray, metric: MapMetric) -> float:
    both, pred, target = counts
    return float(score_of_counts(both, pred, target, metric).mean())
