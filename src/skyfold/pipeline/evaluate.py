"""How good out-of-fold predictions are: at threshold 0.5, with fitted post-processing, and cross-fitted.

The naive score is chosen and reported on the same rows. The cross-fitted one is chosen on k - 1 folds and scored on
the k-th. Their difference is the optimism.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from skyfold.config import PostprocessConfig
from skyfold.errors import ConfigError
from skyfold.files import write_text
from skyfold.folds import Folds
from skyfold.metrics.bootstrap import Interval, bootstrap_interval, paired_difference
from skyfold.metrics.mean_of_maps import MeanOfMaps
from skyfold.postprocess.dice_surface import dice_surface
from skyfold.postprocess.presence_stack import presence_features
from skyfold.postprocess.selection import HALF, CrossFit, FittedGate, Selection, cross_fitted
from skyfold.progress import Progress
from skyfold.types import JsonDict, Metric, Predictions, Samples

CHUNK_PIXELS = 32 << 20


@dataclass(frozen=True)
class Surfaces:
    """What any choice of threshold and minimum area would score, per map.

    rows (n,) the samples that a fold validated; score (n, K, T, M) float32, the map's share in the metric;
    empty (n, K) bool: whether the truth is, and so an emptied map scores 1; at_half (n, K) at level 127 alone.
    """

    rows: np.ndarray
    levels: np.ndarray
    min_areas: np.ndarray
    score: np.ndarray
    empty: np.ndarray
    at_half: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """Scores of one set of predictions; `cross` has the chosen values and the scores per map."""

    surfaces: Surfaces
    cross: CrossFit
    groups: np.ndarray

    @property
    def selection(self) -> Selection:
        return self.cross.selection

    def scores(self, draws: int, seed: int) -> JsonDict:
        """at_half, naive, cross_fitted, optimism, and the bootstrap interval of the cross-fitted score."""
        interval = self.interval(draws, seed)
        return {
            "at_half": float(self.surfaces.at_half.mean()),
            "naive": self.cross.naive,
            "cross_fitted": self.cross.score,
            "optimism": self.cross.optimism,
            "low": interval.low,
            "high": interval.high,
        }

    def interval(self, draws: int, seed: int) -> Interval:
        return bootstrap_interval(MeanOfMaps(), self.cross.rows, groups=self.groups, draws=draws, seed=seed)

    def gain_over(self, baseline: np.ndarray, draws: int, seed: int) -> Interval:
        """Cross-fitted score minus that of `baseline` (n, K), of the same maps, with its interval."""
        return paired_difference(MeanOfMaps(), self.cross.rows, baseline, groups=self.groups, draws=draws, seed=seed)


def lattice(count: int) -> np.ndarray:
    """`count` evenly spaced threshold levels; an odd count has 127, probability 0.5, among them.

    >>> lattice(5).tolist()
    [25, 76, 127, 178, 229]
    """
    return np.round(255 * (np.arange(count) + 0.5) / count - 0.5).astype(np.int64)


def measure(oof: Predictions, samples: Samples, folds: Folds, metric: Metric, post: PostprocessConfig) -> Surfaces:
    """Score of every map at every searched threshold and minimum area, read once, chunk by chunk."""
    if samples.targets is None:
        raise ConfigError("post-processing is fitted on the training part, which has no targets here.")
    levels, areas = lattice(post.thresholds), np.array(sorted(set(post.min_areas)), dtype=np.int64)
    rows = np.flatnonzero(folds.fold >= 0)
    height, width, classes = oof.values.shape[1:]
    score = np.empty((len(rows), classes, len(levels), len(areas)), dtype=np.float32)
    half = np.empty((len(rows), classes), dtype=np.float32)
    empty = np.empty((len(rows), classes), dtype=bool)
    size = max(1, CHUNK_PIXELS // (height * width * classes))
    with Progress("scoring thresholds and areas", len(rows)) as progress:
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            prob = np.asarray(oof.values[rows[part]])
            target = np.stack([samples.targets[i].astype(bool) for i in rows[part]])
            valid = None if samples.valid is None else np.stack([samples.valid[i] for i in rows[part]])
            score[part] = dice_surface(prob, target, valid, levels=levels, min_areas=areas, area=post.area)
            half[part] = dice_surface(prob, target, valid, levels=np.array([HALF]), min_areas=np.array([0]))[..., 0, 0]
            counted = target if valid is None else target & valid[..., None]
            empty[part] = ~counted.any(axis=(1, 2))
            progress.advance(len(prob))
    return Surfaces(rows, levels, areas, _of_metric(metric, score), empty, _of_metric(metric, half))


def evaluate(
    surfaces: Surfaces, folds: Folds, post: PostprocessConfig, gate_prob: np.ndarray | FittedGate | None = None
) -> Evaluation:
    """Choose post-processing per class, on all rows and cross-fitted.

    gate_prob: (n, K) of the rows of `surfaces`, or fitted as for `cross_fitted`; None: no gate.
    """
    cross = cross_fitted(
        surfaces.score,
        surfaces.empty,
        folds.fold[surfaces.rows],
        gate_prob,
        levels=surfaces.levels,
        min_areas=surfaces.min_areas,
        gate=post.gate,
        wanted=post.gate_wanted,
    )
    return Evaluation(surfaces, cross, folds.groups[surfaces.rows])


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


def _of_metric(metric: Metric, dice: np.ndarray) -> np.ndarray:
    """A map's share in the metric from its Dice: IoU = Dice / (2 - Dice) holds map by map, empty ones included."""
    if metric.name == "mean_dice":
        return dice
    if metric.name == "mean_iou":
        return dice / (2.0 - dice)
    raise ConfigError(
        f"post-processing is searched for metrics that are a mean over maps (mean_dice, mean_iou), not '{metric.name}'."
    )
