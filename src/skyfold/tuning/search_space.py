"""Study files: the run, the search space, the sampler and the pruner; unknown keys are refused with the nearest one.

A study names a run config (`base`) and, under `search`, dotted keys of it with the values to try:

    name: tune_unet
    base: unet_resnet34.yaml
    folds: [0]
    trial: {training.epochs: 8}          # for trials only; best.yaml keeps the run's value
    search:
      optimizer.learning_rate: {kind: float, low: 1.0e-4, high: 1.0e-2, log: true}
      model.options.decoder: {kind: categorical, choices: [unet, fpn]}
      model.options.pyramid_block_filters:
        {kind: int, low: 32, high: 128, step: 32, when: {model.options.decoder: fpn}}
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from skyfold.config.errors import explain
from skyfold.config.fields import Above0, Name, Positive, Seed, Seeds, Strict
from skyfold.config.files import read_yaml
from skyfold.config.merging import override, parse_override
from skyfold.config.run import PREDICTION_KEYS
from skyfold.errors import ConfigError, listing
from skyfold.plugins import nearest

if TYPE_CHECKING:
    import optuna

MIDDLE = {"plus_minus": 0.0, "around_one": 1.0}  # of the range that a form of FloatRange writes


class _Range(Strict):
    """A number from low to high, both included.

    when: {other key: value or list of values}, the condition under which this key is searched.
    """

    low: float
    high: float
    log: bool = False
    step: Above0 | None = None
    when: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ordered(self) -> _Range:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: true needs low above 0, got {self.low}")
        if self.log and "step" in self.model_fields_set:
            raise ValueError("give log or step, not both")
        return self

    @property
    def ends(self) -> list[Any]:
        """Sampled values that stand for all: both ends of the range."""
        return [self.low, self.high]

    def config_value(self, value: Any) -> Any:
        """What is written into the config for a sampled value."""
        return value

    def has(self, value: object) -> bool:
        """Whether it is a value that may be sampled."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    def sampled_value(self, value: Any) -> Any:
        """The inverse of `config_value`; None if `value` lies outside the search space."""
        if not isinstance(value, int | float) or not self.low <= value <= self.high:
            return None
        steps = (value - self.low) / self.step if self.step else 0
        return value if np.isclose(steps, round(steps)) else None


class FloatRange(_Range):
    """A number from low to high. form: what is written into the config for x: value: x; plus_minus: [-x, x], for a
    rotation; around_one: [1 - x, 1 + x], for a scale."""

    kind: Literal["float"]
    form: Literal["value", "plus_minus", "around_one"] = "value"

    def suggest(self, trial: optuna.Trial, key: str) -> float:
        """Draw the value of `key` in a trial; one that was interrupted keeps the value it had."""
        return trial.suggest_float(key, self.low, self.high, log=self.log, step=self.step)

    def config_value(self, value: Any) -> Any:
        """The number, or the range around 0 or 1 that `form` asks for.

        >>> FloatRange(kind="float", low=0, high=45, form="plus_minus").config_value(30.0)
        [-30.0, 30.0]
        """
        return value if self.form == "value" else [MIDDLE[self.form] - value, MIDDLE[self.form] + value]

    def sampled_value(self, value: Any) -> Any:
        """The inverse of `config_value`; None if `value` lies outside the search space or is no such range."""
        if self.form != "value":
            middle = MIDDLE[self.form]
            if not (isinstance(value, list) and len(value) == 2 and np.isclose(sum(value), 2 * middle)):
                return None
            value = round(value[1] - middle, 9)
        return super().sampled_value(value)


class IntRange(_Range):
    """An integer from low to high, both included, in steps of `step`."""

    kind: Literal["int"]
    low: int
    high: int
    step: Positive = 1

    @model_validator(mode="after")
    def _whole_steps(self) -> IntRange:
        if (self.high - self.low) % self.step:
            raise ValueError(f"high is not low plus a multiple of step {self.step}")
        return self

    def suggest(self, trial: optuna.Trial, key: str) -> int:
        """As for `FloatRange`."""
        return trial.suggest_int(key, self.low, self.high, log=self.log, step=self.step)


class Categorical(Strict):
    """One of a few values of any type: a list, or {name: value} to give long values short names."""

    kind: Literal["categorical"]
    choices: Annotated[dict[str, Any], Field(min_length=1)]
    when: dict[str, Any] = Field(default_factory=dict)

    @field_validator("choices", mode="before")
    @classmethod
    def _named(cls, choices: object) -> object:
        if not isinstance(choices, list):
            return choices
        names = [choice_name(choice) for choice in choices]
        if len(set(names)) != len(names):
            raise ValueError("duplicate choice")
        return dict(zip(names, choices, strict=True))

    @property
    def ends(self) -> list[str]:
        """The names of all choices."""
        return list(self.choices)

    def has(self, value: object) -> bool:
        """As for `FloatRange`."""
        return value in self.ends

    def suggest(self, trial: optuna.Trial, key: str) -> str:
        """As for `FloatRange`; the name of a choice, since databases store no lists."""
        return trial.suggest_categorical(key, self.ends)

    def config_value(self, value: str) -> Any:
        """The value of the choice of this name."""
        return copy.deepcopy(self.choices[value])

    def sampled_value(self, value: Any) -> str | None:
        """The name of the choice of this value; None if there is none."""
        return next((name for name, choice in self.choices.items() if choice == value), None)


Parameter = Annotated[FloatRange | IntRange | Categorical, Field(discriminator="kind")]


class SamplerConfig(Strict):
    """Tree-structured Parzen estimator (TPE) after `startup_trials` random trials."""

    seed: Seed = 0
    startup_trials: Positive = 10


