"""The Optuna study of a study file: its database, sampler and pruner, and the queue of its trials.

A worker holds a lock on a file of its own (see `store/locks.py`), so that a killed worker on this host is noticed at
once; one on another host is dead when its trial has had no heartbeat for a while. Its trial keeps its number, its
params and the scores it has reported, so it is neither lost nor counted twice.
"""

from __future__ import annotations

import json
import math
import os
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from skyfold.data.seeding import derived_seed
from skyfold.errors import ConfigError, DamagedFile, listing
from skyfold.files import host, remove_unfinished, write_text
from skyfold.store.locks import is_held, own_file, waited_for
from skyfold.tuning.search_space import PrunerConfig, SamplerConfig, StudyConfig, active_params

HEARTBEAT_SECONDS = 15
GRACE_SECONDS = 120  # without a heartbeat: a worker that swaps, or a slow database, may miss some
MAX_DEATHS = 3  # of workers at the same epoch of a trial: then the trial is the cause
FULL, FREE_SPACE = "disk is full", "Free disk space, then run the same command again."  # SQLite's words, and a remedy
ANOTHER_DATABASE = (
    "Pass the URL of an empty database, or delete this one to start over. PostgreSQL needs pip install -e .[postgres]."
)
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)  # failed trials do not count towards the number asked for


@dataclass(frozen=True)
class OpenStudy:
    """folder: of the study's files; study: Optuna's; storage: its database; config: the study file; threads: that each
    trial computes in, None of a study that is older than this."""

    folder: Path
    study: optuna.Study
    storage: RDBStorage
    config: StudyConfig
    threads: int | None

    def lock(self) -> AbstractContextManager[None]:
        """Held while a trial is reserved or put back, and while best.yaml is written."""
        return waited_for(self.folder / "study.lock")

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in these states (none given: all), by number; read-only."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def best_trial(self) -> FrozenTrial | None:
        """The complete trial with the best value, the first of equal ones; None before any is complete."""
        sign = -1.0 if self.study.direction == StudyDirection.MAXIMIZE else 1.0
        complete = self.trials(TrialState.COMPLETE)
        return min(complete, key=lambda trial: (sign * trial.values[0], trial.number), default=None)

    def trial_folder(self, number: int) -> Path:
        """Folder of a trial's config, history and checkpoint."""
        return self.folder / "trials" / f"{number:04d}"


def reason_of(error: Exception) -> str:
    """What the database says, in one line."""
    return str(error.__cause__ or error).splitlines()[0]


