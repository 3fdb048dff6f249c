"""How good out-of-fold predictions are: at threshold 0.5, with fitted post-processing, and cross-fitted.

The naive score is chosen and reported on the same rows. The cross-fitted one is chosen on k - 1 folds and scored on
the k-th. Their difference is the optimism.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from skyfold.config.blend import PostprocessConfig
from skyfold.errors import ConfigError, DamagedFile, OofMismatch
from skyfold.files import write_text
from skyfold.metrics.bootstrap import Interval, bootstrap_interval, paired_difference
from skyfold.metrics.mean_of_maps import MeanOfMaps
from skyfold.metrics.segmentation import METRICS
from skyfold.postprocess.presence_stack import presence_features
from skyfold.postprocess.selection import CrossFit, FittedGate, Selection, cross_fitted
from skyfold.postprocess.threshold_sweep import CHUNK_PIXELS, ThresholdSweep
from skyfold.store.folds import Folds
from skyfold.store.rows import release_pages
from skyfold.types import JsonDict, Metric, Predictions, Samples

COUNTED = ("both", "pred", "truth")


@dataclass(frozen=True)
class Evaluation:
    """Scores of one set of predictions; `cross` has the chosen values and the counts per map."""

    sweep: ThresholdSweep
    cross: CrossFit
    groups: np.ndarray

    @property
    def selection(self) -> Selection:
        return self.cross.selection

    @property
    def metric(self) -> Metric:
        return self.sweep.metric

    def scores(self, draws: int, seed: int) -> JsonDict:
        """at_half, naive, cross_fitted, optimism, and the bootstrap interval of the cross-fitted score."""
        interval = self.interval(draws, seed)
        return {
            "cv_at_0.5": self.metric.score(self.sweep.at_half_stats),
            "cv_in_sample": self.cross.in_sample,
            "cv_cross_fitted": self.cross.score,
            "optimism": self.cross.optimism,
            "low": interval.low,
            "high": interval.high,
        }

    def interval(self, draws: int, seed: int) -> Interval:
        """The cross-fitted score, drawn by group."""
        return bootstrap_interval(self.metric, self.cross.stats, groups=self.groups, draws=draws, seed=seed)

    def gain_over(self, baseline: np.ndarray, draws: int, seed: int) -> Interval:
        """Cross-fitted score minus that of `baseline`, of the same maps, with its interval.

        baseline: (n, 3K) counts as `cross.stats`, or (n, K) scores of maps for a metric that is their mean.
        """
        metric, stats = self.metric, self.cross.stats
        if baseline.shape == self.sweep.empty.shape:
            if not _is_mean_of_maps(metric):
                raise ConfigError(f"'{metric.name}' is not a mean over maps: give the baseline's counts.")
            metric, stats = MeanOfMaps(), self.cross.rows
        return paired_difference(metric, stats, baseline, groups=self.groups, draws=draws, seed=seed)

    def columns(self) -> dict[str, np.ndarray]:
        """What `write_rows` keeps of it, (n, K) each; where the metric is no mean over maps, with the counts."""
        columns = {
            "cv_at_0.5": self.sweep.at_half,
            "cv_in_sample": self.cross.in_sample_rows,
            "cv_cross_fitted": self.cross.rows,
            "all_empty": self.sweep.empty,
        }
        if not _is_mean_of_maps(self.metric):
            thirds = np.split(self.cross.stats, 3, axis=1)
            columns |= {f"cv_cross_fitted_{name}": third for name, third in zip(COUNTED, thirds, strict=True)}
        return columns


def evaluate(
    sweep: ThresholdSweep, folds: Folds, post: PostprocessConfig, gate_prob: np.ndarray | FittedGate | None = None
) -> Evaluation:
    """Choose post-processing per class, on all rows and cross-fitted.

    gate_prob: (n, K) of the rows of `surfaces`, or fitted as for `cross_fitted`; None: no gate.
    """
    cross = cross_fitted(
        sweep.counts,
        folds.fold[sweep.rows],
        gate_prob,
        objective=sweep.objective,
        gate=post.gate_criterion,
        wanted=post.gate_target,
    )
    return Evaluation(sweep, cross, folds.groups[sweep.rows])


def difference(
    ours: Path,
    theirs: Path,
    *,
    metric: str = "mean_dice",
    column: str = "cv_cross_fitted",
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Score of one run or blend minus that of another, from their `rows.csv`, with its interval by group.

    Every draw takes the same images (or groups of images) from both. column: which of the kept scores is compared.
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
    columns = [column] if metric.startswith("mean_") else [f"{column}_{name}" for name in COUNTED]
    chosen = cast(Metric, MeanOfMaps() if metric.startswith("mean_") else METRICS[metric]())
    stats = [
        np.concatenate([_of_classes(table, path, name) for name in columns], axis=1)
        for table, path in ((a, ours), (b, theirs))
    ]
    if _classes(a, columns[0]) != _classes(b, columns[0]):
        raise OofMismatch(f"{ours} and {theirs}: not of the same classes.")
    groups = a["group"].to_numpy(dtype=str)
    return paired_difference(chosen, *stats, groups=groups, draws=draws, confidence=confidence, seed=seed)


def features_of(pred: Predictions, gate: Predictions, samples: Samples | None) -> np.ndarray:
    """Presence features of every row of `pred`, float32 (n, K, F); undefined pixels of `samples` count nowhere."""
    count, height, width, classes = pred.values.shape
    size = max(1, CHUNK_PIXELS // (height * width * classes))
    parts = []
    for start in range(0, count, size):
        rows = range(start, min(start + size, count))
        known = samples.valid if samples is not None else None
        valid = None if known is None else np.stack([known[i] for i in rows])
        part = slice(start, start + size)
        parts.append(presence_features(np.asarray(pred.values[part]), np.asarray(gate.values[part]), valid))
        release_pages(pred.values)
    return np.concatenate(parts)


def write_rows(
    path: Path, ids: np.ndarray, folds: Folds, classes: tuple[str, ...], columns: dict[str, np.ndarray]
) -> None:
    """A CSV with a row a sample: id, fold, group, and each of `columns` (n, K) as one column a class."""
    rows = np.flatnonzero(folds.fold >= 0)
    table = pd.DataFrame({"id": ids[rows], "fold": folds.fold[rows], "group": folds.groups[rows]})
    for name, values in columns.items():
        for k, label in enumerate(classes):
            table[f"{name} {label}"] = np.round(values[:, k].astype(np.float64), 6)
    text = io.StringIO()
    table.to_csv(text, index=False)
    write_text(path, text.getvalue())


def _is_mean_of_maps(metric: Metric) -> bool:
    return metric.name.startswith("mean_")


def _read_rows(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise OofMismatch(f"{path}: no scores per image here. Write them with `skyfold blend`.")
    try:
        return pd.read_csv(path, dtype={"id": str, "group": str}, keep_default_na=False)
    except ValueError as error:  # of pandas, where the file is empty or no table
        raise DamagedFile(f"{path}: not what was written there ({error}). Run `skyfold blend` again.") from None


def _of_classes(table: pd.DataFrame, path: Path, column: str) -> np.ndarray:
    classes = _classes(table, column)
    if not classes:
        raise OofMismatch(f"{path}: no column '{column} <class>'. Write it again with `skyfold blend`.")
    values: np.ndarray = table[[f"{column} {name}" for name in classes]].to_numpy(dtype=np.float64)
    return values


def _classes(table: pd.DataFrame, column: str) -> list[str]:
    return [name.removeprefix(f"{column} ") for name in table.columns if name.startswith(f"{column} ")]
