"""What a trial is worth: the validation score of the run that its values make, fitted on the study's folds."""

from __future__ import annotations

from skyfold.config.files import load_run
from skyfold.config.run import RunConfig
from skyfold.files import write_text
from skyfold.tasks.open_run import open_run
from skyfold.training.fit_fold import CHECKPOINT_SECONDS
from skyfold.training.run_folds import fit_scores
from skyfold.tuning.file_lock import exclusive
from skyfold.tuning.trial_config import Recipe
from skyfold.tuning.work import Objective, TrialJob
from skyfold.workspace import Workspace


def training_objective(
    recipe: Recipe, workspace: Workspace, *, checkpoint_seconds: float = CHECKPOINT_SECONDS
) -> Objective:
    """An objective that fits in the trial's folder, where an interrupted fit goes on from its checkpoint.

    Returns the mean of the folds' scores. Reported steps count epochs on through folds and seeds.
    """

    def objective(job: TrialJob) -> float:
        path = job.folder / "config.yaml"
        name = f"{recipe.study.name}_{job.number}"
        write_text(path, recipe.text(job.params, name=name, folder=job.folder, for_trial=True))
        config = load_run(path)
        cache = workspace.cache(config.data.folder)
        with exclusive(cache / "tuning.lock"):  # two workers must not decode into one cache at once
            run = open_run(_without_edges(config), workspace, parts=("train",))
        fits = [(fold, seed) for fold in sorted(recipe.study.folds) for seed in config.training.seeds]

        def on_epoch(fold: int, seed: int, epoch: int, score: float) -> None:
            job.report(fits.index((fold, seed)) * config.training.epochs + epoch, score)

        scores = fit_scores(
            run.task,
            run.arrays["train"],
            run.folds,
            job.folder,
            only_folds=recipe.study.folds,
            on_epoch=on_epoch,
            checkpoint_seconds=checkpoint_seconds,
        )
        return sum(scores.values()) / len(scores)

    return objective


def _without_edges(config: RunConfig) -> RunConfig:
    """No map is enlarged in a trial, so that images on the competition's grid need not be decoded."""
    return config.model_copy(update={"image": config.images.model_copy(update={"guided_filter": None})})
