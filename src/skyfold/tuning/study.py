"""Opens the Optuna study of a study file: its storage, sampler and pruner, and whether it is still the same study."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.trial import FrozenTrial

from skyfold.data.seeding import derived_seed
from skyfold.errors import ConfigError
from skyfold.tuning.file_lock import exclusive
from skyfold.tuning.journal import MendedJournal
from skyfold.tuning.search_space import PrunerConfig, SamplerConfig, StudyConfig


@dataclass(frozen=True)
class OpenStudy:
    """folder: of the study's files; study: Optuna's; storage: what it is kept in; config: how it is searched."""

    folder: Path
    study: optuna.Study
    storage: BaseStorage
    config: StudyConfig

    @property
    def lock(self) -> Path:
        """Held while a trial is taken from the queue or put back, and while the best config is written."""
        return self.folder / "study.lock"

    @property
    def maximise(self) -> bool:
        return self.study.direction == optuna.study.StudyDirection.MAXIMIZE


def open_study(
    config: StudyConfig,
    folder: Path,
    *,
    storage: str | None,
    greater_is_better: bool,
    most_epochs: int,
    setting: Mapping[str, Any],
    first: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> OpenStudy:
    """Begin the study of `config` in `folder`, or go on with it.

    storage: a database's URL, or None for `folder/journal.log`. setting: what values of trials depend on besides their
    params; ConfigError where it, or the space, is not that of the study so far. first: params of the first trial.
    most_epochs: of a trial, over its folds. say: is told of a journal that was mended.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    folder.mkdir(parents=True, exist_ok=True)
    opened = _storage(storage, folder / "journal.log", say)
    meant = json.dumps(
        {**setting, **{f"search.{key}": part.model_dump(mode="json") for key, part in config.search.items()}},
        sort_keys=True,
    )
    with exclusive(folder / "study.lock"):
        study = optuna.create_study(
            study_name=config.name,
            storage=opened,
            direction="maximize" if greater_is_better else "minimize",
            sampler=SeededByTrial(config.sampler),
            pruner=_pruner(config.pruner, most_epochs),
            load_if_exists=True,
        )
        known = study.user_attrs.get("setting")
        if known is None:
            study.set_user_attr("setting", meant)
        elif known != meant:
            raise ConfigError(_changed(json.loads(known), json.loads(meant), config.name, folder))
        if first is not None and not study.get_trials(deepcopy=False):
            study.enqueue_trial(dict(first))
    return OpenStudy(folder, study, opened, config)


class SeededByTrial(BaseSampler):
    """Draws each value from a generator seeded by the trial's number and the key.

    A study that goes on after a stop then draws what it would have drawn: a sampler seeded once would begin its random
    trials again. What TPE makes of the trials before is the same too, with one worker.
    """

    def __init__(self, config: SamplerConfig) -> None:
        self._config = config

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        seed = derived_seed("tuning", self._config.seed, trial.number, param_name)
        sampler: BaseSampler = (
            TPESampler(n_startup_trials=self._config.startup_trials, seed=seed)
            if self._config.name == "tpe"
            else RandomSampler(seed=seed)
        )
        return sampler.sample_independent(study, trial, param_name, param_distribution)


def _storage(url: str | None, journal: Path, say: Callable[[str], None]) -> BaseStorage:
    if url is None:
        return JournalStorage(MendedJournal(journal, say))
    try:
        return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None)
    except Exception as error:  # as many kinds as there are databases and drivers
        raise ConfigError(
            f"--storage {url}: cannot be opened ({type(error).__name__}: {str(error).splitlines()[0]}). Give the URL "
            "of a database, sqlite:///study.db say, or leave it out for a journal file in the study's folder."
        ) from None


def _pruner(config: PrunerConfig, most_epochs: int) -> BasePruner:
    if config.name == "median":
        return MedianPruner(n_startup_trials=config.startup_trials, n_warmup_steps=config.warmup_epochs + 1)
    if config.name == "hyperband":
        return HyperbandPruner(
            min_resource=config.warmup_epochs + 1,
            max_resource=max(most_epochs, config.warmup_epochs + 1),
            reduction_factor=config.reduction_factor,
        )
    return NopPruner()


def _changed(before: dict[str, Any], now: dict[str, Any], name: str, folder: Path) -> str:
    key = next(key for key in sorted({*before, *now}) if before.get(key) != now.get(key))
    return (
        f"study '{name}' was begun with {key} = {before.get(key, 'nothing')}; now it is {now.get(key, 'nothing')}. Its "
        f"trials could not be compared. Give the study another name, or put {folder} (and its database) away."
    )
