"""Base of all tasks: everything that differs between segmentation, classification and forecasting."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np

from skyfold.competition import Competition, build
from skyfold.config.blend import BlendConfig
from skyfold.config.run import RunConfig
from skyfold.data.batches import Rows
from skyfold.data.class_subset import of_classes, with_classes
from skyfold.data.dataset import open_dataset
from skyfold.errors import ConfigError
from skyfold.reports.leaderboard import Row, blend_entries, run_entry
from skyfold.reports.submission_score import score_lines
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.store.runs import RunInfo
from skyfold.tasks.plain_blend import blend_rows, blended_test_rows, check_plain, score_rows
from skyfold.training.input_normalization import normalization_of
from skyfold.training.losses.named import Loss
from skyfold.training.objective import RunArrays, ValidationScore
from skyfold.training.predict import Forward, LoadWeights, write_predictions
from skyfold.types import ArraySequence, IntPair, JsonDict, Samples
from skyfold.workspace import Workspace


class Task(ABC):
    """What one run reads, learns and stores; built once from its config, and asked by everything else.

    config       of the run
    competition  with the classes that the run learns
    LOSSES       losses by name, whose arguments after the second are their options
    dtype        of a stored prediction
    """

    LOSSES: ClassVar[Mapping[str, Callable[..., Any]]]
    dtype: ClassVar[str] = "float32"

    def __init__(self, config: RunConfig, competition: Competition) -> None:
        self.config = config
        self.competition = with_classes(competition, config.classes)
        self.normalization = normalization_of(config)

    def with_config(self, config: RunConfig, *, grid: IntPair) -> Self:
        """The same task for another config, rows stored on `grid` (H, W)."""
        return type(self)(config, replace(self.competition, grid=grid))

    @classmethod
    @abstractmethod
    def check(cls, config: RunConfig) -> None:
        """ValueError on keys of a run's config that the task does not support, or that it lacks."""

    @classmethod
    @abstractmethod
    def check_loss(cls, config: RunConfig) -> None:
        """ConfigError on a loss, or an option of it, that the task does not have."""

    def of_classes(self, samples: Samples, competition: Competition) -> Samples:
        """`samples` of `competition` with the targets of this task's classes only."""
        return of_classes(samples, competition.classes, self.classes)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.competition.classes

    @property
    def unit(self) -> str:
        return self.competition.unit

    @property
    @abstractmethod
    def target_planes(self) -> int:
        """Planes of a training target (H, W, planes), which augmentation moves with the image."""

    @property
    @abstractmethod
    def validation(self) -> ValidationScore:
        """Score that epochs are compared by."""

    @abstractmethod
    def loss(self) -> Loss:
        """loss(target, output) of a batch, in `keras.ops`."""

    @abstractmethod
    def arrays(self, samples: Mapping[str, Samples], cache: Path) -> dict[str, RunArrays]:
        """Arrays of each part of `samples`; what is decoded is stored below `cache`."""

    @abstractmethod
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one stored prediction."""

    @abstractmethod
    def output_shape(self, input_shape: tuple[int, int, int]) -> tuple[int, ...]:
        """Shape of the network's output for one input (H, W, C)."""

    def labels(self, targets: np.ndarray) -> np.ndarray:
        """Augmented targets (B, H, W, planes) as the loss reads them."""
        return targets

    def trainable_rows(self, arrays: RunArrays, rows: np.ndarray, folds: Folds) -> np.ndarray:
        """Those of `rows` that a fit may learn from."""
        return rows

    def activate(self, outputs: np.ndarray) -> np.ndarray:
        """Network outputs as what is averaged over members and test-time augmentations."""
        return outputs

    def to_rows(self, values: np.ndarray, arrays: RunArrays, rows: np.ndarray) -> np.ndarray:
        """Averaged outputs (n, ...) of the samples `rows` as they are stored, (n, *row_shape)."""
        return values

    def output_bytes(self, input_shape: tuple[int, int, int]) -> int:
        """Bytes of one float32 output."""
        return 4 * int(np.prod(self.output_shape(input_shape)))

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
        """Write the mean prediction of `members` for `rows` into `store`; rows that are complete stay as they are."""
        write_predictions(
            network,
            cast(Rows, arrays),
            rows,
            store,
            members=members,
            normalization=self.normalization,
            transforms=self.config.tta,
            activation=self.activate,
            convert=lambda values, chunk: self.to_rows(values, arrays, chunk),
            row_bytes=self.output_bytes(arrays.input_shape),
            label=label,
        )

    @classmethod
    def report_run(cls, config: RunConfig, workspace: Workspace) -> list[str]:
        """Score a complete run out of fold, record it in `run.json`, and describe it in lines for people."""
        dataset = open_dataset(config.data, workspace, parts=("train",))
        scores = score_rows(workspace.run(config.data.folder, config.name), dataset)
        interval = f"({scores['low']:.4f} to {scores['high']:.4f})"
        return [f"out of fold: {scores['metric']} {scores['cv_cross_fitted']:.4f} {interval}"]

    @classmethod
    def check_blend(cls, config: BlendConfig, competition: Competition) -> None:
        """ConfigError, before anything is trained, on what a blend of this task cannot do."""
        check_plain(config)

    @classmethod
    def blend(cls, config: BlendConfig, workspace: Workspace) -> JsonDict:
        """Combine the runs of `config`, score and store the blend. Returns what `blend.json` holds."""
        return blend_rows(config, workspace)

    @classmethod
    def blend_lines(cls, result: JsonDict) -> list[str]:
        """The scores of a blend in lines for people."""
        scores = result["scores"]["final"]
        interval = f"({scores['low']:.4f} to {scores['high']:.4f})"
        return [f"{result['name']}: {result['metric']} {scores['cv_cross_fitted']:.4f} {interval}"]

    @classmethod
    def submissions(cls, config: BlendConfig, workspace: Workspace) -> dict[str, str]:
        """Submissions of a blend: stage -> file name without suffix."""
        return {"final": config.name}

    @classmethod
    def submitted(cls, config: BlendConfig, stage: str, workspace: Workspace) -> tuple[np.ndarray, ArraySequence]:
        """Ids of the test part, and the values that are submitted for them at `stage`."""
        return blended_test_rows(config, workspace)

    @classmethod
    def show_blend(cls, config: BlendConfig, workspace: Workspace) -> list[str]:
        """Draw what a blend predicts out of fold; lines that name the files."""
        return []

    @classmethod
    def score_on_test(cls, config: BlendConfig, truth: Path, workspace: Workspace) -> list[str]:
        """Score the submissions of a blend on a truth file; lines for people."""
        competition = build(config.data.competition, config.data.options, workspace.data(config.data.folder))
        return score_lines(competition, workspace.submissions(config.data.folder) / f"{config.name}.csv", truth)

    @classmethod
    def entries(cls, folder: Path, info: RunInfo, submissions: Path) -> Sequence[Row]:
        """Leaderboard entries of what is stored in `folder`. submissions: folder of the data set's submissions."""
        return blend_entries(folder, submissions) if (folder / "blend.json").is_file() else [run_entry(info)]

    def predict_rule_based(
        self,
        predict: Callable[[np.ndarray], np.ndarray],
        arrays: RunArrays,
        rows: np.ndarray,
        store: RowStore,
        *,
        label: str,
    ) -> None:
        """Write what a model family without training predicts; ConfigError where the task has no such family."""
        raise ConfigError(
            f"model.family: {self.config.model.family} predicts masks, task: {self.config.task} does not. Use another "
            "family, or task: segmentation."
        )


def refuse_keys(config: RunConfig, *keys: str) -> None:
    """ValueError where one of the dotted `keys` is set, which the config's task does not support."""
    for key in keys:
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        if value:
            raise ValueError(f"{key}: not supported by task: {config.task}; remove it")
