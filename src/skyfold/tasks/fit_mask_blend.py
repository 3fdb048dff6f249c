"""How runs are combined: what of it is fitted, on all out-of-fold rows and again without each fold.

Weights, the thresholds of votes and merges and the coefficients of a stack are chosen on rows that are scored later. A
fold's honest score needs a combination that was chosen without the fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from skyfold.blending.merge import Merge, class_sources
from skyfold.blending.recipe import Combination
from skyfold.blending.search import cross_fitted_weights, search_thresholds
from skyfold.blending.stack import fit_stack, sample_pixels
from skyfold.blending.uncertain_pixels import screen
from skyfold.competition import Competition
from skyfold.config.blend import BlendConfig, MergeConfig, PostprocessConfig, WeightsConfig
from skyfold.data.class_subset import require_one_class, with_planes
from skyfold.errors import ConfigError
from skyfold.postprocess.select import select
from skyfold.postprocess.selection import HALF
from skyfold.postprocess.threshold_sweep import measure
from skyfold.store.folds import Folds
from skyfold.store.runs import StoredRun
from skyfold.types import CountMetric, JsonDict, Metric, Names, Predictions, Samples


@dataclass(frozen=True)
class FittedCombination:
    """whole: fitted on all validated rows; by_fold: on those of the other folds, empty where nothing is fitted.

    search: how the weights scored at the thresholds they were searched with, None where none were searched.
    """

    whole: Combination
    by_fold: dict[int, Combination]
    search: JsonDict | None = None

    def to_dict(self) -> JsonDict:
        return {
            "whole": self.whole.to_dict(),
            "by_fold": {str(fold): combination.to_dict() for fold, combination in self.by_fold.items()},
            "search": self.search,
        }


def fit_combination(
    config: BlendConfig, runs: Sequence[StoredRun], samples: Samples, folds: Folds, competition: Competition
) -> FittedCombination:
    """The combination that `config` asks for, which passed `check_blend`."""
    metric = competition.metric
    members = [(run.info.name, run.info.classes) for run in runs]
    if config.merge is not None:
        return _merging(merge_of(config, config.merge, members, competition.classes), runs, samples, folds, competition)
    if isinstance(config.weights, WeightsConfig):
        return _searched(config, config.weights, runs, samples, folds, metric)
    if config.combine == "vote":
        return _voting(config.weights, runs, samples, folds, metric)
    if config.combine == "stack":
        return _stacked(config, runs, samples, folds)
    return FittedCombination(Combination(config.combine, config.weights), {})


def check_blend(config: BlendConfig, members: Sequence[tuple[str, Names]], competition: Competition) -> None:
    """ConfigError where runs of these names and classes make no blend of all classes, or the metric is none for it.

    Needs no trained run, so that nothing is trained in vain.
    """
    metric, classes = competition.metric, competition.classes
    counted = isinstance(metric, CountMetric) and metric.greater_is_better
    if isinstance(config.weights, WeightsConfig) and not counted:
        raise ConfigError(
            f"weights: they are searched for scores of pixel counts, which '{metric.name}' is not. Give fixed weights "
            "or leave them off, or let the metric offer `of_counts` (skyfold.types.CountMetric)."
        )
    if config.merge is not None:
        merge_of(config, config.merge, members, classes)
        return
    for name, own in members:
        if tuple(own) != classes:
            raise ConfigError(
                f"runs: '{name}' learned {', '.join(own)} of {', '.join(classes)}. Say how classes of several runs "
                "become one map: merge: {rule: largest}."
            )


def merge_of(
    config: BlendConfig, how: MergeConfig, members: Sequence[tuple[str, Names]], classes: tuple[str, ...]
) -> Merge:
    """The merge that `config` asks for, without thresholds; ConfigError where the members do not know the classes."""
    sources, rest = class_sources(members, classes)
    order = None
    if how.order is not None:
        rest, order = _precedence(how.order, classes, rest)
    weights = config.weights if isinstance(config.weights, tuple) else None
    for name, pairs in zip(classes, sources, strict=True):
        if weights and pairs and not sum(weights[member] for member, _ in pairs):
            raise ConfigError(f"weights: all runs that learned {name} have weight 0. Leave them out.")
    return Merge(how.rule, sources, rest, weights, order=order)


def _merging(
    merge: Merge, runs: Sequence[StoredRun], samples: Samples, folds: Folds, competition: Competition
) -> FittedCombination:
    """Every class goes by the threshold at which it scores best by itself, where the rule uses thresholds."""
    classes, weights = competition.classes, merge.weights
    require_one_class(samples, classes, why="merge")
    if merge.rule == "largest":
        return FittedCombination(Combination("mean", weights, merge=merge), {})
    known = tuple(k for k in range(len(classes)) if k != merge.rest)
    rows = np.flatnonzero(folds.fold >= 0)
    oof = runs[0].oof
    alone = Predictions(oof.ids, _Probabilities(merge, runs, known), oof.has_prediction, oof.unit)  # type: ignore[arg-type]
    sweep = measure(alone, with_planes(samples, known), folds, competition.metric, PostprocessConfig())

    def merging(without: int | None) -> Combination:
        use = np.flatnonzero(folds.fold[rows] != (-1 if without is None else without))
        chosen = dict(zip(known, select(sweep, rows=use).thresholds, strict=True))
        thresholds = tuple(chosen.get(k, HALF) for k in range(len(classes)))
        return Combination("mean", weights, merge=replace(merge, thresholds=thresholds))

    return FittedCombination(merging(None), {fold: merging(fold) for fold in range(folds.k)})


def _precedence(order: tuple[str, ...], classes: tuple[str, ...], unknown: int | None) -> tuple[int, tuple[int, ...]]:
    """Places of the class that `order` leaves out, and of the others in its order."""
    left_out = [name for name in classes if name not in order]
    if len(left_out) != 1 or len(order) != len(classes) - 1:
        raise ConfigError(f"merge.order: name all but one of {', '.join(classes)}, each once, not {', '.join(order)}.")
    rest = classes.index(left_out[0])
    if unknown not in (None, rest):
        raise ConfigError(f"merge.order: no run learned {classes[unknown]}; leave that one out.")
    return rest, tuple(classes.index(name) for name in order)


class _Probabilities:
    """What the members of a merge say of some classes, uint8 (n, H, W, k), made when rows are asked for."""

    def __init__(self, merge: Merge, runs: Sequence[StoredRun], places: tuple[int, ...]) -> None:
        self.merge, self.places = merge, list(places)
        self.arrays = [run.oof.values for run in runs]
        self.shape = (*self.arrays[0].shape[:-1], len(places))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        chunks = [values[..., self.places] for _, values in self.merge.probabilities(self.arrays, rows)]
        return np.rint(np.concatenate(chunks)).astype(np.uint8)


def _searched(
    config: BlendConfig,
    how: WeightsConfig,
    runs: Sequence[StoredRun],
    samples: Samples,
    folds: Folds,
    metric: Metric,
) -> FittedCombination:
    if samples.targets is None:
        raise ConfigError("weights are searched on the training part, which has no targets here.")
    assert isinstance(metric, CountMetric)
    rows = np.flatnonzero(folds.fold >= 0)
    arrays = [run.oof.values for run in runs]
    grid = search_thresholds(how)
    maps = screen(arrays, samples.targets, samples.valid, rows=rows, thresholds=grid, seed=config.seed)
    searched, without, cross_fitted = cross_fitted_weights(maps, folds.fold[maps.rows], metric, how.steps)

    def mean_of(parts: tuple[int, ...]) -> Combination:
        return Combination("mean", tuple(float(part) for part in parts))  # whole parts, so that sums are exact

    report = {
        "thresholds": list(searched.thresholds),
        "cv_in_sample": searched.score,
        "cv_cross_fitted": cross_fitted,
        "optimism": searched.score - cross_fitted,
        "rows": len(maps.rows),
        "of_rows": len(rows),
        "uncertain_pixels": [int(pixels.start[-1]) for pixels in maps.classes],
        "weights_by_fold": {str(fold): list(one.blend_weights) for fold, one in without.items()},
    }
    return FittedCombination(
        mean_of(searched.parts), {fold: mean_of(one.parts) for fold, one in without.items()}, report
    )


def _voting(
    weights: tuple[float, ...] | None, runs: Sequence[StoredRun], samples: Samples, folds: Folds, metric: Metric
) -> FittedCombination:
    """Every run votes at the threshold per class at which it scores best by itself."""
    alone = [measure(run.oof, samples, folds, metric, PostprocessConfig(), folder=run.folder) for run in runs]

    def voting(without: int | None) -> Combination:
        rows = np.flatnonzero(folds.fold[alone[0].rows] != (-1 if without is None else without))
        thresholds = tuple(select(one, rows=rows).thresholds for one in alone)
        return Combination("vote", weights, thresholds)

    return FittedCombination(voting(None), {fold: voting(fold) for fold in range(folds.k)})


def _stacked(config: BlendConfig, runs: Sequence[StoredRun], samples: Samples, folds: Folds) -> FittedCombination:
    if samples.targets is None:
        raise ConfigError("a stack is fitted on the training part, which has no targets here.")
    rows = np.flatnonzero(folds.fold >= 0)
    arrays = [run.oof.values for run in runs]
    pixels = sample_pixels(arrays, samples.targets, samples.valid, rows=rows, seed=config.seed)

    def stacking(without: int | None) -> Combination:
        return Combination(
            "stack", stack=fit_stack(pixels, rows[folds.fold[rows] != (-1 if without is None else without)])
        )

    return FittedCombination(stacking(None), {fold: stacking(fold) for fold in range(folds.k)})
