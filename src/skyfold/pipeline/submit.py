"""Write a blend's submissions: before the classifier gate, and after it, as contests were really played."""

from __future__ import annotations

from pathlib import Path

from skyfold.competition import build
from skyfold.config.blend import BlendConfig
from skyfold.errors import OofMismatch
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.runs import read_info
from skyfold.submission.write import write_submission
from skyfold.tasks import task_class
from skyfold.tasks.stored_blend import read_blend
from skyfold.types import JsonDict
from skyfold.workspace import Workspace


def submit(config: BlendConfig, workspace: Workspace) -> list[Path]:
    """Write and validate the submissions of a blend; returns the paths of the CSV files.

    InvalidSubmission lists what the contest would refuse; then nothing is written. OofMismatch where a run of the blend
    was trained anew since.
    """
    task, result = task_class(config.task), read_blend(config, workspace)
    _refuse_stale(result, config, workspace)
    folder = workspace.data(config.data.folder)
    competition = build(config.data.competition, config.data.options, folder)
    sample = competition.sample_table(folder)
    paths = []
    for stage, name in task.submissions(config, workspace).items():
        ids, values = task.submitted(config, stage, workspace)
        path = workspace.submissions(config.data.folder) / f"{name}.csv"
        write_submission(
            path,
            ids,
            values,
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
