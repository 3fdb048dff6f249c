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

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from skyfold.config.fields import Name, Positive, Seed, Strict
from skyfold.config.run import PREDICTION_KEYS, RunConfig
from skyfold.errors import ConfigError, listing
from skyfold.plugins import nearest

When = dict[str, Any]


class FloatRange(Strict):
    """A number from low to high. form: what is written into the config for x: value: x; plus_minus: [-x, x], for a
    rotation; around_one: [1 - x, 1 + x], for a scale. when: {other key: value or list of values}, the condition under
    which this key is searched."""

    kind: Literal["float"]
    low: float
    high: float
    log: bool = False
    step: Annotated[float, Field(gt=0)] | None = None
    form: Literal["value", "plus_minus", "around_one"] = "value"
    when: When = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ordered(self) -> FloatRange:
        _check_range(self.low, self.high, log=self.log, stepped=self.step is not None)
        return self


class IntRange(Strict):
    """An integer from low to high, both included, in steps of `step`."""

    kind: Literal["int"]
    low: int
    high: int
    log: bool = False
    step: Positive = 1
    when: When = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ordered(self) -> IntRange:
        _check_range(self.low, self.high, log=self.log, stepped=self.step != 1)
        if (self.high - self.low) % self.step:
            raise ValueError(f"high is not low plus a multiple of step {self.step}")
        return self


class Categorical(Strict):
    """One of a few values of any type: a list, or {name: value} to give long values short names."""

    kind: Literal["categorical"]
    choices: Annotated[dict[str, Any], Field(min_length=1)]
    when: When = Field(default_factory=dict)

    @field_validator("choices", mode="before")
    @classmethod
    def _named(cls, choices: object) -> object:
        if not isinstance(choices, list):
            return choices
        names = [choice_name(choice) for choice in choices]
        if len(set(names)) != len(names):
            raise ValueError("duplicate choice")
        return dict(zip(names, choices, strict=True))


Parameter = Annotated[FloatRange | IntRange | Categorical, Field(discriminator="kind")]


class SamplerConfig(Strict):
    """tpe: tree-structured Parzen estimator after `startup_trials` random trials; random: random trials only."""

    name: Literal["tpe", "random"] = "tpe"
    seed: Seed = 0
    startup_trials: Positive = 10


class PrunerConfig(Strict):
    """median: prunes a trial whose best score so far is worse than the median of the others at the same epoch;
    hyperband: keeps one trial in `reduction_factor` at each rung. No trial is pruned before startup_trials (median) and
    warmup_epochs."""

    name: Literal["median", "hyperband", "none"] = "median"
    startup_trials: Annotated[int, Field(ge=0)] = 5
    warmup_epochs: Annotated[int, Field(ge=0)] = 1
    reduction_factor: Annotated[int, Field(ge=2)] = 3


class StudyConfig(Strict):
    """base: config of the run that trials modify, relative to this file; trial: keys set for trials only (fewer epochs,
    for instance); folds: the value of a trial is their mean validation score."""

    name: Name
    base: str
    search: Annotated[dict[str, Parameter], Field(min_length=1)]
    trial: dict[str, Any] = Field(default_factory=dict)
    folds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    sampler: SamplerConfig = SamplerConfig()
    pruner: PrunerConfig = PrunerConfig()
    timeout_minutes: Annotated[float, Field(gt=0)] | None = None

    @field_validator("folds")
    @classmethod
    def _distinct(cls, folds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(folds)) != len(folds):
            raise ValueError("duplicate fold")
        return folds


# Keys that may not differ between trials: values would not be comparable, or would not change.
NOT_SEARCHABLE = {
    "name": "it is given to each trial",
    "base": "it is the run that all trials modify",
    "data": "trials on other data or folds cannot be compared",
    "task": "scores of different tasks cannot be compared",
    **dict.fromkeys(PREDICTION_KEYS, "validation during training does not use it"),
}


def load_study(path: Path, overrides: Sequence[str] = ()) -> tuple[StudyConfig, dict[str, Any]]:
    """Read a study file. Returns its config and {dotted key: value} of `overrides` (key=value) that change the run.

    An override of a key of the study, or of one named under `trial`, changes the config instead. ConfigError names the
    file, the key and the nearest known key.
    """
    values = _read(path)
    changes: dict[str, Any] = {}
    for override in overrides:
        _override(values, changes, override)
    try:
        config = StudyConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}:\n{listing(_explain(error))}") from None
    problems = [
        *_key_problems(config.search, "search", refused=NOT_SEARCHABLE),
        *_key_problems(config.trial, "trial", refused={"name": NOT_SEARCHABLE["name"]}),
        *_key_problems(changes, "--set", refused={"name": NOT_SEARCHABLE["name"]}),
        *_condition_problems(config.search),
        *(f"trial.{key}: also under search." for key in config.trial if key in config.search),
        *(f"--set {key}: also under search." for key in changes if key in config.search),
    ]
    if problems:
        raise ConfigError(f"{path}:\n{listing(problems)}")
    return config, changes


def active_params(search: Mapping[str, Parameter], value_of: Callable[[str], Any]) -> dict[str, Any]:
    """Params with `value_of(key)` (a choice by its name) of each key whose condition holds."""
    params: dict[str, Any] = {}
    for key in dependency_order(search):
        if all(
            other in params and params[other] in _condition_values(search[other], values)
            for other, values in search[key].when.items()
        ):
            params[key] = value_of(key)
    return params


def dependency_order(search: Mapping[str, Parameter]) -> list[str]:
    """The keys, each after those its condition names, otherwise in the order of the file."""
    ordered: list[str] = []
    pending = list(search)
    while pending:
        ready = next((key for key in pending if all(other in ordered for other in search[key].when)), None)
        if ready is None:
            raise ConfigError(f"search: the conditions (when) of {', '.join(pending)} are circular.")
        ordered.append(ready)
        pending.remove(ready)
    return ordered


