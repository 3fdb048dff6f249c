"""Base of the tasks that read images: masks as training targets, probabilities as outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from skyfold.config.run import RunConfig
from skyfold.data.cache import training_arrays
from skyfold.data.neighbours import NeighbourBands, neighbour_rows
from skyfold.errors import ConfigError
from skyfold.files import digest
from skyfold.models import RuleFamily, family_of
from skyfold.tasks.task import Task
from skyfold.training.objective import RunArrays
from skyfold.training.predict import sigmoid
from skyfold.types import Samples, SoftTargets


class ImageTask(Task):
    """Images in, one logit per class out (and per pixel, for masks)."""

    activate = staticmethod(sigmoid)

    @classmethod
    def check(cls, config: RunConfig) -> None:
        if config.image is None or config.frame_adapter is not None:
            raise ValueError(
                f"task: {config.task} reads images; set image: {{size: [height, width]}} and remove frame_adapter"
            )

    @property
    def target_planes(self) -> int:
        return len(self.classes) + 1

    def arrays(self, samples: Samples, part: str, cache: Path) -> RunArrays:
        """Images and masks at `image.size`, images with their `image.neighbours`.

        ConfigError, before more than one image is decoded, where they need `image.rescale`.
        """
        (height, width), neighbours = self.config.images.size, self.config.images.neighbours
        self.require_rescale(samples.inputs[0].dtype)
        soft = self.config.training.soft_labels and samples.targets is not None
        if soft and not isinstance(samples.targets, SoftTargets):
            raise ConfigError("training.soft_labels: the ground truth of these data has no fractions. Remove it.")
        rows = neighbour_rows(samples, neighbours) if neighbours else None
        arrays = training_arrays(
            samples,
            size=(height, width),
            folder=cache / f"{height}x{width}" / part,
            fingerprint=f"{part} {self.competition.source}".strip(),
            classes=self.config.classes,
            soft=soft,
        )
        if rows is None:
            return arrays
        assert isinstance(arrays.inputs, np.ndarray)
        checksum = digest(arrays.checksum, rows.tobytes())
        return replace(arrays, inputs=NeighbourBands(arrays.inputs, rows), checksum=checksum)

    def require_rescale(self, dtype: np.dtype) -> None:
        """ConfigError where images of this type are not mapped to the 0..1 that networks read."""
        if dtype == np.uint8 or self.config.images.rescale is not None:
            return
        if isinstance(family_of(self.config.model), RuleFamily):
            raise ConfigError(
                f"model.family: {self.config.model.family} reads bytes, the images are {dtype}. Use a family that is "
                "trained, with image.rescale."
            )
        raise ConfigError(
            f"image.rescale: the images are {dtype}, not bytes; set it to map their values to 0..1, for instance "
            "rescale: {kind: percentile}."
        )
