"""Masks of a blend: those that are submitted, their score on a truth file, and examples of out-of-fold masks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from skyfold.blending.stack import LogisticStack
from skyfold.competition import build
from skyfold.config.blend import BlendConfig
from skyfold.data.dataset import open_masks
from skyfold.errors import ConfigError
from skyfold.files import write_json
from skyfold.metrics.bootstrap import paired_difference
from skyfold.metrics.score_submission import prediction_stats
from skyfold.postprocess.gate_stack import features_of
from skyfold.postprocess.selection import HALF, Selection
from skyfold.reports.mask_plot import draw_examples
from skyfold.store.folds import read_folds
from skyfold.store.runs import read_run
from skyfold.tasks.stored_blend import read_blend
from skyfold.types import ArraySequence, JsonDict, Predictions, Samples
from skyfold.workspace import Workspace


@dataclass(frozen=True)
class PostprocessedMasks:
    """Masks made from probabilities as they are read: row i is bool (H, W, K)."""

    values: np.ndarray
    gate_prob: np.ndarray | None
    selection: Selection

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> np.ndarray:
        gate = None if self.gate_prob is None else self.gate_prob[index : index + 1]
        return np.asarray(self.selection.apply(self.values[index : index + 1], gate)[0])


def submission_names(config: BlendConfig) -> dict[str, str]:
    """Which submissions the blend writes: stage ("before_gate", "final") -> file name without ending."""
    names = {"before_gate": f"{config.name}_before_gate"} if config.classifier_gate else {}
    return {**names, "final": config.name}


def test_masks(config: BlendConfig, stage: str, workspace: Workspace) -> tuple[np.ndarray, PostprocessedMasks]:
    """Ids and masks of the test part at `stage`; ConfigError where the data set has no test part."""
    result = read_blend(config, workspace)
    folds = read_folds(workspace.folds(config.data.folder))
    blended = read_run(workspace.run(config.data.folder, config.name), folds)
    if blended.test is None:
        raise ConfigError(f"data set '{config.data.folder}' has no test part; there is nothing to hand in.")
    gate_prob = None
    if stage == "final" and result["gate"]:
        gate = read_run(workspace.run(config.data.folder, result["gate"]["name"]), folds)
        gate_prob = None if gate.test is None else gate_probability(result, blended.test, gate.test, None)
    selection = Selection.from_dict(result["selection"][stage])
    return blended.test.ids, PostprocessedMasks(blended.test.values, gate_prob, selection)


def gate_probability(result: JsonDict, pred: Predictions, gate: Predictions, samples: Samples | None) -> np.ndarray:
    """Probability that the gate thresholds, (n, K): the classifier's, or the stacked one that was fitted."""
    if result["presence_stack"] is None:
        return gate.values
    return LogisticStack(**result["presence_stack"]).probability(features_of(pred, gate, samples))


def score_on_test(config: BlendConfig, truth: Path, workspace: Workspace) -> list[str]:
    """Score the submissions and the baselines on the kept-aside truth, paired; writes `<name>.test_scores.json`."""
    competition = build(config.data.competition, config.data.options, workspace.data(config.data.folder))
    ids = competition.read_truth(truth).ids
    predictions: dict[str, ArraySequence] = {}
    for stage, name in submission_names(config).items():
        file = workspace.submissions(config.data.folder) / f"{name}.csv"
        predictions[stage] = competition.read_pred(file, ids)
    if config.merge is None:
        predictions["best_single_at_0.5"] = _in_order(ids, *_best_single_at_half(config, workspace))
    nothing = np.zeros((*competition.grid, len(competition.classes)), dtype=bool)
    predictions["all_empty"] = [nothing] * len(ids)
    stats = {name: prediction_stats(competition, truth, pred) for name, pred in predictions.items()}
    scores = {name: competition.metric.score(rows) for name, rows in stats.items()}
    order = [name for name in ("final", "before_gate", "best_single_at_0.5", "all_empty") if name in stats]
    differences = {}
    lines = [
        f"on the test truth, {len(ids)} images: " + ", ".join(f"{n.replace('_', ' ')} {scores[n]:.4f}" for n in order)
    ]
    for better, worse in pairwise(order):
        gain = paired_difference(competition.metric, stats[better], stats[worse], seed=config.seed)
        differences[f"{better} - {worse}"] = {"value": gain.value, "low": gain.low, "high": gain.high}
        lines.append(
            f"  {better.replace('_', ' ')} - {worse.replace('_', ' ')}: {gain.value:+.4f} "
            f"({gain.low:+.4f} to {gain.high:+.4f})"
        )
    path = workspace.submissions(config.data.folder) / f"{config.name}.test_scores.json"
    write_json(path, {"truth": truth.name, "images": len(ids), "scores": scores, "differences": differences})
    return lines


def draw_oof_examples(config: BlendConfig, workspace: Workspace, count: int = 4) -> Path:
    """Draw out-of-fold masks beside the truth, for images at evenly spread quantiles of their cross-fitted score.

    So the picture shows what the blend does to images that its models did not see, good ones and bad ones alike.
    """
    dataset = open_masks(config.data, workspace)
    result = read_blend(config, workspace)
    folder = workspace.run(config.data.folder, config.name)
    blended = read_run(folder, dataset.folds)
    gate = result["gate"] and read_run(workspace.run(config.data.folder, result["gate"]["name"]), dataset.folds)
    masks = PostprocessedMasks(
        blended.oof.values,
        gate_probability(result, blended.oof, gate.oof, dataset.train) if gate else None,
        Selection.from_dict(result["selection"]["final"]),
    )
    scores = _row_scores(folder)
    rows = np.flatnonzero(blended.oof.has_prediction)
    ranked = rows[np.argsort(scores, kind="stable")]
    chosen = ranked[np.linspace(0.15, 0.95, count).dot(len(ranked) - 1).round().astype(int)]
    assert dataset.train.targets is not None
    draw_examples(
        folder / "examples.png",
        images=[dataset.train.inputs[i] for i in chosen],
        truth=[dataset.train.targets[i].astype(bool) for i in chosen],
        pred=[masks[i] for i in chosen],
        classes=dataset.competition.classes,
        captions=[f"{dataset.train.ids[i]}: {scores[rows == i][0]:.2f}" for i in chosen],
        title=f"{config.data.folder}, {config.name}: out-of-fold, {result['metric']} per image",
    )
    return folder / "examples.png"


def _best_single_at_half(config: BlendConfig, workspace: Workspace) -> tuple[np.ndarray, ArraySequence]:
    best = read_blend(config, workspace)["scores"]["baselines"]["best_single"]
    run = read_run(workspace.run(config.data.folder, best), read_folds(workspace.folds(config.data.folder)))
    if run.test is None:
        raise ConfigError(f"run '{best}' has no test part.")
    classes = len(run.info.classes)
    selection = Selection((HALF,) * classes, (0,) * classes, None)
    return run.test.ids, PostprocessedMasks(run.test.values, None, selection)


def _in_order(ids: np.ndarray, own: np.ndarray, masks: ArraySequence) -> ArraySequence:
    place = {name: i for i, name in enumerate(own.tolist())}
    return [masks[place[name]] for name in ids.tolist()]


def _row_scores(folder: Path) -> np.ndarray:
    """Mean cross-fitted score of each validated sample, float64 (n,), in the order of folds.csv."""
    table = pd.read_csv(folder / "rows.csv", dtype={"id": str})
    columns = [name for name in table.columns if name.startswith("cv_cross_fitted ")]
    scores: np.ndarray = table[columns].to_numpy(dtype=np.float64).mean(axis=1)
    return scores
