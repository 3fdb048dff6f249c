"""Classification: the probability that an image shows a class, the classifier gate of a blend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyfold.config.run import RunConfig
from skyfold.data.batches import image_labels
from skyfold.data.foreign_predictions import read_labels
from skyfold.metrics.pr_curve import average_precision
from skyfold.reports.leaderboard import Entry, imported_kind, score_entry
from skyfold.reports.mask_plot import draw_panels
from skyfold.store.rows import Shape
from skyfold.store.runs import RunInfo
from skyfold.tasks._image_task import ImageTask
from skyfold.tasks.task import refuse_keys
from skyfold.training.losses.segmentation import PRESENCE_LOSSES
from skyfold.training.objective import PredictedSamples
from skyfold.types import ArraySequence
from skyfold.workspace import Workspace


class Classification(ImageTask):
    """Image labels, derived from masks; rows are float32 (K,), the probability of each class."""

    LOSSES = PRESENCE_LOSSES

    @classmethod
    def check(cls, config: RunConfig) -> None:
        """As `Task.check`; ValueError on softmax, and on keys that ask for masks."""
        super().check(config)
        refuse_keys(config, "aux_losses", "pseudo_labels", "image.guided_filter", "image.crop", "training.soft_labels")

    def read_foreign(self, path: Path, ids: np.ndarray, listed: Sequence[str] | None) -> ArraySequence:
        return read_labels(path, ids, self.classes, listed)

    @property
    def validation(self) -> MeanAveragePrecision:
        return MeanAveragePrecision()

    def labels(self, targets: np.ndarray) -> np.ndarray:
        return image_labels(targets)

    def output_shape(self, input_shape: tuple[int, int, int]) -> tuple[int, ...]:
        return (len(self.classes),)

    def row_shape(self, samples: PredictedSamples) -> Shape:
        return (len(self.classes),)

    def picture(self, image: np.ndarray, target: np.ndarray, output: np.ndarray, title: str) -> bytes:
        truth = ", ".join(name for name, there in zip(self.classes, target, strict=True) if there) or "none"
        pred = ", ".join(
            f"{name} {p:.2f}" for name, p in zip(self.classes, self.activate(output).tolist(), strict=True)
        )
        return draw_panels({f"truth: {truth}\nprediction: {pred}": image}, rows=1, title=title)

    @classmethod
    def report_run(cls, config: RunConfig, workspace: Workspace) -> list[str]:
        return []  # a classifier is scored by the blend that it gates

    @classmethod
    def entries(cls, folder: Path, info: RunInfo, submissions: Path) -> Sequence[Entry]:
        return [score_entry(info.name, ", ".join(filter(None, ("classifier", imported_kind(info)))), {})]


@dataclass(frozen=True)
class MeanAveragePrecision:
    """Mean of the average precision over classes; a class that no row, or every row, shows is left out."""

    name: str = "mean average precision"
    greater_is_better: bool = True

    def stats(self, targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """targets 0/1 and logits, both (B, K). Returns them stacked, (2, K) per row."""
        return np.stack([targets, outputs], axis=1)

    def score(self, stats: np.ndarray) -> float:
        """stats (n, 2, K). Returns the score of the n rows; 0 where no class can be scored."""
        labels, logits = stats[:, 0].astype(bool), stats[:, 1]
        scored = [
            average_precision(logits[:, k], labels[:, k])
            for k in range(labels.shape[1])
            if 0 < labels[:, k].sum() < len(labels)
        ]
        return float(np.mean(scored)) if scored else 0.0


TASK = Classification
