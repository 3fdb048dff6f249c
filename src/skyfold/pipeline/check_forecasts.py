"""Checks of a config of forecasts before the first of them is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from skyfold.config.forecasts import ForecastConfig, ForecastModel
from skyfold.data.dataset import Dataset
from skyfold.errors import ConfigError, DamagedFile, DataLayoutError, OofMismatch
from skyfold.forecasting.baselines import Baseline, FittedBaseline, baseline_of
from skyfold.forecasting.frame_adapters import FrameAdapter, adapter_of
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.workspace import Workspace

# Of data without dates.
MORE_EVENTS = "Add events, or set data.folds.k lower, so that each fold learns from some"


def check(config: ForecastConfig) -> None:
    """Check families, options and members of `config`; reads no data.

    ConfigError names the forecast and what it cannot use.
    """
    for model in config.forecasts:
        if model.run is not None:
            continue
        with named(model):
            family = baseline_of(model)
            if model.members and not isinstance(family, FittedBaseline):
                raise ConfigError(f"the family {model.family} is not fitted and takes no members. Remove them.")
            if family.needs_members and not model.members:
                raise ConfigError(f"{model.family} blends its members; name some in members.")


def check_data(config: ForecastConfig, data: Dataset, workspace: Workspace) -> None:
    """Check that every forecast of `config` can be made from `data`.

    ConfigError on a family of another unit, a plug-in that needs seasons where frames have no dates, a missing package
    where forecasts are left to make, and a fold without a date to fit a family on. InvalidSubmission
    where the competition's sample submission has other columns or rows than the test part.
    """
    sample = data.competition.sample_table(workspace.data(config.data.folder))
    if sample is not None and data.test is not None:
        data.competition.submission.check_sample(sample, data.test.ids)
    timed = data.folds.times is not None
    validated, rows = data.folds.fold >= 0, data.eval_rows(config.eval_years)
    fitted = {model.name for model in config.forecasts if _is_fitted(model)}
    known = {}  # forecast -> bool (n,): samples that it is stored for, or will be
    for model in config.forecasts:
        made = _complete_rows(workspace.run(config.data.folder, model.name), len(data.train))
        with named(model):
            _check_plugin(model, data, complete=bool(made[validated].all()))
        made[rows if model.name in fitted else validated] = True
        known[model.name] = made
    for model in config.forecasts:
        for fold in np.unique(data.folds.fold[rows]).tolist() if model.name in fitted else ():
            train = data.folds.split(fold).train
            with named(model):
                if not len(train):
                    remedy = "Begin `eval_years` later, or see data.folds"
                    raise ConfigError(f"fold {fold} has no training date. {remedy if timed else MORE_EVENTS}.")
                for member in model.members:
                    train = train[known[member][train]]
                    if not len(train):
                        raise ConfigError(_nothing_known(member, member in fitted, fold, data.folds, config))


@contextmanager
def named(model: ForecastModel) -> Iterator[None]:
    """Prefix the errors of a config or of data with the name of the forecast."""
    try:
        yield
    except (ConfigError, DataLayoutError, OofMismatch) as error:
        raise type(error)(f"forecasts: {model.name}: {error}") from None


def _check_plugin(model: ForecastModel, data: Dataset, *, complete: bool) -> None:
    competition = data.competition
    plugin: Baseline | FrameAdapter
    if model.run is not None and model.run.imported:
        return
    if model.run is not None:
        assert model.run.frame_adapter is not None
        what, plugin = f"frame_adapter {model.run.frame_adapter.name}", adapter_of(model.run.frame_adapter)
    else:
        what, plugin = str(model.family), baseline_of(model)
        if plugin.unit not in (None, competition.unit):
            raise ConfigError(
                f"{what}{f' with {model.options}' if model.options else ''} is for {plugin.unit}; "
                f"'{competition.name}' is in {competition.unit}. Take another family or option."
            )
        if not complete:
            plugin.require()
    if plugin.needs_seasons and data.train.times is None:
        raise ConfigError(
            f"{what} asks for the same season of earlier years; the frames of '{competition.name}' have no dates. Take "
            "another one."
        )


def _nothing_known(member: str, is_fitted: bool, fold: int, folds: Folds, config: ForecastConfig) -> str:
    """Message for a member that has no forecast of the dates a fold is fitted on, with its remedy."""
    why, remedy = "", "Begin `eval_years` later, or data.folds.years earlier"
    if folds.times is None:
        remedy = MORE_EVENTS
    elif is_fitted:
        why = " learns itself, and so"
        remedy = (
            "Forecast its earlier dates first, with a config whose `eval_years` begins earlier, or use members that "
            "are not fitted"
        )
    elif folds.k == 1:
        remedy = "There is one fold alone, and nothing before it: set data.folds.years_per_fold lower"
    elif config.eval_years is None:
        remedy = "Name as `eval_years` the years behind the first fold"
    return f"its member {member}{why} covers none of the dates that fold {fold} may learn from. {remedy}."


def _is_fitted(model: ForecastModel) -> bool:
    return model.family is not None and isinstance(baseline_of(model), FittedBaseline)


def _complete_rows(folder: Path, count: int) -> np.ndarray:
    """bool (count,): samples whose forecast is stored; none where the store is damaged or of another size."""
    none = np.zeros(count, dtype=bool)
    if not (folder / "oof" / "rows.json").is_file():
        return none
    try:
        complete = RowStore.open(folder / "oof").complete.copy()
    except DamagedFile:  # made again when they are written
        return none
    return complete if len(complete) == count else none
