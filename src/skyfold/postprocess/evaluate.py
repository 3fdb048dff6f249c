"""Scores of out-of-fold predictions: at threshold 0.5, with fitted post-processing, and cross-fitted.

The in-sample score is chosen and computed on the same rows. The cross-fitted one is nested: chosen on k - 1 folds and
scored on the k-th. Their difference is the optimism.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from skyfold.config.blend import PostprocessConfig
from skyfold.errors import DamagedFile, OofMismatch
from skyfold.files import read_csv, write_checked_csv
from skyfold.metrics.bootstrap import Interval, bootstrap_interval, paired_difference
from skyfold.metrics.segmentation import MeanOfMaps
from skyfold.postprocess.select import select
from skyfold.postprocess.selection import Selection
from skyfold.postprocess.threshold_sweep import ThresholdSweep, row_scores
from skyfold.store.folds import Folds
from skyfold.types import CountMetric, JsonDict, Metric, Names

FittedGate = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Evaluation:
    """A selection made on all rows, for each fold the selection made on the others, and what both score.

    fold: int (n,), -1 where no fold validates the row; scored: bool (n,), of a fold and not excluded; groups: (n,),
    drawn together by the bootstrap. in_sample_stats, stats: float64 (n, S), of the masks of `selection` and of those of
    `by_fold`, as the metric takes them; in_sample_map_scores, map_scores: float64 (n, K), of each map by itself. NaN
    in rows of no fold.
    """

    sweep: ThresholdSweep
    fold: np.ndarray
    scored: np.ndarray
    groups: np.ndarray
    selection: Selection
    by_fold: dict[int, Selection]
    in_sample_stats: np.ndarray
    stats: np.ndarray
    in_sample_map_scores: np.ndarray
    map_scores: np.ndarray

    @property
    def in_sample(self) -> float:
        """Score of all rows under the selection made on them."""
        return self.sweep.metric.score(self.in_sample_stats[self.scored])

    @property
    def score(self) -> float:
        """The cross-fitted score: what to expect of new images."""
        return self.sweep.metric.score(self.stats[self.scored])

    @cached_property
    def at_half(self) -> tuple[np.ndarray, np.ndarray]:
        """Statistics (n, S) of masks at probability 0.5, and the score of each map (n, K)."""
        return self.sweep.at_half()

    def scores(self, draws: int, seed: int) -> JsonDict:
        """cv_at_0.5, cv_in_sample, cv_cross_fitted, optimism, and the bootstrap interval of the cross-fitted score.

        Samples are drawn by group. greater_is_better, too, where it is not; cv_with_excluded, the cross-fitted score
        with the excluded samples, where there are some.
        """
        metric, rows = self.sweep.metric, self.scored
        interval = bootstrap_interval(metric, self.stats[rows], groups=self.groups[rows], draws=draws, seed=seed)
        every = self.fold != -1
        return {
            "cv_at_0.5": metric.score(self.at_half[0][rows]),
            "cv_in_sample": self.in_sample,
            "cv_cross_fitted": self.score,
            "optimism": self.in_sample - self.score,
            "low": interval.low,
            "high": interval.high,
            **({"cv_with_excluded": metric.score(self.stats[every])} if (every & ~rows).any() else {}),
            **({} if metric.greater_is_better else {"greater_is_better": False}),
        }

    def gain_over(self, baseline: np.ndarray, draws: int, seed: int) -> Interval:
        """Cross-fitted score minus that of `baseline`, statistics (n, S) of the same maps, with its interval."""
        ours, theirs, groups = (part[self.scored] for part in (self.stats, baseline, self.groups))
        return paired_difference(self.sweep.metric, ours, theirs, groups=groups, draws=draws, seed=seed)

    def columns(self, classes: Names) -> dict[str, np.ndarray]:
        """Columns of `write_rows`, of the scored rows: the score of each map and, unless the metric is their mean, its
        statistics."""
        scores = {
            "cv_at_0.5": self.at_half[1],
            "cv_in_sample": self.in_sample_map_scores,
            "cv_cross_fitted": self.map_scores,
            "all_empty": self.sweep.all_empty(),
        }
        columns: dict[str, np.ndarray] = {}
        for name, values in scores.items():
            columns |= map_columns(name, values[self.scored], classes)
        if _is_mean_of_maps(self.sweep.metric):
            return columns
        names = [f"stats {i}" for i in range(self.stats.shape[1])]
        if isinstance(self.sweep.metric, CountMetric):
            names = [f"{count} {label}" for count in ("both", "pred", "truth") for label in classes]
        return columns | {
            f"cv_cross_fitted_{name}": own for name, own in zip(names, self.stats[self.scored].T, strict=True)
        }


@dataclass(frozen=True)
class SampleScores:
    """Statistics of each out-of-fold sample, from which the score of an entry of the leaderboard follows.

    rows: columns id, fold and group of the n samples, of runs and blends all others of `rows.csv`, too; columns: names
    of the S statistics; stats: float64 (n, S).
    """

    path: Path
    metric: Metric
    rows: pd.DataFrame
    columns: tuple[str, ...]
    stats: np.ndarray

    @property
    def groups(self) -> np.ndarray:
        """str (n,), samples that are drawn together."""
        return self.rows["group"].to_numpy(dtype=str)

    def of_class(self, label: str) -> np.ndarray | None:
        """Cross-fitted score of each map of a class, float64 (n,); None where they are not stored."""
        column = f"cv_cross_fitted {label}"
        return self.rows[column].to_numpy(dtype=np.float64) if column in self.rows else None

    def of_samples(self, label: str | None = None) -> np.ndarray:
        """Score of each sample by itself, float64 (n,), with `label` of its map of that class."""
        own = None if label is None else self.of_class(label)
        return row_scores(self.metric, self.stats) if own is None else own

    def worst_first(self, of_samples: np.ndarray) -> list[int]:
        """Samples whose score is finite, the worst first. of_samples: as of the method of this name."""
        sign = 1 if self.metric.greater_is_better else -1
        order = np.argsort(sign * of_samples, kind="stable")
        return order[np.isfinite(of_samples[order])].tolist()

    def unlike(self, other: SampleScores) -> str:
        """Why the two cannot be compared sample by sample, with the remedy; '' where they can."""
        a, b = self.rows, other.rows
        for name in ("id", "fold", "group"):
            if not a[name].equals(b[name]):
                where = (
                    "" if len(a) != len(b) else f", first in row {int((a[name] != b[name]).to_numpy().argmax()) + 2}"
                )
                return (
                    f"{self.path} and {other.path}: not the same {name}s{where}. Compare blends of one folds.csv, made "
                    "again with `skyfold blend`."
                )
        return "" if self.columns == other.columns else f"{self.path} and {other.path}: not of the same classes."


def evaluate(
    sweep: ThresholdSweep, folds: Folds, post: PostprocessConfig, gate_prob: np.ndarray | FittedGate | None = None
) -> Evaluation:
    """Choose post-processing per class, on all rows and cross-fitted: on k - 1 folds, scored on the k-th, for each.

    gate_prob: (n, K) of the rows of `sweep`; or, where the probabilities are fitted too, a function of the rows, bool
    (n,), it may learn from that returns (n, K) for all rows; None: no gate. Rows of fold -1 take no part; nothing is
    chosen on excluded ones. OofMismatch for fewer than 2 folds.
    """
    fold, used = folds.fold[sweep.rows], folds.used[sweep.rows]
    numbers = [int(f) for f in np.unique(fold) if f != -1]
    if len(numbers) < 2:
        raise OofMismatch(f"cross-fitting needs 2 folds or more; got folds {numbers}.")

    def choose(fitted_on: np.ndarray, scored: np.ndarray) -> tuple[Selection, np.ndarray, np.ndarray]:
        probs = gate_prob(fitted_on) if callable(gate_prob) else gate_prob
        rows, criterion = np.flatnonzero(fitted_on), post.gate_criterion
        selection = select(sweep, probs, rows=rows, criterion=criterion, target=post.gate_target)
        return selection, *sweep.evaluate(selection, probs, rows=np.flatnonzero(scored))

    covered, scored = fold != -1, (fold != -1) & used
    selection, of_all, of_all_maps = choose(scored, covered)
    filled = [np.full((len(fold), part.shape[1]), np.nan) for part in (of_all, of_all, of_all_maps, of_all_maps)]
    in_sample_stats, stats, in_sample_map_scores, map_scores = filled
    in_sample_stats[covered], in_sample_map_scores[covered] = of_all, of_all_maps
    by_fold = {}
    for f in numbers:
        by_fold[f], stats[fold == f], map_scores[fold == f] = choose(scored & (fold != f), fold == f)
    groups = folds.groups[sweep.rows]
    of_rows = in_sample_stats, stats, in_sample_map_scores, map_scores
    return Evaluation(sweep, fold, scored, groups, selection, by_fold, *of_rows)


def difference(ours: Path, theirs: Path, *, metric: Metric, draws: int = 1000, seed: int = 0) -> Interval:
    """Cross-fitted score of one run or blend minus that of another, from their `rows.csv`, with its interval by group.

    Paired bootstrap: every draw takes the same images (or groups of images) from both. OofMismatch where the two are
    not of the same images, folds, groups and classes, or a file or its scores are missing; DamagedFile where a file is
    no table.
    """
    a, b = (read_sample_scores(path, metric) for path in (ours, theirs))
    if problem := a.unlike(b):
        raise OofMismatch(problem)
    return paired_difference(a.metric, a.stats, b.stats, groups=a.groups, draws=draws, seed=seed)


def read_sample_scores(path: Path, metric: Metric) -> SampleScores:
    """What the cross-fitted score of a run or blend is computed from, of its `rows.csv`. Errors as `difference`."""
    table = _read_rows(path)
    of_maps = _is_mean_of_maps(metric)
    prefix = "cv_cross_fitted " if of_maps else "cv_cross_fitted_"
    stats = table.filter(regex=f"^{prefix}")
    if stats.empty:
        raise OofMismatch(f"{path}: no column '{prefix}<class>'. Write it again with `skyfold blend`.")
    return SampleScores(
        path=path,
        metric=MeanOfMaps(metric.name, greater_is_better=metric.greater_is_better) if of_maps else metric,
        rows=table,
        columns=tuple(stats.columns),
        stats=stats.to_numpy(dtype=np.float64),
    )


def map_columns(name: str, scores: np.ndarray, classes: Names) -> dict[str, np.ndarray]:
    """Scores of maps (n, K) as one column per class, to six decimals."""
    return {f"{name} {label}": np.round(scores[:, k], 6) for k, label in enumerate(classes)}


def write_rows(path: Path, ids: np.ndarray, folds: Folds, columns: dict[str, np.ndarray]) -> None:
    """Write a CSV with a row for each sample that is scored: id, fold, group, and `columns` (n,) of these rows.

    ids: (N,) str of all samples of `folds`.
    """
    rows = folds.scored
    table = pd.DataFrame({"id": ids[rows], "fold": folds.fold[rows], "group": folds.groups[rows], **columns})
    write_checked_csv(path, table)


def _is_mean_of_maps(metric: Metric) -> bool:
    return isinstance(metric, CountMetric) and metric.pooled == "each"


def _read_rows(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise OofMismatch(f"{path}: no scores per image here. Write them with `skyfold blend`.")
    remedy = "Delete it and score the run or blend again: skyfold train CONFIG, skyfold blend CONFIG."
    table = read_csv(path, text=("id", "group"), remedy=remedy)
    if "fold" not in table:
        raise DamagedFile(f"{path}: there is no column 'fold'. {remedy}")
    return table
