"""Scores of out-of-fold predictions: at threshold 0.5, with fitted post-processing, and cross-fitted.

The in-sample score is chosen and computed on the same rows. The cross-fitted one is nested: chosen on k - 1 folds and
scored on the k-th. Their difference is the optimism.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from skyfold.config.blend import PostprocessConfig
from skyfold.errors import DamagedFile, OofMismatch
from skyfold.files import write_text
from skyfold.metrics.bootstrap import Interval, bootstrap_interval, paired_difference
from skyfold.metrics.mean_of_maps import MeanOfMaps
from skyfold.postprocess.gate_stack import gate_features
from skyfold.postprocess.map_arrays import CHUNK_PIXELS
from skyfold.postprocess.select import CrossFit, FittedGate, cross_fitted
from skyfold.postprocess.selection import Selection
from skyfold.postprocess.threshold_sweep import ThresholdSweep
from skyfold.store.folds import Folds
from skyfold.store.rows import release_pages
from skyfold.types import CountMetric, JsonDict, Metric, Names, Predictions, Samples


@dataclass(frozen=True)
class Evaluation:
    """Scores of one set of predictions; `cross` has the chosen values and the statistics of the masks."""

    sweep: ThresholdSweep
    cross: CrossFit
    groups: np.ndarray

    @property
    def selection(self) -> Selection:
        return self.cross.selection

    @property
    def metric(self) -> Metric:
        return self.sweep.metric

    @cached_property
    def at_half(self) -> tuple[np.ndarray, np.ndarray]:
        """Statistics (n, S) of masks at probability 0.5, and the score of each map (n, K)."""
        return self.sweep.at_half()

    def scores(self, draws: int, seed: int) -> JsonDict:
        """cv_at_0.5, cv_in_sample, cv_cross_fitted, optimism, and the bootstrap interval of the cross-fitted score.

        greater_is_better, too, where it is not.
        """
        interval = self.interval(draws, seed)
        return {
            "cv_at_0.5": self.metric.score(self.at_half[0]),
            "cv_in_sample": self.cross.in_sample,
            "cv_cross_fitted": self.cross.score,
            "optimism": self.cross.optimism,
            "low": interval.low,
            "high": interval.high,
            **({} if self.metric.greater_is_better else {"greater_is_better": False}),
        }

    def interval(self, draws: int, seed: int) -> Interval:
        """The cross-fitted score, drawn by group."""
        return bootstrap_interval(self.metric, self.cross.stats, groups=self.groups, draws=draws, seed=seed)

    def gain_over(self, baseline: np.ndarray, draws: int, seed: int) -> Interval:
        """Cross-fitted score minus that of `baseline`, statistics (n, S) of the same maps, with its interval."""
        return paired_difference(self.metric, self.cross.stats, baseline, groups=self.groups, draws=draws, seed=seed)

    def columns(self, classes: Names) -> dict[str, np.ndarray]:
        """Columns (n,) of `write_rows`: the score of each map and, unless the metric is their mean, its statistics."""
        scores = {
            "cv_at_0.5": self.at_half[1],
            "cv_in_sample": self.cross.in_sample_map_scores,
            "cv_cross_fitted": self.cross.map_scores,
            "all_empty": self.sweep.all_empty(),
        }
        columns: dict[str, np.ndarray] = {}
        for name, values in scores.items():
            columns |= map_columns(name, values, classes)
        if not _is_mean_of_maps(self.metric):
            stats = self.cross.stats.T
            names = [f"stats {i}" for i in range(len(stats))]
            if isinstance(self.metric, CountMetric):
                names = [f"{count} {label}" for count in ("both", "pred", "truth") for label in classes]
            columns |= {f"cv_cross_fitted_{name}": values for name, values in zip(names, stats, strict=True)}
        return columns


def evaluate(
    sweep: ThresholdSweep, folds: Folds, post: PostprocessConfig, gate_prob: np.ndarray | FittedGate | None = None
) -> Evaluation:
    """Choose post-processing per class, on all rows and cross-fitted.

    gate_prob: (n, K) of the rows of `sweep`, or fitted as for `cross_fitted`; None: no gate.
    """
    fold = folds.fold[sweep.rows]
    cross = cross_fitted(sweep, fold, gate_prob, criterion=post.gate_criterion, target=post.gate_target)
    return Evaluation(sweep, cross, folds.groups[sweep.rows])


def difference(
    ours: Path,
    theirs: Path,
    *,
    metric: Metric,
    column: str = "cv_cross_fitted",
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Score of one run or blend minus that of another, from their `rows.csv`, with its interval by group.

    Every draw takes the same images (or groups of images) from both. column: which of the stored scores is compared.
    OofMismatch where the two are not of the same images, folds and groups, or lack a column.
    """
    a, b = (_read_rows(path) for path in (ours, theirs))
    for name in ("id", "fold", "group"):
        if not a[name].equals(b[name]):
            where = "" if len(a) != len(b) else f", first in row {int((a[name] != b[name]).to_numpy().argmax()) + 2}"
            raise OofMismatch(
                f"{ours} and {theirs}: not the same {name}s{where}. Compare blends of one folds.csv, made again with "
                "`skyfold blend`."
            )
    prefix = f"{column} " if _is_mean_of_maps(metric) else f"{column}_"
    names = [[name for name in table.columns if name.startswith(prefix)] for table in (a, b)]
    for path, own in zip((ours, theirs), names, strict=True):
        if not own:
            raise OofMismatch(f"{path}: no column '{prefix}<class>'. Write it again with `skyfold blend`.")
    if names[0] != names[1]:
        raise OofMismatch(f"{ours} and {theirs}: not of the same classes.")
    return paired_difference(
        MeanOfMaps() if _is_mean_of_maps(metric) else metric,
        *(table[names[0]].to_numpy(dtype=np.float64) for table in (a, b)),
        groups=a["group"].to_numpy(dtype=str),
        draws=draws,
        confidence=confidence,
        seed=seed,
    )


