"""Choose which members and fits of a blend go into a bundle, and tell what that costs in cross-validated score."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skyfold.config.blend import BlendConfig
from skyfold.config.forecasts import ForecastModel
from skyfold.config.run import RunConfig
from skyfold.data.dataset import Dataset
from skyfold.errors import ConfigError
from skyfold.models import RuleFamily, family_of
from skyfold.pipeline.prediction_speed import speed_of
from skyfold.plugins import nearest
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.fits import FULL, FitFiles, FitResult, Fold
from skyfold.store.folds import Folds
from skyfold.store.runs import read_info
from skyfold.tasks import task_class
from skyfold.tasks.blend_in_memory import blend_in_memory
from skyfold.tasks.stored_blend import read_member
from skyfold.types import JsonDict
from skyfold.workspace import Workspace

KEPT_BACK = 0.1  # of a time limit: for what is not measured, the start, combining and writing
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
FitsByFold = dict[Fold, list[FitResult]]
FitsByRun = dict[str, FitsByFold]


@dataclass(frozen=True)
class Choice:
    """What of a blend is packed; all of it by default.

    members  names of its runs and of its gate; None: all
    folds    whose fits predict; None: all that predict the test part
    full     the fits on all samples (`skyfold train --full`) in the place of those of the folds
    seconds  that predicting `images` images may take on this machine; None: any
    """

    members: Sequence[str] | None = None
    folds: Sequence[int] | None = None
    full: bool = False
    seconds: float | None = None
    images: int | None = None

    def __post_init__(self) -> None:
        if self.full and self.folds is not None:
            raise ConfigError("--full takes the fits on all samples, --folds those of folds. Remove one of the two.")
        if (self.seconds is None) != (self.images is None):
            raise ConfigError("--time-limit and --images N go together: the time to predict how many images?")
        if self.images is not None and self.images < 1:
            raise ConfigError("--images: give the number of images to predict in the time, at least 1.")

    def folds_of(self, folds: Folds) -> list[Fold]:
        """The folds whose fits are packed. ConfigError names one whose fits do not predict new samples."""
        if self.full:
            return [FULL]
        known = list(folds.of_test)
        for fold in self.folds or ():
            if fold not in known:
                listed = ", ".join(map(str, known))
                raise ConfigError(
                    f"--folds {fold}: new samples are predicted by the fits of fold {listed}. Name these."
                )
        return sorted(set(self.folds)) if self.folds else [*known]


def seconds_of(text: str, option: str = "--time-limit") -> float:
    """Seconds of the time that is given as `option`.

    >>> seconds_of("9h"), seconds_of("1h30m"), seconds_of("90s")
    (32400.0, 5400.0, 90.0)
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if "".join(map("".join, parts)) != text or not seconds:
        raise ConfigError(f"{option} {text}: no time. Write hours, minutes and seconds, for instance 9h or 1h30m.")
    return seconds


def chosen_members(config: BlendConfig, names: Sequence[str] | None) -> BlendConfig:
    """The blend of the members `names` only, combined and post-processed as `config` says.

    Fixed weights are those of the members left. ConfigError names one that is no member, and where no run is left.
    """
    if names is None:
        return config
    _require_known(names, [run.name for run in config.members], config.name)
    runs = tuple(run for run in config.runs if run.name in names)
    if not runs:
        raise ConfigError(f"--members: name a run of '{config.name}', not its gate alone.")
    weights = config.weights
    if isinstance(weights, tuple):
        weights = tuple(own for own, run in zip(weights, config.runs, strict=True) if run.name in names)
        if not sum(weights):
            raise ConfigError(f"--members: the weights of {', '.join(names)} are 0. Name another member, too.")
    gate = config.classifier_gate
    kept = gate if gate is not None and gate.name in names else None
    return config.model_copy(update={"runs": runs, "weights": weights, "classifier_gate": kept})


def forecast_of_members(model: ForecastModel, names: Sequence[str] | None) -> ForecastModel:
    """The forecast of the members `names` only, in the order of `model`. ConfigError names one that is no member."""
    if names is None:
        return model
    if not model.members:
        raise ConfigError(f"--members: forecast '{model.name}' has no members to choose from. Leave it out.")
    _require_known(names, [*model.members], model.name)
    return model.model_copy(update={"members": tuple(name for name in model.members if name in names)})


def _require_known(names: Sequence[str], known: list[str], blend: str) -> None:
    for name in names:
        if name not in known:
            listed = ", ".join(known)
            raise ConfigError(f"--members: '{name}' is no member of '{blend}'{nearest(name, known)}: {listed}.")


def blend_of_members(config: BlendConfig, workspace: Workspace) -> JsonDict:
    """What a bundle holds of a blend that is not stored, on the out-of-fold rows of its members: `combination`,
    `selection`, `presence_stack` and `scores`. ConfigError and OofMismatch as `skyfold blend`."""
    task = task_class(config.task)
    dataset = task.open_targets(config.data, workspace)
    runs = [read_member(run, dataset, workspace) for run in config.members]
    gate = runs.pop() if config.classifier_gate else None
    made = blend_in_memory(config, runs, dataset, gate)
    return {"combination": made.fitted.whole.to_dict(), **task.evaluate_unstored(made)}


