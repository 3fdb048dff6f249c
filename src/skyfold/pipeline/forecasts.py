"""Forecasts of a config: make and compare them, then submit the last one and score it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from skyfold.config.forecasts import ForecastConfig
from skyfold.data.dataset import Dataset
from skyfold.errors import ConfigError
from skyfold.metrics.score_submission import score_lines
from skyfold.pipeline.baselines import make_forecasts
from skyfold.reports.forecast_table import ForecastTable, as_text, forecast_table
from skyfold.store.locks import held
from skyfold.store.records import FORMAT
from skyfold.store.rows import RowStore
from skyfold.submission.points_table import write_points
from skyfold.submission.write import write_submission
from skyfold.version import __version__
from skyfold.workspace import Workspace


def run_forecasts(config: ForecastConfig, truth: Path, workspace: Workspace, log: Callable[[str], None]) -> None:
    """Make the forecasts of `config`, log their table, submit the last one and score it where the file `truth` exists.

    folds.csv must exist. Forecasts that are stored are not made again. log: called with every line of output.
    """
    data = make_forecasts(config, workspace, log)
    made = [workspace.run(config.data.folder, model.name) for model in config.forecasts]
    with held(reads=made):
        log(as_text(score_forecasts(config, data, workspace)))
    if data.test is not None:
        submission = submit_forecast(config, data, workspace)
        log(f"submission: {submission}")
        if truth.is_file():
            for line in score_lines(data.competition, submission, truth):
                log(line)


def score_forecasts(config: ForecastConfig, data: Dataset, workspace: Workspace) -> ForecastTable:
    """Score the stored forecasts of `config`, case by case, beside its baseline."""
    folders = {model.name: workspace.run(config.data.folder, model.name) for model in config.forecasts}
    return forecast_table(data, folders, data.eval_rows(config.eval_years), config.baseline)


def submit_forecast(config: ForecastConfig, data: Dataset, workspace: Workspace) -> Path:
    """Write the submission of the last forecast; beside it, the values at the competition's points.

    Cells outside the valid area are submitted as 0. Returns the path of the CSV. InvalidSubmission lists what the
    competition would refuse.
    """
    competition, test, last = data.competition, data.test, config.forecasts[-1]
    assert test is not None
    path = workspace.submissions(config.data.folder) / f"{config.name}.csv"
    with held(writes=[path], reads=[workspace.run(config.data.folder, last.name)]):
        rows = _test_rows(config, data, workspace, outside=0.0)
        made_of = {"name": config.name, "forecast": last.model_dump(mode="json"), "folds": data.folds.hash()}
        sample = competition.sample_table(workspace.data(config.data.folder))
        write_submission(path, test.ids, rows, competition.submission, sample, {**made_of, "format": FORMAT})
        if competition.points:
            beside = path.with_name(f"{config.name}_points.csv")
            write_points(beside, test.ids, rows, competition.points, competition.classes)
    return path


def write_forecast_products(config: ForecastConfig, data: Dataset, workspace: Workspace) -> Path:
    """Write the last forecast as a NetCDF file by the CF conventions, `submissions/<data>/<name>.nc`; returns its path.

    Cells outside the valid area have no value. ConfigError where the competition's samples have no time or no test
    part, or h5netcdf is not installed.
    """
    competition, test, last = data.competition, data.test, config.forecasts[-1]
    if competition.write_netcdf is None or test is None or test.times is None:
        raise ConfigError(
            f"data set '{config.data.folder}': its samples have no {'time' if test else 'test part'}, so that there is "
            "no forecast to write as NetCDF. Leave --products off."
        )
    path = workspace.submissions(config.data.folder) / f"{config.name}.nc"
    about = {"title": f"{config.name}: {last.name}", "source": f"skyfold {__version__}"}
    with held(writes=[path], reads=[workspace.run(config.data.folder, last.name)]):
        rows = _test_rows(config, data, workspace, outside=np.nan)
        competition.write_netcdf(path, workspace.data(config.data.folder), test.ids, rows, about)
    return path


def _test_rows(config: ForecastConfig, data: Dataset, workspace: Workspace, *, outside: float) -> list[np.ndarray]:
    """The last forecast of every test sample, (H, W, L) each, with the value `outside` in cells outside the valid
    area."""
    test = data.test
    assert test is not None
    stored = RowStore.open(workspace.run(config.data.folder, config.forecasts[-1].name) / "test")
    rows = [stored[row] for row in range(len(test))]
    if test.valid is None:
        return rows
    return [np.where(test.valid[row], values, np.float32(outside)) for row, values in enumerate(rows)]
