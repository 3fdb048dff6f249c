"""Forecasts of a bundle: those of its baseline families, and the files that are written of what comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from skyfold.compiled import one_blas_thread
from skyfold.config.forecasts import ForecastModel
from skyfold.errors import ConfigError
from skyfold.files import digest, write_atomic
from skyfold.forecasting.baselines import DirectBaseline, FittedBaseline, baseline_of
from skyfold.forecasting.past_frames import past_frames
from skyfold.metrics.forecast import ErrorBySkill
from skyfold.progress import Progress
from skyfold.reports.forecast_maps import draw_maps
from skyfold.store.rows import RowStore
from skyfold.submission.points_table import write_points
from skyfold.tasks.predicted import Predicted
from skyfold.types import JsonDict, LazyArrays, Samples
from skyfold.version import __version__


@one_blas_thread()
def family_rows(
    about: JsonDict, manifest: JsonDict, samples: Samples, made: Mapping[str, RowStore], work: Path
) -> RowStore:
    """The forecasts of a baseline family for `samples`, (H, W, L) each.

    about: what the bundle's `manifest` says of it; made: forecasts of its members, by name.
    """
    model = ForecastModel(name=about["name"], family=about["family"], options=about["options"])
    family, source = baseline_of(model), past_frames(samples)
    family.require()
    members = [made[name] for name in about["members"]]
    grid = source.history(0).shape
    shape = (*grid, len(manifest["classes"]))
    own = json.dumps(about, sort_keys=True)
    store = RowStore.open_or_create(
        work / "rows" / model.name,
        ids=samples.ids,
        shape=shape,
        dtype="float32",
        fingerprint=digest(own, source.checksum, *(member.fingerprint for member in members)),
    )
    missing = np.flatnonzero(~store.complete).tolist()
    fitted = family.from_dict(about["fitted"], grid) if isinstance(family, FittedBaseline) else None
    with Progress(f"{model.name}: forecasting", len(missing), "dates") as progress:
        for row in missing:
            history = source.history(row)
            if fitted is not None:
                rows = np.array([member[row] for member in members], dtype=np.float32)
                values = fitted.forecast(history, rows.reshape(-1, *shape))
            else:
                assert isinstance(family, DirectBaseline)
                values = family.forecast(history)
            store.write(np.array([row]), values[None])
            progress.advance()
    store.flush()
    return store


def write_table(made: Predicted, out: Path) -> Path:
    """`submission.csv`; cells outside the valid area are 0. Beside it, as `submission_points.csv`, the values at the
    competition's points, where it has some."""
    values, competition = LazyArrays(len(made.samples), partial(_masked, made, outside=0.0)), made.competition
    if competition.points:
        write_points(out / "submission_points.csv", made.samples.ids, values, competition.points, competition.classes)
    return made.write_table(out / "submission.csv", values, competition.submission)


def write_arrays(made: Predicted, out: Path) -> Path:
    """`forecast.npz`.

    values      float32 (n, H, W, L), in `unit`
    valid       bool (n, H, W, L), False where nothing is forecast, on land for instance
    ids         (n,)
    lead_times  (L,) in frames after the last one
    dates       datetime64 (n, L) of the frames that are forecast; not there where frames have no times
    """
    samples, path, rows = made.samples, out / "forecast.npz", range(len(made.samples))
    values = np.stack([np.asarray(made.values[row]) for row in rows])
    valid = np.ones(values.shape, dtype=bool)
    if samples.valid is not None:
        valid &= np.stack([samples.valid[row] for row in rows])
    arrays = {"values": values, "valid": valid, "ids": samples.ids, "unit": np.array(made.competition.unit)}
    arrays["lead_times"] = past_frames(samples).history(0).lead_times
    if (dates := _dates(made)) is not None:
        arrays["dates"] = dates

    def save(beside: Path) -> None:
        with beside.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    write_atomic(path, save)
    return path


def write_netcdf(made: Predicted, out: Path) -> Path:
    """`forecast.nc` by the CF conventions; cells outside the valid area have no value."""
    write, samples = made.competition.write_netcdf, made.samples
    if write is None or samples.times is None:
        raise ConfigError("--write netcdf: these frames have no times. Choose npz.")
    values = LazyArrays(len(samples), partial(_masked, made, outside=np.nan))
    about = {"title": made.bundle.manifest["name"], "source": f"skyfold {__version__}"}
    write(out / "forecast.nc", made.source, samples.ids, values, about)
    return out / "forecast.nc"


def write_maps(made: Predicted, out: Path) -> Path:
    """`maps/<id>.png`, a map for each lead time."""
    metric, dates, folder = made.competition.metric, _dates(made), out / "maps"
    assert isinstance(metric, ErrorBySkill)
    for row, name in enumerate(made.samples.ids.tolist()):
        valid = None if made.samples.valid is None else made.samples.valid[row]
        leads = made.competition.classes if dates is None else dates[row].astype(str).tolist()
        title = f"{made.bundle.manifest['name']}: {name}"
        draw_maps(folder / f"{Path(name).stem}.png", np.asarray(made.values[row]), valid, leads, metric, title)
    return folder


def _masked(made: Predicted, row: int, *, outside: float) -> np.ndarray:
    values, valid = np.asarray(made.values[row]), made.samples.valid
    return values if valid is None else np.where(valid[row], values, np.float32(outside))


def _dates(made: Predicted) -> np.ndarray | None:
    """datetime64 (n, L) of the frames that are forecast; None where they have no times."""
    times, leads = made.samples.times, past_frames(made.samples).history(0).lead_times
    if times is None:
        return None
    horizon = made.competition.horizon
    step = np.timedelta64(0) if horizon is None else horizon // int(leads[-1])  # with one lead time none is needed
    return np.asarray(times[:, None] + (leads - leads[0]) * step)
