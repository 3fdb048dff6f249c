"""The Optuna study of a study file: its database, sampler and pruner, and whether it is still the same study."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from skyfold.data.seeding import derived_seed
from skyfold.errors import ConfigError
from skyfold.files import write_text
from skyfold.tuning.search_space import PrunerConfig, SamplerConfig, StudyConfig

HEARTBEAT_SECONDS = 15
GRACE_SECONDS = 120  # without a heartbeat: a worker that swaps, or a slow database, may miss some
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)  # failed trials do not count towards the number asked for


@dataclass(frozen=True)
class OpenStudy:
    """folder: of the study's files; study: Optuna's; storage: its database; config: the study file."""

    folder: Path
    study: optuna.Study
    storage: RDBStorage
    config: StudyConfig

    def lock(self) -> FileLock:
        """Held while a trial is reserved or put back, and while best.yaml is written."""
        return FileLock(self.folder / "study.lock")

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in these states (none given: all), by number; read-only."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def best_trial(self) -> FrozenTrial | None:
        """The complete trial with the best value, the first of equal ones; None before any is complete."""
        sign = -1.0 if self.study.direction == StudyDirection.MAXIMIZE else 1.0
        complete = self.trials(TrialState.COMPLETE)
        return min(complete, key=lambda trial: (sign * trial.values[0], trial.number), default=None)

    def trial_folder(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04d}"


def open_study(
    config: StudyConfig,
    folder: Path,
    *,
    storage: str | None,
    greater_is_better: bool,
    max_epochs: int,
    settings: Mapping[str, Any],
    first: Mapping[str, Any] | None = None,
) -> OpenStudy:
    """Create the study of `config` in `folder`, or load it.

    storage: a database URL; None: `folder/study.db`. max_epochs: of a trial, over its folds and seeds. settings: what
    the values of trials depend on besides their params. first: params of the first trial. ConfigError if the database
    cannot be used or is not the one the study was created in, or if `settings` or the search space have changed.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", message="Heartbeat of storage")  # `worker.py` records it outside Study.optimize
    folder.mkdir(parents=True, exist_ok=True)
    spaces = {f"search.{key}": parameter.model_dump(mode="json") for key, parameter in config.search.items()}
    current = json.dumps({**settings, **spaces}, sort_keys=True)
    direction = StudyDirection.MAXIMIZE if greater_is_better else StudyDirection.MINIMIZE
    with FileLock(folder / "study.lock"):  # workers that create tables together in an empty database would fail
        url = _database_url(storage, folder)
        try:
            database = _database(url)
            study = optuna.create_study(
                study_name=config.name,
                storage=database,
                direction=direction,
                sampler=SeededByTrial(config.sampler),
                pruner=_pruner(config.pruner, max_epochs),
                load_if_exists=True,
            )
            has_trials = bool(study.get_trials(deepcopy=False))
        except Exception as error:  # every database driver has its own
            reason = str(error.__cause__ or error).splitlines()[0]
            raise ConfigError(
                f"--storage {url.render_as_string()}: cannot be used as a study database ({reason}). Pass the URL of "
                "an empty database, or delete this one to start over. PostgreSQL needs pip install -e .[postgres]."
            ) from None
        before = study.user_attrs.get("settings")
        if before is None and (has_trials or study.directions != [direction]):
            raise ConfigError(
                f"--storage {url.render_as_string()}: holds a study '{config.name}' that skyfold did not create. "
                "Rename one of them, or use another database."
            )
        if before is None:
            study.set_user_attr("settings", current)
        elif before != current:
            raise ConfigError(_settings_changed(json.loads(before), json.loads(current), config.name, folder))
        if first is not None and not has_trials:
            study.enqueue_trial(dict(first))
        write_text(folder / "storage.txt", _location(url, folder))
    return OpenStudy(folder, study, database, config)


class SeededByTrial(TPESampler):
    """Draws each value with a generator seeded by the study's seed, the trial's number and the key.

    A resumed study draws what it would have drawn without the stop; a sampler seeded once per process would repeat its
    first draws. What TPE draws also depends on the trials finished before, which with one worker are the same.
    """

    def __init__(self, config: SamplerConfig) -> None:
        super().__init__(multivariate=False)  # each key by itself
        self._config = config

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        seed = derived_seed("tuning", self._config.seed, trial.number, param_name)
        sampler = TPESampler(n_startup_trials=self._config.startup_trials, seed=seed)
        return sampler.sample_independent(study, trial, param_name, param_distribution)


def _database_url(storage: str | None, folder: Path) -> URL:
    """ConfigError unless `storage` is the database that the study of this folder has been kept in so far."""
    try:
        url = make_url(storage) if storage else URL.create("sqlite", database=str(folder / "study.db"))
    except ArgumentError:
        raise ConfigError(f"--storage {storage}: not a database URL, for instance sqlite:///study.db.") from None
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise ConfigError(f"--storage {storage}: a database in memory ends with its process. Name a file.")
    record = folder / "storage.txt"
    before = record.read_text(encoding="utf-8") if record.is_file() else _location(url, folder)
    if before != _location(url, folder):
        raise ConfigError(
            f"--storage: this study is stored in {before}, not in {_location(url, folder)}. Pass the same --storage as "
            f"before. If the database was moved, delete {record}."
        )
    return url


def _location(url: URL, folder: Path) -> str:
    """Where a database is, without user and password; a file in the study's folder relative to that folder."""
    if url.get_backend_name() != "sqlite":
        return f"{url.get_backend_name()}://{url.host}:{url.port}/{url.database}"
    path = Path(str(url.database)).resolve()
    inside = path.is_relative_to(folder.resolve())
    return (path.relative_to(folder.resolve()) if inside else path).as_posix()


def _database(url: URL) -> RDBStorage:
    text = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")  # Optuna formats the URL
    # Workers wait for each other's writes; a server may close a connection that idles during an epoch.
    sqlite: dict[str, Any] = {"connect_args": {"timeout": 60}}
    engine = sqlite if url.get_backend_name() == "sqlite" else {"pool_pre_ping": True}
    return RDBStorage(text, engine, heartbeat_interval=HEARTBEAT_SECONDS, grace_period=GRACE_SECONDS)


def _pruner(config: PrunerConfig, max_epochs: int) -> BasePruner:
    first = config.warmup_epochs + 1
    pruners: dict[str, BasePruner] = {
        "median": MedianPruner(config.startup_trials, first),
        "hyperband": HyperbandPruner(first, max(max_epochs, first), config.reduction_factor),
        "none": NopPruner(),
    }
    return pruners[config.name]


def _settings_changed(before: dict[str, Any], now: dict[str, Any], name: str, folder: Path) -> str:
    key = next(key for key in sorted({*before, *now}) if before.get(key) != now.get(key))
    return (
        f"study '{name}' was created with {key} = {before.get(key, 'nothing')}; now it is {now.get(key, 'nothing')}. "
        f"Its trials would not be comparable. Rename the study, or delete {folder} (and the study in its database)."
    )
