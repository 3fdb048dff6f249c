"""Forecasts of the families of a config: out of fold for every validated date, and for the test dates.

Each is stored like a run in `oof/<data>/<name>/`: float32 rows (H, W, L), cells outside the valid area included. A
family that is fitted sees, for each fold, the dates before that fold and what its members forecast on them; it
forecasts the dates of the table only. Networks are trained as any run. An interrupted command resumes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from skyfold import plugins
from skyfold.compiled import one_blas_thread
from skyfold.config.forecasts import ForecastConfig, ForecastModel
from skyfold.data.dataset import Dataset, open_dataset
from skyfold.errors import DamagedFile, OofMismatch
from skyfold.files import digest
from skyfold.forecasting.baselines import Baseline, DirectBaseline, FittedBaseline, baseline_of
from skyfold.forecasting.hindcast import FittedForecast, Hindcast
from skyfold.forecasting.past_frames import PastFrames, past_frames
from skyfold.metrics.forecast_sums import ForecastSums, read_sums
from skyfold.pipeline.check_forecasts import check, check_data, named
from skyfold.pipeline.train import require_imported, train
from skyfold.progress import Progress
from skyfold.reports.forecast_table import forecast_table
from skyfold.store import runs
from skyfold.store.contents import require_unchanged
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.locks import held
from skyfold.store.rows import RowStore
from skyfold.tasks.stored_blend import read_member
from skyfold.types import JsonDict, Samples
from skyfold.workspace import Workspace


def make_forecasts(config: ForecastConfig, workspace: Workspace, log: Callable[[str], None] = print) -> Dataset:
    """Make and store the forecasts of `config` that are missing, in its order. Returns the data set.

    log: called with one line per network, and per family that forecast anything. ConfigError and InvalidSubmission as
    `check` and `check_data`; OofMismatch where a name was used with another config.
    """
    check(config)
    data = open_dataset(config.data, workspace)
    check_data(config, data, workspace)
    shared: dict[int, Hindcast] = {}  # of families without members, which fit the same dates
    for model in config.forecasts:
        if model.run is not None and model.run.imported:
            require_imported(model.run, workspace)
            read_member(model.run, data, workspace)
            continue
        if model.run is not None:
            log(f"run {model.name}")
            train(model.run, workspace)
            continue
        folder = workspace.run(config.data.folder, model.name)
        with held(writes=[folder], reads=[folder.with_name(name) for name in model.members]):
            seconds = _make(model, config, data, folder, shared)
        if seconds is not None:
            log(f"forecast {model.name}: {seconds:.1f} s a date")
    return data


@one_blas_thread()
def _make(
    model: ForecastModel, config: ForecastConfig, data: Dataset, folder: Path, shared: dict[int, Hindcast]
) -> float | None:
    """Make the forecasts that are missing in `folder`; its members lie beside it.

    Returns seconds per out-of-fold date, None where nothing was to do.
    """
    members = [folder.with_name(name) for name in model.members]
    own = stored_config(model, folder)
    key = digest(json.dumps(own, sort_keys=True))
    begun = runs.RunInfo(
        name=model.name,
        kind="forecast",
        task=data.competition.task,
        classes=data.competition.classes,
        unit=data.competition.unit,
        config=own,
        fingerprint=Fingerprint(
            data=past_frames(data.train).checksum,
            folds=data.folds.hash(),
            fit=key,
            source=plugins.source_digest("forecasting.baselines", str(model.family)),
            rows=key,
        ),
    )
    restart = _nothing_made(folder)
    if not restart:
        again = f"Delete {folder} and make it again, or bring the data back to what they were."
        since, later = f"forecast '{model.name}' was made", data.folds.later
        require_unchanged(folder, data.contents.of("train"), since=since, remedy=again, later=later)
        begun = replace(begun, fingerprint=runs.as_begun(begun.fingerprint, folder, data.folds))
    info = runs.begin_run(folder, begun, restart=restart)
    data.contents.of("train").record(folder)
    assert data.competition.grid is not None
    family, shape = baseline_of(model), (*data.competition.grid, len(data.competition.classes))
    out_of_fold = [RowStore.open(path / "oof") for path in members]
    maker = _Maker(family, data.train, shape, out_of_fold, {} if members else shared)
    years = config.eval_years if isinstance(family, FittedBaseline) else None
    seconds = None
    for name, samples in data.samples.items():
        is_test = name == "test"
        fold = np.full(len(samples), -1) if is_test else data.folds.fold
        rows = np.arange(len(samples)) if is_test else data.eval_rows(years)
        part, checksum = ("test", past_frames(samples).checksum) if is_test else ("oof", "")
        if is_test and data.folds.later and isinstance(family, FittedBaseline):
            checksum = digest(checksum, *data.folds.ids.tolist())  # fitted anew on the samples that came later, too
        stored = runs.open_rows(folder, part, info, ids=samples.ids, shape=shape, dtype="float32", checksum=checksum)
        rows = rows[~stored.complete[rows]]
        if not len(rows):
            continue
        stores, began = [RowStore.open(path / part) for path in members], time.monotonic()
        with Progress(f"{model.name}: forecasting", len(rows), "dates") as progress, named(model):
            for number in np.unique(fold[rows]).tolist():
                known = np.arange(len(data.train)) if is_test else data.folds.split(number).train
                forecast = maker.fitted(known)
                for row in rows[fold[rows] == number].tolist():
                    values = forecast(past_frames(samples).history(row), _stacked(stores, row, shape))
                    stored.write(np.array([row]), values[None])
                    progress.advance()
        stored.flush()
        if not is_test:
            seconds = (time.monotonic() - began) / len(rows)
            runs.record_scores(folder, {"seconds_a_date": seconds})
    return seconds


def stored_config(model: ForecastModel, folder: Path) -> JsonDict:
    """The config of a family's forecast as `run.json` in its `folder` holds it.

    Members are part of what a forecast is made from: one that changed makes it stale.
    """
    made_from = [runs.read_info(folder.with_name(name)).fingerprint.digest() for name in model.members]
    return {**model.model_dump(mode="json"), "made_from": made_from}


@one_blas_thread()
def fitted_for_test(model: ForecastModel, data: Dataset, folder: Path) -> JsonDict | None:
    """What the family of the forecast in `folder` fitted to forecast the test part, as JSON; None where nothing is.

    It is fitted again. ConfigError where what it fits is not packed; OofMismatch where it does not give the stored
    forecast, of members that have more rows by now, for instance.
    """
    family = baseline_of(model)
    if not isinstance(family, FittedBaseline):
        return None
    assert data.competition.grid is not None
    members = [folder.with_name(name) for name in model.members]
    shape = (*data.competition.grid, len(data.competition.classes))
    maker = _Maker(family, data.train, shape, [RowStore.open(path / "oof") for path in members], {})
    values = family.to_dict(maker.fit(np.arange(len(data.train))))
    if data.test is not None:
        rows = _stacked([RowStore.open(path / "test") for path in members], 0, shape)
        now = family.from_dict(values, data.competition.grid).forecast(past_frames(data.test).history(0), rows)
        if not np.array_equal(now, RowStore.open(folder / "test")[0]):
            raise OofMismatch(
                f"{folder}: fitted again, it gives another forecast than the one that is stored. Delete it and run "
                "`skyfold run` again."
            )
    return values


def fitted_unstored(
    model: ForecastModel, config: ForecastConfig, data: Dataset, workspace: Workspace
) -> tuple[JsonDict | None, ForecastSums]:
    """As `fitted_for_test`, and its out-of-fold sums, of a forecast that is not stored: its stored members, forecast
    and scored anew."""
    with TemporaryDirectory(prefix="skyfold-") as beside:
        folder = Path(beside) / model.name
        for name in model.members:
            folder.with_name(name).symlink_to(workspace.run(config.data.folder, name).absolute())
        _make(model, config, data, folder, {})
        forecast_table(data, {model.name: folder}, data.eval_rows(config.eval_years))
        return fitted_for_test(model, data, folder), read_sums(folder)


def _nothing_made(folder: Path) -> bool:
    """Whether a forecast was begun in `folder` that has no row yet: another config may then have its name."""
    if not (folder / "run.json").is_file() or "family" not in runs.read_info(folder).config:
        return False
    stores = [folder / part for part in ("oof", "test") if (folder / part / "rows.json").is_file()]
    try:
        return not any(RowStore.open(store).complete.any() for store in stores)
    except DamagedFile:
        return False


@dataclass
class _Maker:
    """Fit one family on training `samples` and the out-of-fold rows of its `members`.

    hindcasts: those read so far, by row
    """

    family: Baseline
    samples: Samples
    shape: tuple[int, ...]
    members: list[RowStore]
    hindcasts: dict[int, Hindcast]

    def fitted(self, rows: np.ndarray) -> Callable[[PastFrames, np.ndarray], np.ndarray]:
        """forecast(history, members (M, H, W, L)) -> (H, W, L), fitted on those of `rows` that all members cover."""
        family = self.family
        if isinstance(family, DirectBaseline):
            return lambda history, members: family.forecast(history)
        return self.fit(rows).forecast

    def fit(self, rows: np.ndarray) -> FittedForecast:
        """A fitted family, as `fitted`."""
        assert isinstance(self.family, FittedBaseline)
        for member in self.members:
            rows = rows[member.complete[rows]]
        return self.family.fit([self._hindcast(row) for row in rows.tolist()])

    def _hindcast(self, row: int) -> Hindcast:
        """Kept, since later folds are fitted on the same dates."""
        if row not in self.hindcasts:
            members, history = _stacked(self.members, row, self.shape), past_frames(self.samples).history(row)
            self.hindcasts[row] = Hindcast(history, members, *truth_of(self.samples, row))
        return self.hindcasts[row]


def _stacked(members: Sequence[RowStore], row: int, shape: tuple[int, ...]) -> np.ndarray:
    """float32 (M, *shape)."""
    return np.array([member[row] for member in members], dtype=np.float32).reshape(-1, *shape)


def truth_of(samples: Samples, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth, float32, and the cells of it that count, bool: (H, W, L) each, of the sample `row`."""
    assert samples.targets is not None
    truth = np.asarray(samples.targets[row], dtype=np.float32)
    valid = np.ones(truth.shape, dtype=bool) if samples.valid is None else samples.valid[row]
    return truth, valid if valid.ndim == truth.ndim else np.broadcast_to(valid[..., None], truth.shape)
