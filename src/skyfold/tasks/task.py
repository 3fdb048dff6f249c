"""Base of all tasks: everything that differs between segmentation, classification and forecasting."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from skyfold.competition import Competition, build
from skyfold.config.blend import BlendConfig
from skyfold.config.run import RunConfig
from skyfold.data.dataset import open_dataset
from skyfold.reports.leaderboard import Entry, blend_entries, run_entry
from skyfold.reports.paired_scores import PairedScores, pair_rows
from skyfold.reports.submission_score import score_lines
from skyfold.store.runs import RunInfo
from skyfold.tasks.plain_blend import blend_rows, blended_test_rows, check_plain, score_rows
from skyfold.training.objective import Objective, RunArrays
from skyfold.types import ArraySequence, JsonDict, Samples
from skyfold.workspace import Workspace


class Task(Objective):
    """What one run reads, learns and stores; built once from its config, and asked by everything else.

    RULE_FAMILY: whether a model family without training can predict it.
    """

    RULE_FAMILY: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def check(cls, config: RunConfig) -> None:
        """ValueError on keys of a run's config that the task does not support, or that it lacks."""

    @abstractmethod
    def arrays(self, samples: Samples, part: str, cache: Path) -> RunArrays:
        """The samples of one part as a network reads them; what is decoded is stored below `cache`."""

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
    def entries(cls, folder: Path, info: RunInfo, submissions: Path) -> Sequence[Entry]:
        """Leaderboard entries of what is stored in `folder`. submissions: folder of the data set's submissions."""
        return blend_entries(folder, submissions) if (folder / "blend.json").is_file() else [run_entry(info)]

    @classmethod
    def paired(cls, first: Path, second: Path) -> PairedScores:
        """Scores of two entries of the leaderboard that are stored in these folders, and their paired difference."""
        return pair_rows(first, second)


def refuse_keys(config: RunConfig, *keys: str) -> None:
    """ValueError where one of the dotted `keys` is set, which the config's task does not support."""
    for key in keys:
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        if value:
            raise ValueError(f"{key}: not supported by task: {config.task}; remove it")
