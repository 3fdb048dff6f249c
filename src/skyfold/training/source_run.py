"""A run that another run learns from: its weights as initial weights, its predictions as pseudo-labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from skyfold.config.errors import explain
from skyfold.config.run import RunConfig
from skyfold.config.training import IMPORTED
from skyfold.errors import ConfigError, DamagedFile, MissingWeights
from skyfold.store.fits import FitFiles, FitResult
from skyfold.store.runs import RunInfo, read_info


@dataclass(frozen=True)
class SourceRun:
    """The run stored in `folder`; what: the config key that names it, its name and its data set, for errors."""

    what: str
    folder: Path
    info: RunInfo
    config: RunConfig

    @classmethod
    def open(cls, folder: Path, *, key: str, user: RunConfig, weights: bool = True) -> SourceRun:
        """The run that `key` of the config `user` names; no weights are read.

        weights: whether it must have some; an imported run has none. OofMismatch where there is no such run,
        ConfigError where it is of another kind or another task.
        """
        info = read_info(folder)
        what = f"{key}: the run '{folder.name}' on {folder.parent.name}"
        if info.kind != "run" and (weights or info.kind != IMPORTED):
            kind = "was imported" if info.kind == IMPORTED else f"is a {info.kind}"
            raise ConfigError(f"{what} {kind} and has no weights of its own. Name a trained run.")
        if info.task != user.task:
            raise ConfigError(
                f"{what} has task: {info.task}, '{user.name}' task: {user.task}. Name a run of that task."
            )
        return cls(what, folder, info, stored_config(folder, info))

    def fit(self, fold: int, seed: int) -> FitResult:
        """MissingWeights where the fit is not finished, DamagedFile where it has not the weights that were written."""
        fit = FitFiles(self.folder / "models", fold, seed).result(self.info.fingerprint.of("folds"))
        if fit is None:
            raise MissingWeights(f"{self.what} has not finished fold {fold} with seed {seed}. Train it first.")
        fit.verify()
        return fit


def stored_config(folder: Path, info: RunInfo) -> RunConfig:
    """The config of the run in `folder`; DamagedFile where it is no config that this version reads."""
    try:
        return RunConfig.model_validate({key: value for key, value in info.config.items() if key != IMPORTED})
    except ValidationError as error:
        raise DamagedFile(
            f"{folder / 'run.json'}: its config is none that this version reads. {explain(RunConfig, error)[0]} Train "
            f"the run again: skyfold train CONFIG --restart."
        ) from None
