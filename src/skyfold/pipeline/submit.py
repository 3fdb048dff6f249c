"""Submissions of a blend, without the classifier gate and with it."""

from __future__ import annotations

from pathlib import Path

from skyfold.config.blend import BlendConfig
from skyfold.data.dataset import open_dataset
from skyfold.errors import OofMismatch
from skyfold.store.locks import held
from skyfold.store.records import FORMAT
from skyfold.store.runs import read_info
from skyfold.submission.write import write_submission
from skyfold.tasks import task_class
from skyfold.tasks.scored_with import scored_by
from skyfold.tasks.stored_blend import AGAIN, read_blend
from skyfold.workspace import Workspace


def submit(config: BlendConfig, workspace: Workspace) -> list[Path]:
    """Write and validate the submissions of a blend; returns the paths of the CSV files.

    Beside each, a JSON file records its origin. InvalidSubmission lists what the competition would refuse; then
    nothing is written. OofMismatch where the data have changed or a run of the blend was trained again since, Locked
    where another process trains it now.
    """
    blend = workspace.run(config.data.folder, config.name)
    table = workspace.submissions(config.data.folder) / f"{config.name}.csv"
    with held(writes=[table], reads=[blend, *(blend.with_name(run.name) for run in config.members)]):
        return _submit(config, workspace)


def _submit(config: BlendConfig, workspace: Workspace) -> list[Path]:
    dataset = open_dataset(config.data, workspace)
    task, result = task_class(config.task), read_blend(config, workspace, dataset.contents)
    competition = dataset.competition
    if not scored_by(read_info(workspace.run(config.data.folder, config.name)), competition):
        raise OofMismatch(
            f"metric '{competition.metric.name}' or its code changed since '{config.name}' was blended. {AGAIN}"
        )
    sample = competition.sample_table(workspace.data(config.data.folder))
    paths = []
    for stage, name in task.submissions(config).items():
        ids, values = task.submitted(config, stage, workspace)
        path = workspace.submissions(config.data.folder) / f"{name}.csv"
        sidecar = {
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
            "format": FORMAT,
        }
        write_submission(path, ids, values, competition.submission, sample_path=sample, sidecar=sidecar)
        paths.append(path)
    return paths