def fits_of(config: RunConfig, dataset: Dataset, workspace: Workspace, folds: Sequence[Fold]) -> FitsByFold:
    """The finished fits of a run by fold, one a seed; none where nothing is trained.

    ConfigError where a fit is missing, and where the run was imported; DamagedFile where its weights are damaged.
    """
    folder = workspace.run(config.data.folder, config.name)
    if (kind := read_info(folder).kind) != "run":
        raise ConfigError(f"run '{config.name}' is {kind} and has no weights to pack. Leave it out of the config.")
    if isinstance(family_of(config.model), RuleFamily):
        return {}
    return {
        fold: [_fit(config, folder / "models", fold, seed, dataset) for seed in config.training.seeds] for fold in folds
    }


def _fit(config: RunConfig, folder: Path, fold: Fold, seed: int, dataset: Dataset) -> FitResult:
    files = FitFiles(folder, fold, seed)
    if (fit := files.result(Fingerprint(folds=dataset.folds.hash()))) is None:
        what, full = ("the fit on all samples", " --full") if fold == FULL else (f"fold {fold}", "")
        raise ConfigError(
            f"run '{config.name}' has not finished {what} with seed {seed}. Train it first: skyfold train CONFIG{full}."
        )
    fit = files.with_checksum(fit)
    fit.verify()
    return fit


def within_time(
    config: BlendConfig, choice: Choice, fits: FitsByRun, dataset: Dataset, workspace: Workspace
) -> tuple[FitsByRun, float]:
    """Those of `fits`, by run of `config`, that predict `choice.images` in `choice.seconds`, and the seconds it takes.

    Runs are taken best cross-validated score first, the gate last, each with as many of its folds as there is time
    for. ConfigError where there is no time for one fold of one run.
    """
    assert choice.seconds is not None
    assert choice.images is not None

    def score(run: RunConfig) -> float:
        found = float(read_info(workspace.run(run.data.folder, run.name)).scores["cv_cross_fitted"])
        return found if dataset.competition.metric.greater_is_better else -found

    taken: FitsByRun = {}
    seconds, least = 0.0, math.inf
    gates = [config.classifier_gate] if config.classifier_gate else []
    for run in [*sorted(config.runs, key=score, reverse=True), *gates]:
        by_fold = fits[run.name]
        speed = speed_of(run, [fit for of_fold in by_fold.values() for fit in of_fold], dataset, workspace)
        reading = choice.images * speed.reading
        of_fold = choice.images * speed.fit * max(1, len(next(iter(by_fold.values()), [])))
        least = min(least, reading + of_fold) if run in config.runs else least
        spare = choice.seconds * (1 - KEPT_BACK) - seconds - reading
        many = min(max(1, len(by_fold)), int(spare // of_fold) if of_fold else len(by_fold))
        if many < 1 or spare < 0:
            continue
        taken[run.name] = dict(list(by_fold.items())[:many])
        seconds += reading + many * of_fold
    if not any(run.name in taken for run in config.runs):
        raise ConfigError(
            f"--time-limit: predicting {choice.images} images with one fold of the fastest run takes {hours(least)} "
            f"here, and {KEPT_BACK:.0%} of {hours(choice.seconds)} are kept back. Raise the limit."
        )
    return taken, seconds


def hours(seconds: float) -> str:
    """A time for people.

    >>> hours(32400), hours(90)
    ('9.00 h', '90 s')
    """
    return f"{seconds / 3600:.2f} h" if seconds >= 600 else f"{seconds:.0f} s"


def lines_of(manifest: JsonDict) -> list[str]:
    """What was chosen, and what it costs, in sentences for people; none where all was packed."""
    choice, now, lines = manifest["choice"], manifest["scores"], list[str]()
    if choice is None:
        return []
    if choice["left_out"]:
        before = choice["scores_of_all"]
        cost = now.get("cv_cross_fitted", math.nan) - before.get("cv_cross_fitted", math.nan)
        lines.append(
            f"Left out: {', '.join(choice['left_out'])}. {manifest['metric']}, cross-fitted: {score_text(now)} instead "
            f"of {score_text(before)} of all members{'' if math.isnan(cost) else f': {cost:+.4f}'}."
        )
    if choice["full"]:
        lines.append(
            "Fits on all samples (skyfold train --full), for as many epochs as those of the folds kept. No sample is "
            "left to score them: the score is that of the folds' fits, which is what to expect of these."
        )
    if fewer := choice["folds"]:
        runs = "; ".join(f"{name}: fold {', '.join(map(str, folds))}" for name, folds in fewer.items())
        lines.append(
            f"Fits of fewer folds ({runs}). Each out-of-fold row was predicted by the fits of one fold, so that the "
            "score does not change; what new images gain by the mean over all folds is not in it, and is given up."
        )
    if choice["seconds"] is not None:
        lines.append(
            f"Predicting {choice['images']} images takes about {hours(choice['seconds'])} of "
            f"{hours(choice['time_limit'])} on the machine that packed it; start, combining and writing come on top."
        )
    return lines


def score_text(scores: JsonDict) -> str:
    """A score with its interval for people; of a few cases it may not be known.

    >>> score_text({"cv_cross_fitted": 0.5})
    '0.5000 (- to -)'
    """
    value, low, high = (f"{scores[name]:.4f}" if name in scores else "-" for name in ("cv_cross_fitted", "low", "high"))
    return f"{value} ({low} to {high})"
