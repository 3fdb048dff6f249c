"""Segmentation: a probability map per class, stored on the competition's grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skyfold.competition import Competition
from skyfold.config.blend import BlendConfig
from skyfold.config.run import RunConfig
from skyfold.data.cache import TrainingArrays, images_of_size
from skyfold.data.class_subset import require_one_class
from skyfold.data.crops import CropPlan
from skyfold.data.dataset import open_masks
from skyfold.data.scene_arrays import scene_arrays
from skyfold.tasks._image_task import ImageTask
from skyfold.tasks.fit_mask_blend import check_blend
from skyfold.tasks.mask_blend import blend, blend_lines, score_run
from skyfold.tasks.mask_submission import draw_oof_examples, score_on_test, submission_names, test_masks
from skyfold.training.losses.segmentation import MASK_LOSSES
from skyfold.training.objective import RunArrays
from skyfold.training.predict import on_grid
from skyfold.types import ArraySequence, JsonDict, Metric, Samples
from skyfold.workspace import Workspace


class Segmentation(ImageTask):
    """Masks; rows are uint8 (H, W, K), 255 times the probability.

    With `image.crop` a run learns from crops of scenes of any size and predicts by tiles.
    """

    LOSSES = MASK_LOSSES
    RULE_FAMILY = True
    dtype = "uint8"

    @classmethod
    def check(cls, config: RunConfig) -> None:
        super().check(config)
        if config.activation == "softmax" and len(config.classes) == 1:
            raise ValueError("activation: softmax needs two classes or more that exclude each other; use sigmoid")
        if config.pseudo_labels and config.images.crop:
            raise ValueError("image.crop: pseudo-labels are made for whole images; remove pseudo_labels or image.crop")

    @classmethod
    def report_run(cls, config: RunConfig, workspace: Workspace) -> list[str]:
        scores = score_run(workspace.run(config.data.folder, config.name), open_masks(config.data, workspace))
        return [
            f"out-of-fold on the competition's grid: {scores['cv_at_0.5']:.4f} at 0.5, thresholds cross-fitted "
            f"{scores['cv_cross_fitted']:.4f} ({scores['low']:.4f} to {scores['high']:.4f})"
        ]

    @classmethod
    def check_blend(cls, config: BlendConfig, competition: Competition) -> None:
        members = [(run.name, run.classes or competition.classes) for run in config.runs]
        check_blend(config, members, competition)

    @classmethod
    def blend(cls, config: BlendConfig, workspace: Workspace) -> JsonDict:
        return blend(config, workspace)

    @classmethod
    def blend_lines(cls, result: JsonDict) -> list[str]:
        return blend_lines(result)

    @classmethod
    def submissions(cls, config: BlendConfig, workspace: Workspace) -> dict[str, str]:
        return submission_names(config)

    @classmethod
    def submitted(cls, config: BlendConfig, stage: str, workspace: Workspace) -> tuple[np.ndarray, ArraySequence]:
        return test_masks(config, stage, workspace)

    @classmethod
    def show_blend(cls, config: BlendConfig, workspace: Workspace) -> list[str]:
        return [f"examples: {draw_oof_examples(config, workspace)}"]

    @classmethod
    def score_on_test(cls, config: BlendConfig, truth: Path, workspace: Workspace) -> list[str]:
        return score_on_test(config, truth, workspace)

    @property
    def validation(self) -> MaskScore:
        return MaskScore(self.competition.metric, one_class=self.config.activation == "softmax")

    def row_shape(self) -> tuple[int, ...]:
        return *self.competition.grid, len(self.classes)

    def output_shape(self, input_shape: tuple[int, int, int]) -> tuple[int, ...]:
        return *input_shape[:2], len(self.classes)

    def arrays(self, samples: Samples, part: str, cache: Path) -> RunArrays:
        if self.config.activation == "softmax" and part == "train":
            require_one_class(samples, self.classes, why="activation: softmax")
        if self.config.images.crop is not None:
            crop = self.config.images.crop
            plan = CropPlan(self.config.images.size, crop.crops_per_image, crop.scales, crop.class_balanced_fraction)
            return scene_arrays(samples, plan, cache=cache / "scenes")
        arrays = super().arrays(samples, part, cache)
        if not self.config.images.guided_filter:
            return arrays
        assert isinstance(arrays, TrainingArrays)
        grid = self.competition.grid
        folder = cache / f"{grid[0]}x{grid[1]}" / part
        return replace(arrays, on_grid=images_of_size(samples, size=grid, folder=folder, fingerprint=part))

    def to_rows(self, values: np.ndarray, arrays: RunArrays, rows: np.ndarray) -> np.ndarray:
        images = None
        if self.config.images.guided_filter:
            assert isinstance(arrays, TrainingArrays)
            assert arrays.on_grid is not None
            images = arrays.on_grid[rows]
        return on_grid(values, self.competition.grid, self.config.images.guided_filter, images)


@dataclass(frozen=True)
class MaskScore:
    """The competition's metric of masks cut at probability 0.5, at the size the network reads.

    one_class: each pixel is assigned to its most probable class instead.
    """

    metric: Metric
    one_class: bool = False

    @property
    def name(self) -> str:
        return self.metric.name

    @property
    def greater_is_better(self) -> bool:
        return self.metric.greater_is_better

    def stats(self, targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """targets 0/1 (B, h, w, K + 1), validity last; logits (B, h, w, K). Returns `metric.stats` of the masks."""
        classes = np.arange(outputs.shape[-1])
        pred = outputs.argmax(axis=-1)[..., np.newaxis] == classes if self.one_class else outputs > 0
        target = targets.astype(bool)
        return self.metric.stats(target=target[..., :-1], pred=pred, valid=target[..., -1])

    def score(self, stats: np.ndarray) -> float:
        return float(self.metric.score(stats))


TASK = Segmentation