def features_of(pred: Predictions, gate: Predictions, samples: Samples | None) -> np.ndarray:
    """Features of the stacked gate of every row of `pred`, float32 (n, K, F); `samples` says which pixels count."""
    count, height, width, classes = pred.values.shape
    size = max(1, CHUNK_PIXELS // (height * width * classes))
    parts = []
    for start in range(0, count, size):
        rows = range(start, min(start + size, count))
        known = samples.valid if samples is not None else None
        valid = None if known is None else np.stack([known[i] for i in rows])
        part = slice(start, start + size)
        parts.append(gate_features(np.asarray(pred.values[part]), np.asarray(gate.values[part]), valid))
        release_pages(pred.values)
    return np.concatenate(parts)


def map_columns(name: str, scores: np.ndarray, classes: Names) -> dict[str, np.ndarray]:
    """Scores of maps (n, K) as one column per class, to six decimals."""
    return {f"{name} {label}": np.round(scores[:, k], 6) for k, label in enumerate(classes)}


def write_rows(path: Path, ids: np.ndarray, folds: Folds, columns: dict[str, np.ndarray]) -> None:
    """A CSV with a row for each sample that a fold validates: id, fold, group, and `columns` (n,)."""
    rows = np.flatnonzero(folds.fold >= 0)
    table = pd.DataFrame({"id": ids[rows], "fold": folds.fold[rows], "group": folds.groups[rows], **columns})
    text = io.StringIO()
    table.to_csv(text, index=False)
    write_text(path, text.getvalue())


def _is_mean_of_maps(metric: Metric) -> bool:
    return isinstance(metric, CountMetric) and metric.pooled == "each"


def _read_rows(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise OofMismatch(f"{path}: no scores per image here. Write them with `skyfold blend`.")
    try:
        return pd.read_csv(path, dtype={"id": str, "group": str}, keep_default_na=False)
    except ValueError as error:  # of pandas, where the file is empty or no table
        raise DamagedFile(f"{path}: not a table of scores ({error}). Run `skyfold blend` again.") from None
