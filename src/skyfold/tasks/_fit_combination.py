"""Combinations of runs: what of a blend is fitted, on all out-of-fold rows and again without each fold.

Weights, the thresholds of merges and the coefficients of a stack are chosen on rows that are scored later. A
fold's cross-fitted score needs a combination that was chosen without the fold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from skyfold.blending.merge import Merge, class_sources
from skyfold.blending.recipe import BlendedRows, Combination
from skyfold.blending.search import cross_fitted_weights, search_thresholds
from skyfold.blending.stack import fit_stack, sample_pixels
from skyfold.blending.uncertain_pixels import screen
from skyfold.config.blend import BlendConfig, MergeConfig, PostprocessConfig, WeightsConfig
from skyfold.data.class_subset import of_classes, require_one_class
from skyfold.data.dataset import Dataset
from skyfold.errors import ConfigError
from skyfold.postprocess.measure import measure
from skyfold.postprocess.select import select
from skyfold.postprocess.selection import HALF
from skyfold.store.folds import Folds
from skyfold.store.runs import StoredRun
from skyfold.types import CountMetric, JsonDict, Names, Predictions


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


def fit_combination(config: BlendConfig, runs: Sequence[StoredRun], dataset: Dataset) -> FittedCombination:
    """Fit the combination that `config` asks for on the out-of-fold rows of `runs`, one per member.

    ConfigError where a merge finds pixels that have no class, or several.
    """
    folds, samples = dataset.folds, dataset.train
    rows = np.flatnonzero(folds.fold >= 0)
    if config.merge is not None:
        members = [(run.info.name, run.info.classes) for run in runs]
        merge = merge_of(config, config.merge, members, dataset.competition.classes)
        return _merging(merge, runs, dataset)
    if isinstance(config.weights, WeightsConfig):
        return _searched(config, config.weights, runs, dataset)
    if config.combine == "stack":
        assert samples.targets is not None
        arrays = [run.oof.values for run in runs]
        pixels = sample_pixels(arrays, samples.targets, samples.valid, rows=rows, seed=config.seed)
        return _with_and_without(lambda use: Combination("stack", stack=fit_stack(pixels, rows[use])), folds)
    return FittedCombination(Combination("mean", config.weights), {})


def blended_oof(combination: Combination, runs: Sequence[StoredRun]) -> Predictions:
    """Out-of-fold rows of a blend that is not stored, computed from those of `runs` on access."""
    return blended(combination, [run.oof for run in runs])


def blended(combination: Combination, parts: Sequence[Predictions]) -> Predictions:
    """Rows of a blend that are computed on access; parts: the rows of the same samples, one a member."""
    values = cast(np.ndarray, BlendedRows(combination, [part.values for part in parts]))
    return replace(parts[0], values=values)


def merge_of(
    config: BlendConfig, how: MergeConfig, members: Sequence[tuple[str, Names]], classes: tuple[str, ...]
) -> Merge:
    """The merge that `config` asks for, without thresholds. members: name and classes of each run.

    ConfigError where the members do not know all classes but one, or `order` is not of the others.
    """
    sources, rest = class_sources(members, classes)
    order = None
    if how.order is not None:
        left_out = [name for name in classes if name not in how.order]
        if len(left_out) != 1 or len(how.order) != len(classes) - 1:
            raise ConfigError(
                f"merge.order: name all but one of {', '.join(classes)}, each once, not {', '.join(how.order)}."
            )
        if rest is not None and classes[rest] != left_out[0]:
            raise ConfigError(f"merge.order: no run learned {classes[rest]}; leave that one out.")
        rest, order = classes.index(left_out[0]), tuple(classes.index(name) for name in how.order)
    weights = config.weights if isinstance(config.weights, tuple) else None
    for name, pairs in zip(classes, sources, strict=True):
        if weights and pairs and not sum(weights[member] for member, _ in pairs):
            raise ConfigError(f"weights: all runs that learned {name} have weight 0. Leave them out.")
    return Merge(how.rule, sources, rest, weights, order=order)


def _with_and_without(fit: Callable[[np.ndarray], Combination], folds: Folds) -> FittedCombination:
    """Fit on all scored rows, and again without each fold. fit: of positions among the validated rows."""
    validated = folds.fold >= 0
    fold, used = folds.fold[validated], folds.used[validated]
    by_fold = {number: fit(np.flatnonzero((fold != number) & used)) for number in range(folds.k)}
    return FittedCombination(fit(np.flatnonzero(used)), by_fold)


def _merging(merge: Merge, runs: Sequence[StoredRun], dataset: Dataset) -> FittedCombination:
    """Every class goes by the threshold at which it scores best by itself, where the rule uses thresholds."""
    classes = dataset.competition.classes
    require_one_class(dataset.train, classes, why="merge")
    if merge.rule == "largest":
        return FittedCombination(Combination("mean", merge.weights, merge=merge), {})
    known = tuple(k for k in range(len(classes)) if k != merge.rest)
    single = replace(merge, rule="mean", sources=tuple(merge.sources[k] for k in known), rest=None)
    oof = blended_oof(Combination("mean", merge=single), runs)
    samples = of_classes(dataset.train, classes, [classes[k] for k in known])
    sweep = measure(oof, samples, dataset.folds, dataset.competition.metric, PostprocessConfig())

    def merging(use: np.ndarray) -> Combination:
        chosen = dict(zip(known, select(sweep, rows=use).thresholds, strict=True))
        thresholds = tuple(chosen.get(k, HALF) for k in range(len(classes)))
        return Combination("mean", merge.weights, merge=replace(merge, thresholds=thresholds))

    return _with_and_without(merging, dataset.folds)


def _searched(
    config: BlendConfig, how: WeightsConfig, runs: Sequence[StoredRun], dataset: Dataset
) -> FittedCombination:
    folds, samples, metric = dataset.folds, dataset.train, dataset.competition.metric
    assert samples.targets is not None
    assert isinstance(metric, CountMetric)
    rows = folds.scored
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
        "uncertain_pixels": [pixels.count for pixels in maps.classes],
        "weights_by_fold": {str(fold): list(one.blend_weights) for fold, one in without.items()},
    }
    return FittedCombination(
        mean_of(searched.parts), {fold: mean_of(one.parts) for fold, one in without.items()}, report
    )