def open_study(
    config: StudyConfig,
    folder: Path,
    *,
    storage: str | None,
    greater_is_better: bool,
    max_epochs: int,
    settings: Mapping[str, Any],
    first: Mapping[str, Any] | None = None,
    threads: int = 1,
) -> OpenStudy:
    """Create the study of `config` in `folder`, or load it.

    storage: a database URL; None: `folder/study.db`. max_epochs: of a trial, over its folds and seeds. settings: what
    the values of trials depend on besides their params. first: params of the first trial. threads: that each trial of a
    study that is created now computes in, on every machine. ConfigError if the database cannot be used or is not the
    one the study was created in, or if `settings` or the search space have changed; DamagedFile, naming the trial, if
    the database holds what no worker writes.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", message="Heartbeat of storage")  # `worker.py` records it outside Study.optimize
    (folder / "workers").mkdir(parents=True, exist_ok=True)
    spaces = {f"search.{key}": parameter.model_dump(mode="json") for key, parameter in config.search.items()}
    current = json.dumps({**settings, **spaces}, sort_keys=True)
    direction = StudyDirection.MAXIMIZE if greater_is_better else StudyDirection.MINIMIZE
    with waited_for(folder / "study.lock"):  # workers that create tables together in an empty database would fail
        remove_unfinished(folder)
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
            trials, attributes = study.get_trials(deepcopy=False), study.user_attrs
        except Exception as error:  # every database driver has its own
            reason = reason_of(error)
            raise ConfigError(
                f"--storage {url.render_as_string()}: cannot be used as a study database ({reason}). "
                f"{FREE_SPACE if FULL in reason else ANOTHER_DATABASE}"
            ) from None
        before = _settings_of(attributes, url)
        if problems := [problem for trial in trials if (problem := _oddity(trial, config))]:
            raise DamagedFile(
                f"{url.render_as_string()}: not what workers of study '{config.name}' write. Restore the database from "
                f"a backup, or delete it and {folder} to start over.\n{listing(problems)}"
            )
        if not trials and any((folder / "trials").glob("*")):
            raise ConfigError(
                f"--storage {url.render_as_string()}: holds no trial of study '{config.name}', but {folder / 'trials'} "
                f"does: the study is kept in another database. Pass its --storage, or delete {folder} to start over."
            )
        if before is None and (trials or study.directions != [direction]):
            raise ConfigError(
                f"--storage {url.render_as_string()}: holds a study '{config.name}' that skyfold did not create. "
                "Rename one of them, or use another database."
            )
        if before is None:
            study.set_user_attr("settings", current)
            study.set_user_attr("threads", threads)
        elif before != (now := json.loads(current)):
            then = before
            key = next(key for key in sorted({*then, *now}) if then.get(key) != now.get(key))
            raise ConfigError(
                f"study '{config.name}' was created with {key} = {then.get(key, 'nothing')}; now it is "
                f"{now.get(key, 'nothing')}. Its trials would not be comparable. Rename the study, or delete {folder} "
                "(and the study in its database)."
            )
        if first is not None and not trials:
            study.enqueue_trial(dict(first))
        write_text(folder / "storage.txt", _location(url, folder))
    return OpenStudy(folder, study, database, config, study.user_attrs.get("threads"))


def _settings_of(attributes: Mapping[str, Any], url: URL) -> dict[str, Any] | None:
    """The settings that a study was created with; None where there are none."""
    if "settings" not in attributes:
        return None
    with suppress(ValueError, TypeError):
        if isinstance(settings := json.loads(attributes["settings"]), dict) and _is_count(attributes.get("threads", 1)):
            return settings
    raise DamagedFile(
        f"{url.render_as_string()}: the settings of the study were edited or cut off. Restore the database from a "
        "backup, or delete it to start over."
    )


def _oddity(trial: FrozenTrial, config: StudyConfig) -> str:
    """What is wrong with the record of a trial, in words; '' for one that workers write."""
    search, attributes = config.search, trial.user_attrs
    values: list[float] = trial.values or []
    deaths = attributes.get("deaths", [])
    wrong = [
        f"{key} = {value!r}" for key, value in trial.params.items() if key not in search or not search[key].has(value)
    ]
    if wrong:
        return f"trial {trial.number}: {wrong[0]}, which the study does not search"
    if trial.state == TrialState.COMPLETE and not (len(values) == 1 and math.isfinite(values[0])):
        return f"trial {trial.number}: complete, but its value is {', '.join(map(str, values)) or 'missing'}"
    if not isinstance(deaths, list) or not all(map(_is_count, deaths)):
        return f"trial {trial.number}: deaths of its workers: {deaths!r}"
    texts = [name for name in ("worker", "reason") if not isinstance(attributes.get(name, ""), str)]
    return f"trial {trial.number}: its {texts[0]} is {attributes[texts[0]]!r}" if texts else ""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def reserve_trial(opened: OpenStudy, worker: str, *, n_trials: int) -> optuna.Trial | None:
    """The next trial for `worker` (see `worker_lock`), a requeued one first, with all params drawn; None if finished
    and running trials make up `n_trials`. Prints a line for each trial whose worker died."""
    with opened.lock():
        _requeue_orphans(opened)
        if len(opened.trials(*FINISHED, TrialState.RUNNING)) >= n_trials:
            return None
        trial = opened.study.ask()
        opened.storage.record_heartbeat(trial._trial_id)
        trial.set_user_attr("worker", worker)
        search = opened.config.search
        active_params(search, lambda key: search[key].suggest(trial, key))
        return trial


def requeue(opened: OpenStudy, trial: optuna.Trial) -> None:
    """Put an interrupted trial back into the queue."""
    with opened.lock():
        if opened.storage.get_trial(trial._trial_id).state == TrialState.RUNNING:
            opened.storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


@contextmanager
def worker_lock(folder: Path) -> Iterator[str]:
    """Hold the lock of a new worker of the study in `folder`; yields the worker's name."""
    name = f"{host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    with own_file(_lock_path(folder, name)):
        yield name


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
        """Draw one value as TPE does, each key by itself."""
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
    before = record.read_text(encoding="utf-8", errors="replace") if record.is_file() else _location(url, folder)
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


def _requeue_orphans(opened: OpenStudy) -> None:
    """Put the running trials of dead workers back, or fail those that killed several; needs the study's lock."""
    storage = opened.storage
    stale = storage._get_stale_trial_ids(opened.study._study_id)
    for trial in opened.trials(TrialState.RUNNING):
        if _has_living_worker(opened.folder, trial, stale):
            continue
        epoch = len(trial.intermediate_values)
        deaths = [*trial.user_attrs.get("deaths", []), epoch]
        storage.set_trial_user_attr(trial._trial_id, "deaths", deaths)
        if deaths.count(epoch) < MAX_DEATHS:
            storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
            print(f"trial {trial.number}: its worker died; requeued after epoch {epoch}")
        else:
            reason = f"its worker died {MAX_DEATHS} times after epoch {epoch} (out of memory?)"
            storage.set_trial_user_attr(trial._trial_id, "reason", reason)
            storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            print(f"trial {trial.number}: failed, {reason}")


def _has_living_worker(folder: Path, trial: FrozenTrial, stale: list[int]) -> bool:
    worker = trial.user_attrs.get("worker")
    if worker is None:  # the study's lock is ours, so its worker died before it could write its name
        return False
    if not worker.startswith(f"{host()}-"):
        return trial._trial_id not in stale
    return is_held(_lock_path(folder, worker))


def _lock_path(folder: Path, worker: str) -> Path:
    return folder / "workers" / f"{worker}.lock"
