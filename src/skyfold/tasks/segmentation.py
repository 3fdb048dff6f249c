"""Segmentation: a probability map per class, stored on the competition's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skyfold.config.fields import refuse
from skyfold.config.run import RunConfig
from skyfold.data.cache import TrainingArrays, images_of_size
from skyfold.data.class_subset import require_one_class
from skyfold.data.crops import CropPlan
from skyfold.data.foreign_predictions import read_maps
from skyfold.data.scene_arrays import scene_arrays
from skyfold.errors import ConfigError
from skyfold.reports.mask_plot import MaskPanels, draw_samples
from skyfold.store.rows import Shape
from skyfold.tasks._image_task import ImageTask
from skyfold.tasks._mask_blend import MaskBlending
from skyfold.training.losses.segmentation import MASK_LOSSES
from skyfold.training.objective import PredictedSamples, RunArrays
from skyfold.training.predict import on_grid
from skyfold.types import ArraySequence, Metric, Samples

HARD_LOSSES = ("focal", "lovasz")  # that are defined for masks of 0 and 1 only


class Segmentation(MaskBlending, ImageTask):
    """Masks; rows are uint8 (H, W, K), 255 times the probability.

    With `image.crop` a run learns from crops of scenes of any size and predicts by tiles.
    """

    LOSSES = MASK_LOSSES
    MASKS = True
    dtype = "uint8"

    @classmethod
    def check(cls, config: RunConfig) -> None:
        super().check(config)
        if config.activation == "softmax" and len(config.classes) == 1:
            raise ValueError("activation: softmax needs two classes or more that exclude each other; use sigmoid")
        if config.training.soft_labels:
            hard = {
                "image.crop": config.image and config.image.crop,
                "pseudo_labels": config.pseudo_labels,
                "classes": config.classes,
                "aux_losses": config.aux_losses,
                f"loss.name: {config.loss.name}": config.loss.name in HARD_LOSSES,
            }
            refused = (
                (given, f"training.soft_labels: not supported with {key}; remove one") for key, given in hard.items()
            )
            refuse(*refused)
        if config.pseudo_labels and config.images.crop:
            raise ValueError("image.crop: pseudo-labels are made for whole images; remove pseudo_labels or image.crop")

    def read_foreign(self, path: Path, ids: np.ndarray, listed: Sequence[str] | None) -> ArraySequence:
        return read_maps(path, ids, self.competition, listed)

    @property
    def validation(self) -> MaskScore:
        return MaskScore(self.competition.metric, one_class=self.config.activation == "softmax")

    @property
    def validation_source(self) -> str:
        return self.competition.metric_source

    def labels(self, targets: np.ndarray) -> np.ndarray:
        """Masks 0 and 1, and validity, as they are; of soft labels float32, fractions 0 to 1."""
        if not self.config.training.soft_labels:
            return targets
        return np.concatenate([targets[..., :-1] / np.float32(255), targets[..., -1:]], axis=-1)

    def row_shape(self, samples: PredictedSamples) -> Shape | list[Shape]:
        if self.competition.grid is not None:
            return *self.competition.grid, len(self.classes)
        assert samples.sizes is not None
        return [(*size, len(self.classes)) for size in samples.sizes.tolist()]

    def output_shape(self, input_shape: tuple[int, int, int]) -> tuple[int, ...]:
        return *input_shape[:2], len(self.classes)

    def arrays(self, samples: Samples, part: str, cache: Path) -> RunArrays:
        """Scenes to crop where `image.crop` is set, else images and masks at `image.size`.

        With `image.guided_filter` the images on the competition's grid are stored, too. ConfigError where the softmax
        activation finds pixels of no class, or of several, where images need `image.rescale`, and where the filter
        would be guided by other images than bytes.
        """
        if self.config.activation == "softmax" and part == "train":
            require_one_class(samples, self.classes, why="activation: softmax")
        if self.config.images.crop is not None:
            crop = self.config.images.crop
            plan = CropPlan(self.config.images.size, crop.crops_per_image, crop.scales, crop.class_balanced_fraction)
            scenes = scene_arrays(samples, plan, cache=cache / "scenes")
            self.require_rescale(scenes.dtype)
            return scenes
        arrays = super().arrays(samples, part, cache)
        if not self.config.images.guided_filter:
            return arrays
        assert isinstance(arrays, TrainingArrays)
        if (dtype := samples.inputs[0].dtype) != np.uint8:
            raise ConfigError(f"image.guided_filter: is guided by bytes, the images are {dtype}. Remove it.")
        grid = self.competition.grid
        if grid is None:
            raise ConfigError("image.guided_filter: needs one grid for all images, which these data do not have.")
        folder = cache / f"{grid[0]}x{grid[1]}" / part
        return replace(
            arrays,
            on_grid=images_of_size(
                samples, size=grid, folder=folder, fingerprint=f"{part} {self.competition.source}".strip()
            ),
        )

    def to_rows(self, values: np.ndarray, samples: PredictedSamples, rows: np.ndarray) -> np.ndarray | list[np.ndarray]:
        """Probabilities (n, h, w, K), 0 to 1, resized to the grid and guided by its images: uint8 (n, H, W, K).

        Without a grid each is resized to its own size, which gives a list.
        """
        if self.competition.grid is None:
            assert samples.sizes is not None
            sizes = samples.sizes[rows].tolist()
            return [on_grid(value[np.newaxis], tuple(size))[0] for value, size in zip(values, sizes, strict=True)]
        guided_filter = self.config.image.guided_filter if self.config.image else None
        images = None
        if guided_filter:
            assert isinstance(samples, TrainingArrays)
            assert samples.on_grid is not None
            images = samples.on_grid[rows]
        return on_grid(values, self.competition.grid, guided_filter, images)

    def picture(self, image: np.ndarray, target: np.ndarray, output: np.ndarray, title: str) -> bytes:
        truth, valid = target[..., :-1] > 0.5, target[..., -1] > 0.5
        pred = self.validation.masks(output)
        return draw_samples([MaskPanels(image, truth, pred, valid)], classes=self.classes, title=title)


@dataclass(frozen=True)
class MaskScore:
    """The competition's metric of masks cut at probability 0.5, at the size the network reads.

    one_class: each pixel is assigned to its most probable class instead.
    """

    metric: Metric
    one_class: bool = False

    @property
    def name(self) -> str:
        """Name of the metric."""
        return self.metric.name

    @property
    def greater_is_better(self) -> bool:
        """Whether a greater score is better."""
        return self.metric.greater_is_better

    def stats(self, targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """targets (B, h, w, K + 1), validity last, 0 and 1 or fractions; logits (B, h, w, K). Returns `metric.stats` of
        the masks."""
        target = targets > 0.5
        return self.metric.stats(target=target[..., :-1], pred=self.masks(outputs), valid=target[..., -1])

    def masks(self, outputs: np.ndarray) -> np.ndarray:
        """Masks, bool, of logits (..., K)."""
        if not self.one_class:
            return outputs > 0
        return outputs.argmax(axis=-1)[..., np.newaxis] == np.arange(outputs.shape[-1])

    def score(self, stats: np.ndarray) -> float:
        """Score of the metric's statistics (n, S)."""
        return float(self.metric.score(stats))


TASK = Segmentation
