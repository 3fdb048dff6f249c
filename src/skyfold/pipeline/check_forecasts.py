"""What is wrong with a config of forecasts, told before the first of them is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from skyfold.config.forecasts import ForecastConfig, ForecastModel
from skyfold.data.dataset import Dataset
from skyfold.errors import ConfigError, DamagedFile, DataLayoutError
from skyfold.forecasting.baselines import Baseline, FittedBaseline, baseline_of
from skyfold.forecasting.frame_adapters import FrameAdapter, adapter_of
from skyfold.store.rows import RowStore
from skyfold.workspace import Workspace


def check(config: ForecastConfig) -> None:
    """Refuse, before any data are read, a family or an option that there is not."""
    if config.networks:
        from skyfold.tasks.open_run import check as check_run

        for run in config.networks.values():
            check_run(run)
    for model in config.forecasts:
        if model.family is None:
            continue
        with named(model):
            family = baseline_of(model)
        if model.members and not isinstance(family, FittedBaseline):
            raise ConfigError(f"forecasts: {model.name}: the family {model.family} learns from no members.")
        if not model.members and family.needs_members:
            raise ConfigError(f"forecasts: {model.name}: {model.family} blends its members; name some in members.")


def check_fit(config: ForecastConfig, data: Dataset, workspace: Workspace) -> None:
    """Refuse families, and views of networks, that are not for such frames, being of another unit or of seasons; and
    families whose package is missing, where something is left to make. Also a sample submission of other columns or
    rows, which the submission would have to take over."""
    contest = data.competition
    sample = contest.sample_table(workspace.data(config.data.folder))
    if sample is not None and data.test is not None:
        contest.submission.check_sample(sample, data.test.ids)
    for model in config.forecasts:
        if model.family is None:
            adapter = model.run and model.run.frame_adapter
            if adapter:
                _refuse_seasons(model, f"frame_adapter {adapter.name}", adapter_of(adapter), data)
            continue
        family = baseline_of(model)
        if family.unit not in (None, contest.unit):
            raise ConfigError(
                f"forecasts: {model.name}: {model.family}{f' with {model.options}' if model.options else ''} is for "
                f"{family.unit}; '{contest.name}' is in {contest.unit}. Take another family or option."
            )
        made = _rows_done(workspace.run(config.data.folder, model.name), len(data.train))
        if not made[data.folds.fold >= 0].all():
            with named(model):
                family.require()
        _refuse_seasons(model, model.family, family, data)


def _refuse_seasons(model: ForecastModel, what: str, plugin: Baseline | FrameAdapter, data: Dataset) -> None:
    if plugin.needs_seasons and data.train.times is None:
        raise ConfigError(
            f"forecasts: {model.name}: {what} asks for the same season of earlier years; the frames of "
            f"'{data.competition.name}' have no dates. Take another one."
        )


def check_members(config: ForecastConfig, data: Dataset, workspace: Workspace) -> None:
    """Refuse a forecast that would have nothing to learn from in some fold."""
    rows = data.eval_rows(config.eval_years)
    has_prediction: dict[str, np.ndarray] = {}
    learning = [model for model in config.forecasts if _learns(model)]
    for model in config.forecasts:
        made = _rows_done(workspace.run(config.data.folder, model.name), len(data.train))
        to_make = rows if model in learning else np.flatnonzero(data.folds.fold >= 0)
        made[to_make] = True
        has_prediction[model.name] = made
    for model in learning:
        for fold in np.unique(data.folds.fold[rows]).tolist():
            train = data.folds.split(fold).train
            if not len(train):
                raise ConfigError(
                    f"forecasts: {model.name}: fold {fold} has nothing to learn from. Begin `eval_years` later, or see "
                    "data.folds."
                )
            for member in model.members:
                train = train[has_prediction[member][train]]
                if not len(train):
                    itself = any(other.name == member for other in learning)
                    why = " learns itself, and so" if itself else ""
                    raise ConfigError(
                        f"forecasts: {model.name}: its member {member}{why} covers none of the dates that fold {fold} "
                        f"may learn from. {_remedy(config, data, itself)}."
                    )


def _remedy(config: ForecastConfig, data: Dataset, itself: bool) -> str:
    if itself:
        return (
            "Forecast its earlier dates first, with a config whose `eval_years` begins earlier, or use members that "
            "are not fitted"
        )
    if data.folds.k == 1:
        return "There is one fold alone, and nothing before it: set data.folds.years_per_fold lower"
    if config.eval_years is None:
        return "Name as `eval_years` the years behind the first fold"
    return "Begin `eval_years` later, or data.folds.years earlier"


@contextmanager
def named(model: ForecastModel) -> Iterator[None]:
    """Faults name the forecast in whose making they were found."""
    try:
        yield
    except (ConfigError, DataLayoutError) as error:
        raise type(error)(f"forecasts: {model.name}: {error}") from None


def _learns(model: ForecastModel) -> bool:
    return model.family is not None and isinstance(baseline_of(model), FittedBaseline)


def _rows_done(folder: Path, count: int) -> np.ndarray:
    """bool (count,): which samples' forecasts are stored; none where they are of another number of samples."""
    if not (folder / "oof" / "rows.json").is_file():
        return np.zeros(count, dtype=bool)
    try:
        done = RowStore.open(folder / "oof").complete
    except DamagedFile:  # made again when they are written
        return np.zeros(count, dtype=bool)
    return done.copy() if len(done) == count else np.zeros(count, dtype=bool)
