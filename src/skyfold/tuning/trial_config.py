"""The configs of trials: what params change in the run's config, and whether training accepts it.

The config of a trial, and best.yaml, is a file that names the run as `base:` and sets the keys that differ.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from skyfold.config.files import load_run
from skyfold.config.merging import nested
from skyfold.config.options import checked
from skyfold.config.run import RunConfig
from skyfold.data.augment import Augmenter
from skyfold.data.seeding import derived_seed
from skyfold.errors import ConfigError, listing
from skyfold.models import RuleFamily, family_of
from skyfold.plugins import nearest
from skyfold.tasks import task_class
from skyfold.tasks.open_run import check
from skyfold.training.losses.named import options_of
from skyfold.tuning.search_space import Categorical, Parameter, StudyConfig, active_params, dependency_order

MAX_CHECKED = 96  # combinations of values, each read and checked in some milliseconds


@dataclass(frozen=True)
class TrialConfigs:
    """Builds the configs of trials. base: config file of the run; changes: keys set for all trials and best.yaml."""

    study: StudyConfig
    base: Path
    changes: Mapping[str, Any]

    def text(self, params: Mapping[str, Any], *, name: str, folder: Path, for_trial: bool) -> str:
        """YAML of the config with `params` (a choice by its name), for a file in `folder`; its `base:` is relative."""
        base = os.path.relpath(self.base.resolve(), folder.resolve())
        keys = {"base": base, "name": name, **self.overlay(params, for_trial=for_trial)}
        return str(yaml.safe_dump(keys, sort_keys=False, default_flow_style=None, width=110))

    def overlay(self, params: Mapping[str, Any], *, for_trial: bool) -> dict[str, Any]:
        """The keys that differ from the run's config, nested."""
        values = {key: self.study.search[key].config_value(value) for key, value in params.items()}
        given = {**self.changes, **values, **(self.study.trial if for_trial else {})}
        arguments = [key for key in given if key.startswith("augment.")]
        if arguments and "augment" not in given:
            given["augment"] = load_run(self.base).model_dump(mode="json")["augment"]
        for key in arguments:
            given["augment"] = _with_argument(given["augment"], key, given.pop(key))
        return nested(given)

    def config(self, params: Mapping[str, Any]) -> RunConfig:
        """The config of a trial; without params the one that all trials share. ConfigError if training refuses it."""
        return load_run(self.base, own=self.overlay(params, for_trial=True))

    def params_of_run(self) -> dict[str, Any] | None:
        """The params that reproduce the run's own config; None if they lie outside the search space."""
        run, search = load_run(self.base), self.study.search
        params = active_params(search, lambda key: search[key].sampled_value(_value_of(run, key)))
        return None if None in params.values() else params


def check_search_space(configs: TrialConfigs) -> None:
    """ConfigError listing the values that training would refuse (an unknown encoder, for instance), and why.

    Checks all combinations of choices, or a covering set if there are more than `MAX_CHECKED`, with all numbers at
    their low and at their high end.
    """
    configs.config({})
    refused: dict[str, str] = {}
    for params in combinations(configs.study.search):
        try:
            config = configs.config(params)
            if isinstance(family_of(config.model), RuleFamily):
                raise ConfigError(f"model.family: {config.model.family} is not trained; there is nothing to tune.")
            check(config)
            images, rescaled = config.images, config.images.rescale is not None
            Augmenter(config.augment, size=images.size, bands=3, planes=2, rescaled=rescaled)
        except ConfigError as error:
            problem = str(error).replace(f"{configs.base}:\n", "").replace("  - ", "").strip()
            refused.setdefault(problem, ", ".join(f"{key} = {value}" for key, value in params.items()))
    if refused:
        problems = [f"{problem} (at {params})" for problem, params in refused.items()]
        raise ConfigError(
            "search: training would refuse these trials. Remove the values, or make a key conditional with when:\n"
            f"{listing(problems)}"
        )


def combinations(search: Mapping[str, Parameter]) -> list[dict[str, Any]]:
    """Params that together contain every choice (by its name) and both ends of every range."""
    choices = {key: search[key].ends for key in dependency_order(search) if isinstance(search[key], Categorical)}
    rows = max([MAX_CHECKED // 2, *map(len, choices.values())])
    if math.prod(map(len, choices.values())) <= rows:
        drawn = list(itertools.product(*choices.values()))
    else:
        rng = np.random.default_rng(derived_seed("combinations"))
        columns = [[ends[i] for _ in range(rows) for i in rng.permutation(len(ends))] for ends in choices.values()]
        drawn = list(zip(*(column[:rows] for column in columns), strict=True))
    found: list[dict[str, Any]] = []
    for chosen, end in itertools.product(drawn, (0, -1)):
        values = {**{key: search[key].ends[end] for key in search}, **dict(zip(choices, chosen, strict=True))}
        params = active_params(search, values.__getitem__)
        if params not in found:
            found.append(params)
    return found


def _with_argument(transforms: list[dict[str, Any]], key: str, value: Any) -> list[dict[str, Any]]:
    """`transforms` with `augment.<name>.<argument>` set in each transform of that name."""
    name, _, argument = key.removeprefix("augment.").partition(".")
    names = [transform["name"] for transform in transforms]
    if name not in names:
        raise ConfigError(
            f"{key}: the run has no transform '{name}'{nearest(name, names)}. Available: {', '.join(names)}."
        )
    return [{**entry, argument: value} if entry["name"] == name else entry for entry in transforms]


def _value_of(run: RunConfig, key: str) -> Any:
    """The value at a dotted key, in YAML types; None if there is none.

    A transform of `augment` is found by its name. An option that the run omits has the default of its model or loss.
    """
    loss = checked(options_of(task_class(run.task).LOSSES[run.loss.name]), run.loss.options, where="loss.options")
    defaults = {
        "model": {"options": family_of(run.model).model_dump(mode="json")},
        "loss": {"options": loss.model_dump()},
    }
    values: Any = None
    for values in (run.model_dump(mode="json"), defaults):
        for part in key.split("."):
            table = {entry["name"]: entry for entry in values} if isinstance(values, list) else values
            values = table.get(part) if isinstance(table, dict) else None
        if values is not None:
            break
    return values
