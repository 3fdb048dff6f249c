"""Write a blend's submissions: before the classifier gate, and after it, as contests were really played."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyfold.competition import build
from skyfold.config.blend import BlendConfig
from skyfold.errors import ConfigError, OofMismatch
from skyfold.pipeline.blend import read_blend
from skyfold.postprocess.evaluate import features_of
from skyfold.postprocess.gate_stack import GateStack
from skyfold.postprocess.selection import Selection
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.folds import read_folds
from skyfold.store.runs import read_info, read_run
from skyfold.submission.write import write_submission
from skyfold.types import JsonDict, Predictions, Samples
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
    return GateStack(**result["presence_stack"]).probability(features_of(pred, gate, samples))


def submit(config: BlendConfig, workspace: Workspace) -> list[Path]:
    """Write and validate the submissions of a blend; returns the paths of the CSV files.

    InvalidSubmission lists what the contest would refuse; then nothing is written. OofMismatch where a run of the blend
    was trained anew since.
    """
    result = read_blend(config, workspace)
    _refuse_stale(result, config, workspace)
    folder = workspace.data(config.data.folder)
    competition = build(config.data.competition, config.data.options, folder)
    sample = competition.sample_table(folder)
    paths = []
    for stage, name in submission_names(config).items():
        ids, masks = test_masks(config, stage, workspace)
        path = workspace.submissions(config.data.folder) / f"{name}.csv"
        write_submission(
            path,
            ids,
            masks,
            competition.submission,
            sample_path=sample,
            sidecar=_sidecar(result, stage, name),
        )
        paths.append(path)
    return paths


def _refuse_stale(result: JsonDict, config: BlendConfig, workspace: Workspace) -> None:
    """A run that is no longer stored is not asked: the blend has rows of its own."""
    for run in result["runs"]:
        folder = workspace.run(config.data.folder, run["name"])
        made_of = Fingerprint.from_json(run["fingerprint"], "blend.json")
        if (folder / "run.json").is_file() and read_info(folder).fingerprint.different(made_of):
            raise OofMismatch(
                f"run '{run['name']}' was trained anew, with another config, since '{config.name}' was blended. Run "
                "`skyfold blend` again."
            )


def _sidecar(result: JsonDict, stage: str, name: str) -> JsonDict:
    return {
        "name": name,
        "stage": stage,
        "blend": result["name"],
        "runs": result["runs"],
        "gate": result["gate"] if stage == "final" else None,
        "weights": result["weights"],
        "selection": result["selection"][stage],
        "scores": result["scores"][stage],
        "metric": result["metric"],
        "fingerprint": result["fingerprint"],
    }
