"""The value of a trial: validation score of the run that its params describe, fitted on the study's folds."""

from __future__ import annotations

from filelock import FileLock

from skyfold.config.files import load_run
from skyfold.config.run import RunConfig
from skyfold.files import write_text
from skyfold.tasks.open_run import open_run
from skyfold.training.run_folds import fit_scores
from skyfold.tuning.trial_config import TrialConfigs
from skyfold.tuning.worker import Objective, TrialJob
from skyfold.workspace import Workspace


def training_objective(configs: TrialConfigs, workspace: Workspace) -> Objective:
    """An objective that fits in the trial's folder and resumes an interrupted fit from its checkpoint.

    It returns the mean score of the folds. Reported steps count epochs over all folds and seeds.
    """

    def objective(job: TrialJob) -> float:
        path = job.folder / "config.yaml"
        name = f"{configs.study.name}_{job.number}"
        write_text(path, configs.text(job.params, name=name, folder=job.folder, for_trial=True))
        config = load_run(path)
        cache = workspace.cache(config.data.folder)
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / "tuning.lock"):  # two workers must not decode into one cache at once
            run = open_run(_without_guided_filter(config), workspace, parts=("train",))
        fits = [(fold, seed) for fold in sorted(configs.study.folds) for seed in config.training.seeds]

        def on_epoch(fold: int, seed: int, epoch: int, score: float) -> None:
            job.report(fits.index((fold, seed)) * config.training.epochs + epoch, score)

        scores = fit_scores(
            run.task,
            run.arrays["train"],
            run.folds,
            job.folder,
            only_folds=configs.study.folds,
            on_epoch=on_epoch,
        )
        return sum(scores.values()) / len(scores)

    return objective


def _without_guided_filter(config: RunConfig) -> RunConfig:
    """A trial resizes no maps, so the images need not be decoded at the competition's size."""
    return config.model_copy(update={"image": config.images.model_copy(update={"guided_filter": None})})
