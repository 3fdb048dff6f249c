"""All stages of a config of forecasts in order: prepare, forecast, compare, hand in, score; what is done is skipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from skyfold.config.files import load_forecasts
from skyfold.config.forecasts import ForecastConfig
from skyfold.data.dataset import Dataset
from skyfold.errors import ConfigError
from skyfold.metrics.points import at_points
from skyfold.metrics.score_submission import score_note, score_submission
from skyfold.pipeline.baselines import make_forecasts
from skyfold.pipeline.check_forecasts import check
from skyfold.pipeline.prepare import prepare
from skyfold.reports.forecast_table import ForecastTable, as_text, forecast_table
from skyfold.store.rows import RowStore
from skyfold.submission.points_table import write_points
from skyfold.submission.write import write_submission
from skyfold.types import ArraySequence
from skyfold.workspace import Workspace

TRUTH_FILE = "test_truth.csv"


def run_forecasts(
    path: Path, workspace: Workspace, log: Callable[[str], None] = print, overrides: tuple[str, ...] = ()
) -> None:
    """Do all that the config at `path` asks for; the sample is written first where it asks for one and has no data."""
    config = load_forecasts(path, overrides)
    try:
        check(config)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    name = config.data.folder
    if not workspace.folds(name).is_file():
        missing = not workspace.data(name).exists()
        for line in prepare(config.data, workspace, sample=bool(config.data.sample) and missing):
            log(line)
    data = make_forecasts(config, workspace, log)
    log(as_text(score_forecasts(config, data, workspace)))
    if data.test is not None:
        submission = submit_forecast(config, data, workspace)
        log(f"submission: {submission}")
        truth = workspace.data(name) / TRUTH_FILE
        if truth.is_file():
            for line in test_lines(config, data, submission, truth):
                log(line)


def score_forecasts(config: ForecastConfig, data: Dataset, workspace: Workspace) -> ForecastTable:
    """Score the stored forecasts of `config`, case by case, beside its baseline."""
    folders = {model.name: workspace.run(config.data.folder, model.name) for model in config.forecasts}
    return forecast_table(data, folders, data.eval_rows(config.eval_years), config.baseline)


def submit_forecast(config: ForecastConfig, data: Dataset, workspace: Workspace) -> Path:
    """Write the submission of the last forecast, and what it says of the competition's points beside it.

    ConfigError where the competition has no test part. Cells known to be flagged are handed in as 0.
    """
    if data.test is None:
        raise ConfigError(f"data set '{config.data.folder}' has no test part; there is nothing to hand in.")
    competition = data.competition
    last = config.forecasts[-1]
    stored = RowStore.open(workspace.run(config.data.folder, last.name) / "test")
    shown = [_filled(stored[row], data.test.valid, row) for row in range(len(data.test))]
    path = workspace.submissions(config.data.folder) / f"{config.name}.csv"
    sidecar = {"name": config.name, "forecast": last.model_dump(mode="json"), "folds": data.folds.hash()}
    sample = competition.sample_table(workspace.data(config.data.folder))
    write_submission(path, data.test.ids, shown, competition.submission, sample, sidecar)
    if competition.points:
        beside = path.with_name(f"{config.name}_points.csv")
        write_points(beside, data.test.ids, shown, competition.points, competition.classes)
    return path


def test_lines(config: ForecastConfig, data: Dataset, submission: Path, truth: Path) -> list[str]:
    """The contest's figure of the submission against the kept-aside truth, over all cells and at the points alone."""
    competition = data.competition
    known = competition.read_truth(truth)
    scored = score_submission(competition, submission, known)
    low, high = scored.interval.low, scored.interval.high
    sure = f" ({low:.4f} to {high:.4f}) over {scored.samples} samples" if scored.samples > 1 else ", one sample"
    lines = [f"test: {competition.metric.name} {scored.score:.4f}{sure}"]
    if note := score_note(scored.score):
        lines.append(note)
    if competition.points:
        pred = competition.read_pred(submission, known.ids)
        target, said = (np.stack([values[i] for i in range(len(known.ids))]) for values in (known.targets, pred))
        valid = None if known.valid is None else np.stack([known.valid[i] for i in range(len(known.ids))])
        stats = competition.metric.stats(
            target=at_points(target, competition.points),
            pred=at_points(said, competition.points),
            valid=None if valid is None else at_points(valid, competition.points),
        )
        lines.append(f"test, {len(competition.points)} points: {competition.metric.score(stats):.4f}")
    return lines


def _filled(forecast: np.ndarray, valid: ArraySequence | None, row: int) -> np.ndarray:
    return forecast if valid is None else np.where(valid[row], forecast, np.float32(0))
