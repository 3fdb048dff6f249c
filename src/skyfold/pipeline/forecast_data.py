"""What the forecasts of a config are made from: samples, folds, and the rows that the table scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from skyfold.competition import Competition, build
from skyfold.config.forecasts import ForecastConfig
from skyfold.errors import ConfigError
from skyfold.forecasting.hindcast import Hindcast
from skyfold.store.fold_files import load_folds
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.types import Samples
from skyfold.workspace import Workspace


@dataclass(frozen=True)
class ForecastData:
    """What forecasts are made from; test is None where the competition has no test part.

    outcomes: those read so far, by row, without members.
    """

    competition: Competition
    samples: Samples
    folds: Folds
    test: Samples | None
    outcomes: dict[int, Hindcast] = field(default_factory=dict)

    def scored(self, config: ForecastConfig) -> np.ndarray:
        """Rows of the table: validated, and of the years that `config.eval_years` names."""
        rows = np.flatnonzero(self.folds.fold >= 0)
        if config.eval_years is None:
            return rows
        years = self.years[rows]
        return rows[(years >= config.eval_years[0]) & (years <= config.eval_years[1])]

    @property
    def years(self) -> np.ndarray:
        """(n,) calendar years of the first wanted frame; ConfigError where samples have no dates."""
        if self.samples.times is None:
            raise ConfigError("eval_years: names years, but the samples of these data have no dates. Leave it out.")
        years: np.ndarray = self.samples.times.astype("datetime64[Y]").astype(np.int64) + 1970
        return years


def open_forecast_data(config: ForecastConfig, workspace: Workspace) -> ForecastData:
    """Read files and folds; ConfigError where there is nothing to forecast."""
    folder = workspace.data(config.data.folder)
    competition = build(config.data.competition, config.data.options, folder)
    if competition.task != "forecasting":
        raise ConfigError(f"forecasts: '{competition.name}' asks for none; its task is {competition.task}.")
    samples = competition.load(folder, "train")
    folds = load_folds(config.data, samples.ids, workspace)
    test = competition.load(folder, "test") if "test" in competition.parts else None
    data = ForecastData(competition, samples, folds, test)
    rows = data.scored(config)
    if not len(rows):
        raise ConfigError(f"eval_years: no fold validates a date of {config.eval_years}. See data.folds.")
    if config.eval_years is not None:
        years = np.unique(data.years[rows]).tolist()
        if (years[0], years[-1]) != config.eval_years:
            raise ConfigError(
                f"eval_years: {list(config.eval_years)}, but the folds validate only {years[0]} to {years[-1]}. "
                "Set eval_years to those, or change data.folds."
            )
    return data


def stored_forecasts(folder: Path, part: str = "oof") -> RowStore:
    """The rows stored in the folder of a forecast."""
    return RowStore.open(folder / part)