class PrunerConfig(Strict):
    """median: prunes a trial whose best score so far is worse than the median of the others at the same epoch;
    hyperband: keeps one trial in `reduction_factor` at each rung. No trial is pruned before startup_trials (median) and
    warmup_epochs."""

    name: Literal["median", "hyperband", "none"] = "median"
    startup_trials: Seed = 5
    warmup_epochs: Seed = 1
    reduction_factor: Annotated[int, Field(ge=2)] = 3


class StudyConfig(Strict):
    """base: config of the run that trials modify, relative to this file; trial: keys set for trials only (fewer epochs,
    for instance); folds: the value of a trial is their mean validation score."""

    name: Name
    base: str
    search: Annotated[dict[str, Parameter], Field(min_length=1)]
    trial: dict[str, Any] = Field(default_factory=dict)
    folds: Seeds = (0,)
    sampler: SamplerConfig = SamplerConfig()
    pruner: PrunerConfig = PrunerConfig()
    timeout_minutes: Above0 | None = None


# Keys that may not be set for trials, and those that may not differ between trials: values would not be comparable, or
# would not change.
NOT_SETTABLE = {"name": "it is given to each trial"}
NOT_SEARCHABLE = {
    **NOT_SETTABLE,
    "base": "it is the run that all trials modify",
    "data": "trials on other data or folds cannot be compared",
    "task": "scores of different tasks cannot be compared",
    **dict.fromkeys(PREDICTION_KEYS, "validation during training does not use it"),
}


def load_study(path: Path, overrides: Sequence[str] = ()) -> tuple[StudyConfig, dict[str, Any]]:
    """Read a study file. Returns its config and {dotted key: value} of `overrides` (key=value) that change the run.

    An override of a key of the study, or of one named under `trial`, changes the config instead. ConfigError names the
    file, the key and the nearest known key. Keys of the run are checked when its configs are built (`trial_config`).
    """
    values, changes = read_yaml(path), {}
    if "search" not in values:
        raise ConfigError(
            f"{path}: not a study file (no 'search'). A study names a run config under base: and its keys under "
            "search:; see docs/tuning.md."
        )
    for text in overrides:
        key, value = parse_override(text)
        first = key.partition(".")[0]
        if isinstance(values.get("trial"), dict) and key in values["trial"]:
            values["trial"][key] = value
        elif first in ("folds", "timeout_minutes", "sampler", "pruner"):
            values = override(values, text)
        elif first in StudyConfig.model_fields:
            raise ConfigError(f"--set {text}: change '{first}' in the study file instead.")
        else:
            changes[key] = value
    try:
        config = StudyConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}:\n{listing(explain(StudyConfig, error))}") from None
    set_for_all = [("trial", key) for key in config.trial] + [("--set", key) for key in changes]
    problems = [f"{place} {key}: also under search." for place, key in set_for_all if key in config.search]
    for place, key in [*set_for_all, *(("search", key) for key in config.search)]:
        for table, reason in (NOT_SEARCHABLE if place == "search" else NOT_SETTABLE).items():
            if f"{key}.".startswith(f"{table}."):
                problems.append(f"{place}: '{key}' cannot be set here: {reason}.")
    if problems := problems or _condition_problems(config.search):
        raise ConfigError(f"{path}:\n{listing(problems)}")
    dependency_order(config.search)
    return config, changes


def active_params(search: Mapping[str, Parameter], value_of: Callable[[str], Any]) -> dict[str, Any]:
    """Params of the keys whose conditions hold.

    value_of: called with each of these keys, in `dependency_order`; returns its sampled value (a choice by its name).
    """
    params: dict[str, Any] = {}
    for key in dependency_order(search):
        if all(
            other in params and params[other] in _allowed(search[other], condition)
            for other, condition in search[key].when.items()
        ):
            params[key] = value_of(key)
    return params


def dependency_order(search: Mapping[str, Parameter]) -> list[str]:
    """The keys, each after those that its condition names; ConfigError where conditions are circular."""
    try:
        return list(TopologicalSorter({key: parameter.when for key, parameter in search.items()}).static_order())
    except CycleError as error:
        raise ConfigError(f"search: the conditions (when) of {', '.join(error.args[1][1:])} are circular.") from None


def choice_name(value: object) -> str:
    """A value in YAML on one line.

    >>> choice_name([64, 96]), choice_name(True), choice_name("unet")
    ('[64, 96]', 'true', 'unet')
    """
    if isinstance(value, str):
        return value
    return str(yaml.safe_dump(value, default_flow_style=True, width=10_000)).removesuffix("\n...\n").strip()


def _allowed(parameter: Parameter, condition: Any) -> list[Any]:
    """The sampled values of `parameter` that fulfil a condition, a value or a list of values."""
    values = condition if isinstance(condition, list) else [condition]
    return [choice_name(value) for value in values] if isinstance(parameter, Categorical) else values


def _condition_problems(search: Mapping[str, Parameter]) -> list[str]:
    problems = []
    for key, other, condition in [(key, *item) for key, own in search.items() for item in own.when.items()]:
        governing, where = search.get(other), f"search.{key}.when"
        if governing is None:
            problems.append(f"{where}: '{other}' is not searched{nearest(other, list(search))}.")
        elif isinstance(governing, FloatRange):
            problems.append(f"{where}: {other} is a float; conditions need an int or a categorical.")
        elif isinstance(governing, Categorical):
            names = governing.ends
            for value in set(_allowed(governing, condition)) - set(names):
                hint = f"{nearest(value, names)}. Available: {', '.join(names)}."
                problems.append(f"{where}: '{value}' is not a choice of {other}{hint}")
    return problems
