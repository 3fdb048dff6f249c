"""Segmentation: a probability map per class, stored on the competition's grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skyfold.competition import Competition
from skyfold.config.blend import BlendConfig
from skyfold.config.run import RunConfig
from skyfold.data.cache import TrainingArrays, images_of_size, training_arrays
from skyfold.data.class_subset import require_one_class
from skyfold.data.crops import CropPlan
from skyfold.data.dataset import open_masks
from skyfold.data.scene_arrays import SceneArrays, scene_arrays
from skyfold.progress import Progress
from skyfold.store.rows import RowStore
from skyfold.tasks.fit_mask_blend import check_blend
from skyfold.tasks.mask_blend import blend, blend_lines, score_run
from skyfold.tasks.mask_submission import draw_oof_examples, score_on_test, submission_names, test_masks
from skyfold.tasks.task import Task
from skyfold.training.losses.named import Loss
from skyfold.training.losses.segmentation import MASK_LOSSES, make_mask_loss
from skyfold.training.objective import RunArrays
from skyfold.training.predict import Forward, LoadWeights, on_grid, sigmoid
from skyfold.training.predict_scenes import tiling_of, write_scenes
from skyfold.types import ArraySequence, JsonDict, Metric, Samples
from skyfold.workspace import Workspace


class Segmentation(Task):
    """Masks; rows are uint8 (H, W, K), 255 times the probability.

    With `image.crop` a run learns from crops of scenes of any size and predicts by tiles.
    """

    LOSSES = MASK_LOSSES
    dtype = "uint8"

    @classmethod
    def check(cls, config: RunConfig) -> None:
        if config.image is None or config.frame_adapter is not None:
            raise ValueError(
                "task: segmentation reads images; set image: {size: [height, width]} and remove frame_adapter"
            )
        if config.activation == "softmax" and len(config.classes) == 1:
            raise ValueError("activation: softmax needs two classes or more that exclude each other; use sigmoid")
        if config.pseudo_labels and config.image.crop:
            raise ValueError("image.crop: pseudo-labels are made for whole images; remove pseudo_labels or image.crop")

    @classmethod
    def check_loss(cls, config: RunConfig) -> None:
        make_mask_loss(config.loss.name, config.loss.options)

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
    def target_planes(self) -> int:
        return len(self.classes) + 1

    @property
    def validation(self) -> MaskScore:
        return MaskScore(self.competition.metric, one_class=self.config.activation == "softmax")

    def loss(self) -> Loss:
        return make_mask_loss(self.config.loss.name, self.config.loss.options, classes=len(self.classes))

    def row_shape(self) -> tuple[int, ...]:
        return *self.competition.grid, len(self.classes)

    def activate(self, outputs: np.ndarray) -> np.ndarray:
        return sigmoid(outputs)

    def output_shape(self, input_shape: tuple[int, int, int]) -> tuple[int, ...]:
        return *input_shape[:2], len(self.classes)

    def arrays(self, samples: Mapping[str, Samples], cache: Path) -> dict[str, RunArrays]:
        if self.config.activation == "softmax":
            require_one_class(samples["train"], self.classes, why="activation: softmax")
        if self.config.images.crop is not None:
            crop = self.config.images.crop
            plan = CropPlan(self.config.images.size, crop.crops_per_image, crop.scales, crop.class_balanced_fraction)
            return {part: scene_arrays(loaded, plan, cache=cache / "scenes") for part, loaded in samples.items()}
        return {part: self._resized(loaded, part, cache) for part, loaded in samples.items()}

    def _resized(self, samples: Samples, part: str, cache: Path) -> TrainingArrays:
        height, width = self.config.images.size
        arrays = training_arrays(
            samples,
            size=(height, width),
            folder=cache / f"{height}x{width}" / part,
            fingerprint=part,
            classes=self.config.classes,
        )
        if not self.config.images.guided_filter:
            return arrays
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

    def predict(
        self,
        network: Forward,
        arrays: RunArrays,
        rows: np.ndarray,
        store: RowStore,
        members: Sequence[LoadWeights],
        *,
        label: str,
    ) -> None:
        if not isinstance(arrays, SceneArrays):
            super().predict(network, arrays, rows, store, members, label=label)
            return
        assert self.config.images.crop is not None
        assert self.normalization is not None
        write_scenes(
            network,
            arrays,
            rows,
            store,
            members=members,
            normalization=self.normalization,
            flips=self.config.tta,
            tiling=tiling_of(self.config.images.size, self.config.images.crop),
            label=label,
        )

    def predict_rule_based(
        self,
        predict: Callable[[np.ndarray], np.ndarray],
        arrays: RunArrays,
        rows: np.ndarray,
        store: RowStore,
        *,
        label: str,
    ) -> None:
        assert isinstance(arrays, TrainingArrays)
        with Progress(f"{label}: predicting", len(rows)) as progress:
            for chunk in store.chunks(rows):
                values = predict(np.stack([arrays.inputs[i] for i in chunk]))
                store.write(chunk, self.to_rows(values, arrays, chunk))
                progress.advance(len(chunk))
        store.flush()


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

    def begin(self) -> _CollectedMasks:
        return _CollectedMasks(self.metric, self.one_class)


class _CollectedMasks:
    def __init__(self, metric: Metric, one_class: bool) -> None:
        self._metric, self._one_class = metric, one_class
        self._stats: list[np.ndarray] = []

    def add(self, targets: np.ndarray, logits: np.ndarray) -> None:
        valid = targets[..., -1].astype(bool)
        masks = targets[..., :-1].astype(bool)
        classes = np.arange(logits.shape[-1])
        pred = logits.argmax(axis=-1)[..., np.newaxis] == classes if self._one_class else logits > 0
        self._stats.append(self._metric.stats(target=masks, pred=pred, valid=valid))

    def score(self) -> float:
        return float(self._metric.score(np.concatenate(self._stats)))


TASK = Segmentation
