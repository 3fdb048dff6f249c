"""Scores of out-of-fold predictions, and thresholds that were tuned on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from skyfold.errors import ConfigError
from skyfold.notebook.display import html_table
from skyfold.postprocess.selection import Selection, chosen_masks
from skyfold.types import ArraySequence, JsonDict, LazyArrays, Predictions


@dataclass(frozen=True)
class Score:
    """Score of masks by the competition's metric.

    low, high: 95 % bootstrap interval over samples, or over groups of samples; per_class: of metrics of pixel counts;
    note: what the score was fitted to, '' where nothing was.
    """

    metric: str
    score: float
    low: float
    high: float
    per_class: Mapping[str, float]
    samples: int
    note: str = ""

    def _repr_html_(self) -> str:
        interval = f"{self.low:.4f} to {self.high:.4f}"
        by_class = {name: [one] for name, one in self.per_class.items()}
        columns = {self.metric: [self.score], "95 % interval": [interval], **by_class, "samples": [self.samples]}
        return html_table(columns, self.note)


@dataclass(frozen=True)
class Thresholds:
    """A threshold and a minimum area per class, chosen on out-of-fold predictions.

    selection  chosen on all folds, for the test part
    by_fold    chosen without the fold, which is scored with it
    scores     as in `blend.json`: cv_at_0.5, cv_in_sample, cv_cross_fitted, optimism, and low and high, the 95 %
               bootstrap interval of the cross-fitted score
    """

    metric: str
    classes: tuple[str, ...]
    selection: Selection
    by_fold: Mapping[int, Selection]
    scores: JsonDict

    @property
    def thresholds(self) -> dict[str, float]:
        """Threshold of the probability, by class."""
        return {name: (k + 0.5) / 255 for name, k in zip(self.classes, self.selection.thresholds, strict=True)}

    @property
    def min_areas(self) -> dict[str, int]:
        """Minimum area in pixels, by class."""
        return dict(zip(self.classes, self.selection.min_areas, strict=True))

    def masks(self, values: Predictions | np.ndarray) -> LazyArrays:
        """Masks, bool (H, W, K) each, computed when indexed; values: those of a run or blend, uint8 (n, H, W, K)."""
        return masks_of(self.selection, values.values if isinstance(values, Predictions) else values)

    def _repr_html_(self) -> str:
        areas = self.selection.min_areas
        chosen = {"class": self.classes, "threshold": [*self.thresholds.values()], "minimum area": areas}
        interval = f"{self.scores['low']:.4f} to {self.scores['high']:.4f}"
        scores = {
            self.metric: ["at 0.5", "in-sample", "cross-fitted", "optimism"],
            "score": [self.scores[key] for key in ("cv_at_0.5", "cv_in_sample", "cv_cross_fitted", "optimism")],
            "95 % interval": ["", "", interval, ""],
        }
        return html_table(scores) + html_table(chosen)


def selection_of(
    thresholds: float | Sequence[float] | Mapping[str, float] | Thresholds, classes: Sequence[str]
) -> Selection:
    """Thresholds of the probability, one of all classes or one of each, in [0, 1); or what was tuned.

    ConfigError where they are of other classes or not in [0, 1).
    """
    if isinstance(thresholds, Thresholds):
        if thresholds.classes != tuple(classes):
            raise ConfigError(
                f"thresholds: tuned for {', '.join(thresholds.classes)}; the predictions are of {', '.join(classes)}."
            )
        return thresholds.selection
    if isinstance(thresholds, Mapping):
        if set(thresholds) != set(classes):
            raise ConfigError(f"thresholds: give one of each class: {', '.join(classes)}; got {', '.join(thresholds)}.")
        thresholds = [thresholds[name] for name in classes]
    given = np.asarray(thresholds, dtype=np.float64)
    given = np.full(len(classes), given) if given.ndim == 0 else given
    if given.shape != (len(classes),) or not ((given >= 0) & (given < 1)).all():
        raise ConfigError(
            f"thresholds: expected a probability, or one of each of the {len(classes)} classes, at least 0 and below "
            f"1; got {thresholds}."
        )
    levels = np.floor(255 * given).astype(int)
    return Selection(thresholds=tuple(levels.tolist()), min_areas=(0,) * len(classes))


def masks_of(selection: Selection, values: np.ndarray, valid: ArraySequence | None = None) -> LazyArrays:
    """Masks, bool (H, W, K) each, of uint8 (n, H, W, K), computed when indexed; valid: pixels that may be in one."""
    if valid is None:
        return chosen_masks({"selection": {"final": asdict(selection)}}, "final", values, None)
    return LazyArrays(
        len(values), lambda i: selection.apply(np.asarray(values[i : i + 1]), valid=valid[i][np.newaxis])[0]
    )
