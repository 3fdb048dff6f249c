"""Base of the tasks that read images: masks as training targets, probabilities as outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skyfold.config.run import RunConfig
from skyfold.data.cache import training_arrays
from skyfold.tasks.task import Task
from skyfold.training.objective import RunArrays
from skyfold.training.predict import sigmoid
from skyfold.types import Samples


class ImageTask(Task):
    """Images in, one logit per class out (and per pixel, for masks)."""

    @classmethod
    def check(cls, config: RunConfig) -> None:
        if config.imported:
            return
        if config.image is None or config.frame_adapter is not None:
            raise ValueError(
                f"task: {config.task} reads images; set image: {{size: [height, width]}} and remove frame_adapter"
            )

    @property
    def target_planes(self) -> int:
        return len(self.classes) + 1

    def activate(self, outputs: np.ndarray) -> np.ndarray:
        return sigmoid(outputs)

    def arrays(self, samples: Samples, part: str, cache: Path) -> RunArrays:
        height, width = self.config.images.size
        return training_arrays(
            samples,
            size=(height, width),
            folder=cache / f"{height}x{width}" / part,
            fingerprint=f"{part} {self.competition.source}".strip(),
            classes=self.config.classes,
        )
