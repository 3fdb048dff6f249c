"""Forecasting: frames to come, in the competition's unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from skyfold.config.run import RunConfig
from skyfold.data.augment import FLIPS_AND_TURNS
from skyfold.data.dataset import Dataset, open_dataset
from skyfold.data.foreign_predictions import read_forecasts
from skyfold.errors import ConfigError, DataLayoutError
from skyfold.forecasting.arrays import ForecastArrays, forecast_arrays
from skyfold.forecasting.baselines.persistence import Persistence
from skyfold.forecasting.frame_adapters import adapter_of
from skyfold.forecasting.past_frames import PastFramesSource, past_frames
from skyfold.metrics.sample_stats import sample_stats
from skyfold.postprocess.evaluate import SampleScores
from skyfold.progress import note
from skyfold.reports.forecast_table import as_text, forecast_metric, forecast_table
from skyfold.reports.leaderboard import Entry, forecast_entry
from skyfold.reports.mask_plot import draw_panels
from skyfold.reports.paired_scores import PairedScores, pair_sums, scores_of_sums
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore, Shape
from skyfold.store.runs import RunInfo
from skyfold.tasks._predicted_forecasts import family_rows, write_arrays, write_maps, write_netcdf, write_table
from skyfold.tasks.task import Task, refuse_keys
from skyfold.training.losses.forecasting import FORECAST_LOSSES
from skyfold.training.objective import PredictedSamples, RunArrays
from skyfold.types import ArraySequence, JsonDict, Samples
from skyfold.workspace import Workspace

# Augmentations that move values without changing them: a forecast has a physical unit.


class Forecasting(Task):
    """Past frames in, L lead times out, through a frame adapter; rows are float32 (H, W, L)."""

    LOSSES = FORECAST_LOSSES
    TARGETS = "forecasting"
    OUTPUTS: ClassVar = {"csv": write_table, "npz": write_arrays, "netcdf": write_netcdf, "maps": write_maps}

    @classmethod
    def check(cls, config: RunConfig) -> None:
        """As `Task.check`; ValueError on what uses the validation fold, and augmentations that change values."""
        if config.frame_adapter is None or config.image is not None:
            raise ValueError("task: forecasting reads past frames; set frame_adapter: {name: ...} and remove image")
        uses_validation = {
            "checkpoint: best": config.training.checkpoint == "best",
            "patience": config.training.patience,
        }
        for key, given in uses_validation.items():
            if given:
                raise ValueError(
                    f"training: {key} depends on the validation fold, which lies in the future of a forecast. Use "
                    "checkpoint: last or swa, and no patience"
                )
        refuse_keys(config, "classes", "mix", "pseudo_labels", "aux_losses", "training.soft_labels")
        for entry in config.augment:
            if entry.name not in FLIPS_AND_TURNS:
                raise ValueError(
                    f"augment: {entry.name} changes values, which have a physical unit in a forecast. Use "
                    f"{', '.join(FLIPS_AND_TURNS)}"
                )

    def read_foreign(self, path: Path, ids: np.ndarray, listed: Sequence[str] | None) -> ArraySequence:
        assert self.competition.grid is not None
        shape, unit = (*self.competition.grid, len(self.classes)), forecast_metric(self.competition).unit
        return read_forecasts(path, ids, shape, unit, listed)

    @classmethod
    def baselines(cls, dataset: Dataset) -> dict[str, float]:
        """Of the last known frame at every lead time."""
        source, metric = dataset.train.inputs, dataset.competition.metric
        if not isinstance(source, PastFramesSource):
            return {}

        def last_frames(rows: np.ndarray) -> np.ndarray:
            return np.stack([Persistence().forecast(source.history(row)) for row in rows.tolist()])

        stats = sample_stats({metric.name: metric}, dataset.train, dataset.eval_rows(None), last_frames)
        return {"the last known frame": metric.score(stats[metric.name])}

    @classmethod
    def report_run(cls, config: RunConfig, workspace: Workspace) -> list[str]:
        dataset = open_dataset(config.data, workspace)
        folders = {config.name: workspace.run(config.data.folder, config.name)}
        return [as_text(forecast_table(dataset, folders, dataset.eval_rows(None)))]

    @classmethod
    def entries(cls, folder: Path, info: RunInfo, submissions: Path) -> Sequence[Entry]:
        return [forecast_entry(folder, info, submissions)]

    @classmethod
    def paired(cls, first: Path, second: Path) -> PairedScores:
        """As `Task.paired`, by the stored sums of each date or event."""
        return pair_sums(first, second)

    @classmethod
    def sample_scores(cls, folder: Path) -> SampleScores:
        """As `Task.sample_scores`, of each date or event."""
        return scores_of_sums(folder)

    @classmethod
    def bundle_inputs(cls, samples: Samples) -> JsonDict:
        """Number and type of the frames that were known at the newest date."""
        frames = past_frames(samples).history(len(samples) - 1).frames
        return {"bands": len(frames), "dtype": frames.dtype.name}

    @classmethod
    def bundle_lines(cls, manifest: JsonDict) -> list[str]:
        inputs, families = manifest["inputs"], [one["family"] for one in manifest.get("forecasts", [])]
        return [
            f"- **Frames**: {inputs['bands']} were known at the newest date, {inputs['dtype']}.",
            f"- **Lead times**: {', '.join(manifest['classes'])}.",
            *([f"- **Forecasts**: {', '.join(families)}."] if families else []),
        ]

    @classmethod
    def require_inputs(cls, samples: Samples, manifest: JsonDict) -> None:
        """As `Task.require_inputs`. Where frames have a season, fewer or more of them are forecast from, too."""
        known, wanted = len(past_frames(samples)[0]), manifest["inputs"]["bands"]
        if known == wanted:
            return
        if past_frames(samples).history(0).period is None:
            raise DataLayoutError(
                f"'{samples.ids[0]}': {known} frames; the bundle forecasts from {wanted}. Give the newest {wanted}."
            )
        if known < wanted:
            note(
                f"{known} frames are known, {wanted} were in training: means and trends are of fewer years. Give the "
                "earlier frames, too."
            )

    @classmethod
    def combine(cls, manifest: JsonDict, samples: Samples, runs: Sequence[RowStore], work: Path) -> RowStore:
        """As `Task.combine`; the last of the bundle's forecasts of baseline families, where it has some."""
        families = manifest.get("forecasts", [])
        made = dict(zip((run["name"] for run in manifest["runs"]), runs, strict=True))
        for about in families:
            made[about["name"]] = family_rows(about, manifest, samples, made, work)
        return made[families[-1]["name"]] if families else super().combine(manifest, samples, runs, work)

    @property
    def target_planes(self) -> int:
        return 2 * len(self.classes)

    @property
    def validation(self) -> AbsoluteError:
        return AbsoluteError()

    def row_shape(self, samples: PredictedSamples) -> Shape:
        assert self.competition.grid is not None
        return *self.competition.grid, len(self.classes)

    def output_shape(self, input_shape: tuple[int, int, int]) -> tuple[int, ...]:
        return *input_shape[:2], len(self.classes)

    def arrays(self, samples: Samples, part: str, cache: Path) -> ForecastArrays:
        assert self.config.frame_adapter is not None
        return forecast_arrays(samples, adapter_of(self.config.frame_adapter))

    def trainable_rows(self, arrays: RunArrays, rows: np.ndarray, folds: Folds) -> np.ndarray:
        """In the order of time, those whose outcome teaches something; the last `max_train_size` of them."""
        assert isinstance(arrays, ForecastArrays)
        assert self.config.frame_adapter is not None
        most = self.config.frame_adapter.max_train_size
        if folds.times is not None:
            rows = rows[np.argsort(folds.times[rows], kind="stable")]
        elif most is not None:
            raise ConfigError("frame_adapter.max_train_size: these samples have no order in time. Remove it.")
        return arrays.trainable_rows(rows, most)

    def picture(self, image: np.ndarray, target: np.ndarray, output: np.ndarray, title: str) -> bytes:
        """As `Objective.picture`: the first, middle and last lead time, in the unit of the frame adapter."""
        leads = sorted({0, len(self.classes) // 2, len(self.classes) - 1})
        values = {"truth": target, "forecast": output}
        panels = {f"{what}, {self.classes[at]}": of[..., at] for what, of in values.items() for at in leads}
        return draw_panels(panels, rows=2, title=title)

    def to_rows(self, values: np.ndarray, samples: PredictedSamples, rows: np.ndarray) -> np.ndarray:
        """Forecasts that the frame adapter reads from outputs (n, h, w, L): float32 (n, H, W, L), in the unit."""
        assert isinstance(samples, ForecastArrays)
        forecasts = [
            samples.adapter.forecast(output, samples.source.history(int(row)))
            for output, row in zip(values, rows, strict=True)
        ]
        return np.stack(forecasts).astype(np.float32)


@dataclass(frozen=True)
class AbsoluteError:
    """Mean absolute error over the cells that count, by their weights, in the unit of the frame adapter."""

    name: str = "mean absolute error"
    greater_is_better: bool = False

    def stats(self, targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """targets (B, h, w, 2 L), values and weights; outputs (B, h, w, L). Returns (1, 2): weighted error, weight."""
        leads = outputs.shape[-1]
        weights = targets[..., leads:].astype(np.float64)
        counted = weights > 0
        error = (np.abs(targets[..., :leads] - outputs)[counted] * weights[counted]).sum()
        return np.array([[error, weights.sum()]])

    def score(self, stats: np.ndarray) -> float:
        """stats (batches, 2). Returns the mean; 0 where no cell counts."""
        error, weight = stats.sum(axis=0).tolist()
        return error / weight if weight else 0.0


TASK = Forecasting
