"""Make the forecasts of a config: for every validated date from what was known on it, and for the test date.

Each is stored like a run, `oof/<data>/<name>/`, one float32 row (H, W, L) a date, flags not yet hidden. A family that
learns is fitted for each fold on the dates the fold may see, and on what its members said on them; its forecasts are of
the dates the table scores. A network is trained as any run. A killed process goes on where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from skyfold import plugins
from skyfold.config.forecasts import ForecastConfig, ForecastModel
from skyfold.config.run import RunConfig
from skyfold.data.dataset import Dataset, open_dataset
from skyfold.errors import ConfigError, DamagedFile
from skyfold.files import digest
from skyfold.forecasting.baselines import Baseline, DirectBaseline, FittedBaseline, baseline_of
from skyfold.forecasting.hindcast import Hindcast
from skyfold.forecasting.past_frames import PastFramesSource
from skyfold.pipeline.check_forecasts import check, check_fit, check_members, named
from skyfold.progress import Progress
from skyfold.store import runs
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.rows import RowStore
from skyfold.types import JsonDict, Samples
from skyfold.workspace import Workspace


def make_forecasts(
    config: ForecastConfig,
    workspace: Workspace,
    log: Callable[[str], None] = print,
) -> Dataset:
    """Make and store what is not there yet, in the order of the config."""
    check(config)
    data = open_dataset(config.data, workspace)
    check_fit(config, data, workspace)
    check_members(config, data, workspace)
    shared: dict[int, Hindcast] = {}
    for model in config.forecasts:
        if model.run is not None:
            log(f"run {model.name}")
            _train(model.run, workspace)
            continue
        seconds = _make(model, config, data, workspace, shared)
        if seconds is not None:
            log(f"forecast {model.name}: {seconds:.1f} s a date")
    return data


def _train(run: RunConfig, workspace: Workspace) -> None:
    from skyfold.pipeline.train import train

    train(run, workspace)


def _make(
    model: ForecastModel,
    config: ForecastConfig,
    data: Dataset,
    workspace: Workspace,
    shared: dict[int, Hindcast],
) -> float | None:
    """Seconds per date, None where nothing was to do."""
    folder = workspace.run(config.data.folder, model.name)
    members = [workspace.run(config.data.folder, name) for name in model.members]
    source = _source(data.train)
    # Members are part of what a forecast is made from: one that changed makes it stale.
    own = {
        **model.model_dump(mode="json"),
        "made_from": [runs.read_info(path).fingerprint.digest() for path in members],
    }
    info = runs.begin_run(
        folder,
        name=model.name,
        kind="forecast",
        task=data.competition.task,
        classes=data.competition.classes,
        unit=data.competition.unit,
        config=own,
        fingerprint=_fingerprint(model, own, data, source.checksum),
        restart=_nothing_made(folder),
    )
    shape = (*data.competition.grid, len(data.competition.classes))
    assert model.family is not None
    family = baseline_of(model)
    learns = isinstance(family, FittedBaseline)
    rows = data.eval_rows(config.eval_years) if learns else np.flatnonzero(data.folds.fold >= 0)
    oof = runs.open_rows(folder, "oof", info, ids=data.train.ids, shape=shape, dtype="float32")
    made = _Maker(model, family, data, [RowStore.open(path / "oof") for path in members], shared)
    todo = rows[~oof.complete[rows]]
    began = time.monotonic()
    with Progress(f"{model.name}: forecasting", len(todo), "dates") as progress:
        for fold in np.unique(data.folds.fold[todo]).tolist():
            own_rows = todo[data.folds.fold[todo] == fold]
            with named(model):
                forecast = made.fitted(data.folds.split(fold).train)
                for row in own_rows.tolist():
                    oof.write(np.array([row]), forecast(source, row, made.members)[None])
                    progress.advance()
    seconds = (time.monotonic() - began) / len(todo) if len(todo) else None
    oof.flush()
    if data.test is not None:
        ids = data.test.ids
        test = runs.open_rows(
            folder, "test", info, ids=ids, shape=shape, dtype="float32", checksum=_source(data.test).checksum
        )
        if not test.complete.all():
            with named(model):
                forecast = made.fitted(np.arange(len(data.train)))
                said = [RowStore.open(path / "test") for path in members]
                for row in range(len(ids)):
                    test.write(np.array([row]), forecast(_source(data.test), row, said)[None])
            test.flush()
    if seconds is not None:
        runs.record_scores(folder, {"seconds_a_date": seconds})
    return seconds


def _fingerprint(model: ForecastModel, own: JsonDict, data: Dataset, checksum: str) -> Fingerprint:
    assert model.family is not None
    config = digest(json.dumps(own, sort_keys=True))
    return Fingerprint(
        data=checksum,
        folds=data.folds.hash(),
        fit=config,
        source=plugins.source_digest("forecasting.baselines", model.family),
        rows=config,
    )


def _nothing_made(folder: Path) -> bool:
    """Whether a forecast was begun in `folder` that has no row yet: another config may then have its name."""
    if not (folder / "run.json").is_file() or "family" not in runs.read_info(folder).config:
        return False
    stores = [folder / part for part in ("oof", "test") if (folder / part / "rows.json").is_file()]
    try:
        return not any(RowStore.open(store).complete.any() for store in stores)
    except DamagedFile:
        return False


class _Maker:
    """How one model makes its forecasts; `members`: stored rows of its members, of the training samples."""

    def __init__(
        self,
        model: ForecastModel,
        family: Baseline,
        data: Dataset,
        members: list[RowStore],
        shared: dict[int, Hindcast],
    ) -> None:
        self.model, self.family, self.data, self.members, self.shared = model, family, data, members, shared
        self.outcomes: dict[int, Hindcast] = {}

    def fitted(self, train: np.ndarray) -> Callable[[PastFramesSource, int, Sequence[RowStore]], np.ndarray]:
        """forecast(source, row, members), fitted on the rows of `train` that all members cover."""
        family = self.family
        if isinstance(family, DirectBaseline):
            return lambda source, row, members: family.forecast(source.history(row))
        assert isinstance(family, FittedBaseline)
        for member in self.members:
            train = train[member.complete[train]]
        fitted = family.fit([self._outcome(row) for row in train.tolist()])
        return lambda source, row, members: fitted.forecast(source.history(row), _said(members, row, self._shape))

    @property
    def _shape(self) -> tuple[int, ...]:
        return (*self.data.competition.grid, len(self.data.competition.classes))

    def _outcome(self, row: int) -> Hindcast:
        """Kept, since later folds learn from the same dates; without members, for other families too."""
        kept = self.outcomes if self.members else self.shared
        if row not in kept:
            kept[row] = self._read_outcome(row)
        return kept[row]

    def _read_outcome(self, row: int) -> Hindcast:
        samples = self.data.train
        assert samples.targets is not None
        valid = np.ones(self._shape, dtype=bool) if samples.valid is None else samples.valid[row]
        truth = np.asarray(samples.targets[row], dtype=np.float32)
        return Hindcast(_source(samples).history(row), _said(self.members, row, self._shape), truth, valid)


def _said(members: Sequence[RowStore], row: int, shape: tuple[int, ...]) -> np.ndarray:
    """float32 (M, H, W, L)."""
    return np.stack([member[row] for member in members]) if members else np.empty((0, *shape), dtype=np.float32)


def _source(samples: Samples) -> PastFramesSource:
    inputs = samples.inputs
    if not isinstance(inputs, PastFramesSource):
        raise ConfigError("forecasts: the inputs of this competition say nothing of what was known when.")
    return inputs
