"""The configs of trials: what params change in the run's config, and whether training accepts it.

The config of a trial, and best.yaml, is a file that names the run as `base:` and sets the keys that differ.
"""

from __future__ import annotations

import copy
import itertools
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from skyfold.config.files import load_run
from skyfold.config.options import checked
from skyfold.config.run import RunConfig
from skyfold.data.augment import Augmenter
from skyfold.data.seeding import derived_seed
from skyfold.errors import ConfigError, listing
from skyfold.files import write_text
from skyfold.models import RuleFamily, family_of
from skyfold.plugins import nearest
from skyfold.tasks import task_class
from skyfold.tasks.open_run import check
from skyfold.training.losses.named import options_of
from skyfold.tuning.search_space import Categorical, FloatRange, Parameter, StudyConfig, active_params, dependency_order

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
        values = {key: config_value(self.study.search[key], value) for key, value in params.items()}
        given = {**self.changes, **values, **(self.study.trial if for_trial else {})}
        nested: dict[str, Any] = {}
        for key in sorted(given, key=lambda key: key.count(".")):  # a whole table before keys in it
            if key.startswith("augment."):
                transforms = nested.get("augment", self.run().model_dump(mode="json")["augment"])
                nested["augment"] = _with_argument(transforms, key, given[key])
            else:
                _put(nested, key, given[key])
        return nested

    def run(self) -> RunConfig:
        return load_run(self.base)

    def common(self) -> RunConfig:
        """The config that all trials share: no searched key is set."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trial.yaml"
            write_text(path, self.text({}, name=self.study.name, folder=path.parent, for_trial=True))
            return load_run(path)

    def params_of_run(self) -> dict[str, Any] | None:
        """The params that reproduce the run's own config; None if they lie outside the search space."""
        run, search = self.run(), self.study.search
        params = active_params(search, lambda key: _param(search[key], _lookup(run, key)))
        return None if None in params.values() else params


def check_search_space(configs: TrialConfigs) -> None:
    """ConfigError listing the values that training would refuse (an unknown encoder, for instance), and why.

    Checks all combinations of choices, or a covering set if there are more than `MAX_CHECKED`, with all numbers at
    their low and at their high end.
    """
    refused: dict[str, str] = {}
    augments: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        for params in combinations(configs.study.search):
            path = Path(folder) / "trial.yaml"
            try:
                write_text(path, configs.text(params, name="trial", folder=path.parent, for_trial=True))
                config = load_run(path)
                check(config)
                if isinstance(family_of(config.model), RuleFamily):
                    raise ConfigError(f"model.family: {config.model.family} is not trained; there is nothing to tune.")
                if repr(config.augment) not in augments:
                    Augmenter(config.augment, size=config.images.size, bands=3, planes=2)
                    augments.add(repr(config.augment))
            except ConfigError as error:
                problem = str(error).replace(f"{path}:\n", "").replace("  - ", "").strip()
                refused.setdefault(problem, ", ".join(f"{key} = {value}" for key, value in params.items()))
    if refused:
        problems = [f"{problem} (at {params})" for problem, params in refused.items()]
        raise ConfigError(
            "search: training would refuse these trials. Remove the values, or make a key conditional with when:\n"
            f"{listing(problems)}"
        )


def combinations(search: Mapping[str, Parameter]) -> list[dict[str, Any]]:
    """Params that together contain every choice (by its name) and both ends of every range."""
    ends = {
        key: list(parameter.choices) if isinstance(parameter, Categorical) else [parameter.low, parameter.high]
        for key, parameter in search.items()
    }
    choices = [key for key in dependency_order(search) if isinstance(search[key], Categorical)]
    together = int(np.prod([len(ends[key]) for key in choices], dtype=np.float64))
    rng = np.random.default_rng(derived_seed("combinations"))
    if together * 2 <= MAX_CHECKED:
        drawn = [dict(zip(choices, part, strict=True)) for part in itertools.product(*(ends[key] for key in choices))]
    else:
        most = max(len(ends[key]) for key in choices)
        shuffled = {
            key: [list(rng.permutation(ends[key])) for _ in range(MAX_CHECKED // 2 // most + 1)] for key in choices
        }
        drawn = [
            {key: str(rounds[turn][i % len(ends[key])]) for key, rounds in shuffled.items()}
            for turn in range(MAX_CHECKED // 2 // most + 1)
            for i in range(most)
        ]
    found = []
    for chosen, end in itertools.product(drawn, (0, -1)):
        values = {**{key: ends[key][end] for key in search}, **chosen}
        params = active_params(search, values.__getitem__)
        if params not in found:
            found.append(params)
    return found


def config_value(parameter: Parameter, value: Any) -> Any:
    """The config's value for a sampled one: the value of a choice, a number in its `form`."""
    if isinstance(parameter, Categorical):
        return copy.deepcopy(parameter.choices[value])
    if isinstance(parameter, FloatRange) and parameter.form != "value":
        return [-value, value] if parameter.form == "plus_minus" else [1.0 - value, 1.0 + value]
    return value


def _param(parameter: Parameter, value: Any) -> Any:
    """The inverse of `config_value`; None if `value` lies outside the search space."""
    if isinstance(parameter, Categorical):
        return next((name for name, choice in parameter.choices.items() if choice == value), None)
    if isinstance(parameter, FloatRange) and parameter.form != "value":
        middle = 1.0 if parameter.form == "around_one" else 0.0
        if not (isinstance(value, list) and len(value) == 2 and np.isclose(value[0] + value[1], 2 * middle)):
            return None
        value = round(value[1] - middle, 9)
    if not isinstance(value, int | float) or not parameter.low <= value <= parameter.high:
        return None
    steps = (value - parameter.low) / parameter.step if parameter.step else 0
    return value if np.isclose(steps, round(steps)) else None


def _with_argument(transforms: list[dict[str, Any]], key: str, value: Any) -> list[dict[str, Any]]:
    """`transforms` with `augment.<name>.<argument>` set in each transform of that name."""
    _, name, argument = key.split(".")
    names = [transform["name"] for transform in transforms]
    if name not in names:
        raise ConfigError(
            f"{key}: the run has no transform '{name}'{nearest(name, names)}. Available: {', '.join(names)}."
        )
    return [{**entry, argument: value} if entry["name"] == name else entry for entry in transforms]


def _put(nested: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        nested = nested.setdefault(parent, {})
    both_tables = isinstance(value, dict) and isinstance(nested.get(last), dict)
    nested[last] = {**nested[last], **value} if both_tables else value


def _lookup(run: RunConfig, key: str) -> Any:
    """The value at a dotted key, in YAML types; None if there is none.

    A transform of `augment` is found by its name. An option that the run omits has the default of its model or loss.
    """
    values: Any = run.model_dump(mode="json")
    for part in key.split("."):
        table = {entry["name"]: entry for entry in values} if isinstance(values, list) else values
        if not isinstance(table, dict) or part not in table:
            return _default(run, key)
        values = table[part]
    return values


def _default(run: RunConfig, key: str) -> Any:
    table, _, option = key.rpartition(".")
    if table == "model.options":
        return family_of(run.model).model_dump(mode="json").get(option)
    if table == "loss.options":
        loss = task_class(run.task).LOSSES[run.loss.name]
        return checked(options_of(loss), run.loss.options, where=table).model_dump().get(option)
    return None