def choice_name(value: object) -> str:
    """A value in YAML on one line.

    >>> choice_name([64, 96]), choice_name(True), choice_name("unet")
    ('[64, 96]', 'true', 'unet')
    """
    if isinstance(value, str):
        return value
    return str(yaml.safe_dump(value, default_flow_style=True, width=10_000)).removesuffix("\n...\n").strip()


def _check_range(low: float, high: float, *, log: bool, stepped: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ValueError(f"low {low} is above high {high}, or one of them is not finite")
    if log and low <= 0:
        raise ValueError(f"log: true needs low above 0, got {low}")
    if log and stepped:
        raise ValueError("give log or step, not both")


def _condition_values(parameter: Parameter, condition: object) -> list[Any]:
    """The sampled values of `parameter` that fulfil a condition (a value or a list of values)."""
    values = condition if isinstance(condition, list) else [condition]
    return [choice_name(value) for value in values] if isinstance(parameter, Categorical) else values


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"{path}: no such study file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict) or "search" not in values:
        raise ConfigError(
            f"{path}: not a study file (no 'search'). A study names a run config under base: and its keys under "
            "search:; see docs/tuning.md."
        )
    return values


def _override(values: dict[str, Any], changes: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override}: write it as key=value, for instance training.epochs=5.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override}: the value is not valid YAML.") from None
    first, _, rest = key.partition(".")
    own = values.get("trial")
    if isinstance(own, dict) and key in own:
        values["trial"] = {**own, key: value}
    elif key in ("folds", "timeout_minutes"):
        values[key] = value
    elif first in ("sampler", "pruner") and rest:
        table = values.get(first) or {}
        values[first] = {**table, rest: value} if isinstance(table, dict) else table
    elif key in StudyConfig.model_fields:
        raise ConfigError(f"--set {override}: change '{key}' in the study file instead.")
    else:
        changes[key] = value


def _explain(error: ValidationError) -> list[str]:
    models: dict[str, type[BaseModel]] = {"float": FloatRange, "int": IntRange, "categorical": Categorical}
    models |= {"sampler": SamplerConfig, "pruner": PrunerConfig}
    messages = []
    for problem in error.errors():
        parts = [str(part) for part in problem["loc"]]
        # Of a parameter: search, the key, the kind that pydantic tried, its field.
        model = models[parts.pop(2)] if parts[0] == "search" and len(parts) > 2 else models.get(parts[0], StudyConfig)
        where = ".".join(parts)
        if problem["type"] == "extra_forbidden":
            known = sorted(model.model_fields)
            messages.append(f"unknown key '{where}'{nearest(parts[-1], known)}. Known: {', '.join(known)}.")
        elif problem["type"].startswith("union_tag"):
            messages.append(
                f"'{where}': write it as {{kind: float, int or categorical, ...}}; got {problem['input']!r}."
            )
        elif problem["type"] == "missing":
            messages.append(f"'{where}' is missing.")
        else:
            messages.append(f"'{where}': {problem['msg'].removeprefix('Value error, ')}; got {problem['input']!r}.")
    return messages


def _key_problems(keys: Mapping[str, Any], place: str, *, refused: Mapping[str, str]) -> list[str]:
    problems = []
    known = _known_keys()
    for key in keys:
        first = key.split(".")[0]
        reason = next((why for table, why in refused.items() if f"{key}.".startswith(f"{table}.")), None)
        if reason is not None:
            problems.append(f"{place}: '{key}' cannot be set here: {reason}.")
        elif key not in known and not _is_open(key):
            shown = [name for name in known if name.split(".")[0] not in refused and name not in refused]
            same = [name for name in shown if name.split(".")[0] == first] or sorted(shown)
            problems.append(f"{place}: unknown key '{key}'{nearest(key, shown)}. Known: {', '.join(same)}.")
    return problems


def _is_open(key: str) -> bool:
    """Whether the key lies in a table that a plug-in checks, once configs are built."""
    parts = key.split(".")
    if parts[0] == "augment":
        return len(parts) == 3
    return parts[:2] in (["model", "options"], ["loss", "options"], ["data", "options"]) and len(parts) > 2


def _known_keys(kind: type[BaseModel] = RunConfig, prefix: str = "") -> list[str]:
    """Dotted keys of a run config, including tables and optional keys."""
    keys = []
    for name, field in kind.model_fields.items():
        keys.append(f"{prefix}{name}")
        optional = isinstance(field.annotation, UnionType)
        for table in get_args(field.annotation) if optional else [field.annotation]:
            if isinstance(table, type) and issubclass(table, BaseModel):
                keys += _known_keys(table, f"{prefix}{name}.")
    return keys


def _condition_problems(search: Mapping[str, Parameter]) -> list[str]:
    problems = []
    for key, parameter in search.items():
        for other, condition in parameter.when.items():
            if other not in search:
                problems.append(f"search.{key}.when: '{other}' is not searched{nearest(other, list(search))}.")
                continue
            governing = search[other]
            if isinstance(governing, Categorical):
                names = list(governing.choices)
                problems += [
                    f"search.{key}.when: '{value}' is not a choice of {other}{nearest(value, names)}. "
                    f"Available: {', '.join(names)}."
                    for value in _condition_values(governing, condition)
                    if value not in names
                ]
            elif isinstance(governing, FloatRange):
                problems.append(f"search.{key}.when: {other} is a float; conditions need an int or a categorical.")
    if not problems:
        dependency_order(search)
    return problems
