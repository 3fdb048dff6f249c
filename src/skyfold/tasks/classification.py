"""Classification: the probability that an image shows a class, the classifier gate of a blend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyfold.config.run import RunConfig
from skyfold.data.batches import image_labels
from skyfold.data.cache import training_arrays
from skyfold.metrics.pr_curve import average_precision
from skyfold.reports.leaderboard import Entry
from skyfold.store.runs import RunInfo
from skyfold.tasks.task import Task, refuse_keys
from skyfold.training.losses.named import Loss
from skyfold.training.losses.segmentation import PRESENCE_LOSSES, make_presence_loss
from skyfold.training.objective import RunArrays
from skyfold.training.predict import sigmoid
from skyfold.types import Samples
from skyfold.workspace import Workspace


class Classification(Task):
    """Image labels, derived from masks; rows are float32 (K,), the probability of each class."""

    LOSSES = PRESENCE_LOSSES

    @classmethod
    def check(cls, config: RunConfig) -> None:
        if config.image is None or config.frame_adapter is not None:
            raise ValueError(
                "task: classification reads images; set image: {size: [height, width]} and remove frame_adapter"
            )
        if config.activation == "softmax":
            raise ValueError("activation: softmax is not supported by task: classification; use sigmoid")
        refuse_keys(config, "aux_losses", "pseudo_labels", "image.guided_filter", "image.crop")

    @classmethod
    def check_loss(cls, config: RunConfig) -> None:
        make_presence_loss(config.loss.name, config.loss.options)

    @classmethod
    def report_run(cls, config: RunConfig, workspace: Workspace) -> list[str]:
        return []  # a classifier is scored by the blend that it gates

    @classmethod
    def entries(cls, folder: Path, info: RunInfo, submissions: Path) -> Sequence[Entry]:
        figure = info.scores.get("average_precision")
        return [Entry(info.name, "classifier" if figure is None else f"classifier, AP {figure:.3f}")]

    @property
    def target_planes(self) -> int:
        return len(self.classes) + 1

    @property
    def validation(self) -> AveragePrecision:
        return AveragePrecision()

    def loss(self) -> Loss:
        return make_presence_loss(self.config.loss.name, self.config.loss.options, classes=len(self.classes))

    def row_shape(self) -> tuple[int, ...]:
        return (len(self.classes),)

    def activate(self, outputs: np.ndarray) -> np.ndarray:
        return sigmoid(outputs)

    def output_shape(self, input_shape: tuple[int, int, int]) -> tuple[int, ...]:
        return (len(self.classes),)

    def labels(self, targets: np.ndarray) -> np.ndarray:
        return image_labels(targets)

    def arrays(self, samples: Mapping[str, Samples], cache: Path) -> dict[str, RunArrays]:
        height, width = self.config.images.size
        return {
            part: training_arrays(
                loaded,
                size=(height, width),
                folder=cache / f"{height}x{width}" / part,
                fingerprint=part,
                classes=self.config.classes,
            )
            for part, loaded in samples.items()
        }


@dataclass(frozen=True)
class AveragePrecision:
    """Mean of the average precision over classes; a class that no row, or every row, shows is left out."""

    name: str = "mean average precision"
    greater_is_better: bool = True

    def begin(self) -> _CollectedLabels:
        return _CollectedLabels()


class _CollectedLabels:
    def __init__(self) -> None:
        self._labels: list[np.ndarray] = []
        self._logits: list[np.ndarray] = []

    def add(self, targets: np.ndarray, logits: np.ndarray) -> None:
        self._labels.append(targets)
        self._logits.append(logits)

    def score(self) -> float:
        labels = np.concatenate(self._labels).astype(bool)
        logits = np.concatenate(self._logits)
        scored = [
            average_precision(logits[:, k], labels[:, k])
            for k in range(labels.shape[1])
            if 0 < labels[:, k].sum() < len(labels)
        ]
        return float(np.mean(scored)) if scored else 0.0


TASK = Classification
