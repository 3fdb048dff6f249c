"""Runs and blends whose rows are scored by the competition's metric as they are: nothing is thresholded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skyfold.blending.recipe import Combination
from skyfold.config.blend import BlendConfig, PostprocessConfig, WeightsConfig
from skyfold.data.dataset import Dataset, open_dataset
from skyfold.errors import ConfigError
from skyfold.files import write_json
from skyfold.metrics.bootstrap import bootstrap_interval
from skyfold.metrics.sample_stats import sample_stats
from skyfold.store.alignment import require_aligned
from skyfold.store.runs import read_info, read_run, record_scores
from skyfold.tasks.stored_blend import config_json, made_of, read_member, store_blend
from skyfold.types import ArraySequence, JsonDict
from skyfold.workspace import Workspace


def check_plain(config: BlendConfig) -> None:
    """ConfigError where a blend asks for what is defined for masks only."""
    asked = {
        "merge": config.merge,
        "classifier_gate": config.classifier_gate,
        "combine": config.combine in ("vote", "stack"),
        "weights.search": isinstance(config.weights, WeightsConfig),
        "postprocess": config.postprocess != PostprocessConfig(),
    }
    for key, given in asked.items():
        if given:
            raise ConfigError(f"{key}: not supported by a blend of task: {config.task}; remove it.")


def score_rows(folder: Path, dataset: Dataset, *, draws: int = 1000, seed: int = 0) -> JsonDict:
    """Out-of-fold score of the stored rows with its bootstrap interval, recorded in run.json.

    Nothing is chosen on the rows, so the score is the cross-fitted one.
    """
    run, metric = read_run(folder, dataset.folds), dataset.competition.metric
    rows = np.flatnonzero(dataset.folds.fold >= 0)
    stats = sample_stats({metric.name: metric}, dataset.train, rows, lambda chunk: run.oof.values[chunk])[metric.name]
    found = bootstrap_interval(metric, stats, groups=dataset.folds.groups[rows], draws=draws, seed=seed)
    scores: JsonDict = {"cv_cross_fitted": found.value, "low": found.low, "high": found.high, "metric": metric.name}
    record_scores(folder, scores)
    return scores


def blend_rows(config: BlendConfig, workspace: Workspace) -> JsonDict:
    """Combine the rows of the runs of `config`, score them, and write `blend.json`. Returns what it holds.

    OofMismatch where a run is missing, unfinished, of another config than its file has now, or not of these folds.
    """
    check_plain(config)
    dataset = open_dataset(config.data, workspace)
    runs = [read_member(run, dataset.folds, workspace) for run in config.runs]
    require_aligned(runs, None)
    for run in runs:
        if "cv_cross_fitted" not in read_info(run.folder).scores:
            score_rows(run.folder, dataset)
    assert not isinstance(config.weights, WeightsConfig)
    weights = config.weights or (1.0,) * len(runs)
    blended = store_blend(config, Combination(config.combine, config.weights), runs, dataset, workspace)
    scores = score_rows(blended.folder, dataset, draws=max(config.bootstrap, 1), seed=config.seed)
    singles = {run.info.name: read_info(run.folder).scores for run in runs}
    result: JsonDict = {
        "name": config.name,
        "config": config_json(config),
        "runs": [made_of(run) for run in runs],
        "gate": None,
        "weights": [weight / sum(weights) for weight in weights],
        "fingerprint": blended.info.fingerprint.to_json(),
        "metric": scores.pop("metric"),
        "selection": {"final": None},
        "scores": {"final": scores, "runs": singles, "baselines": {}},
    }
    write_json(blended.folder / "blend.json", result)
    return result


def blended_test_rows(config: BlendConfig, workspace: Workspace) -> tuple[np.ndarray, ArraySequence]:
    """Ids and rows of the test part; ConfigError where the data set has none."""
    dataset = open_dataset(config.data, workspace, parts=("train",))
    blended = read_run(workspace.run(config.data.folder, config.name), dataset.folds)
    if blended.test is None:
        raise ConfigError(f"data set '{config.data.folder}' has no test part; there is nothing to submit.")
    return blended.test.ids, blended.test.values
