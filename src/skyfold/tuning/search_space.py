"""Study files: what is searched, from which run, how; anything that no run knows is refused with the nearest key.

A study names a run config (`base`) and, under `search`, dotted keys of it with the values to try:

    name: tune_unet
    base: unet_resnet34.yaml
    folds: [0]
    trial: {training.epochs: 8}          # for the trials alone; the best config keeps the run's own
    search:
      optimizer.learning_rate: {kind: float, low: 1.0e-4, high: 1.0e-2, log: true}
      model.options.decoder: {kind: categorical, choices: [unet, fpn]}
      model.options.pyramid_block_filters:
        {kind: int, low: 32, high: 128, step: 32, when: {model.options.decoder: fpn}}
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from skyfold.config.fields import Name, Positive, Seed, Strict
from skyfold.config.run import PREDICTION_KEYS, RunConfig
from skyfold.errors import ConfigError, listing
from skyfold.plugins import nearest

Value = Any  # whatever YAML can say
When = dict[str, Any]


class FloatRange(Strict):
    """Numbers from low to high. form: how a number stands in the config: value; plus_minus: [-x, x], a rotation say;
    around_one: [1 - x, 1 + x], a scale. when: {other key: value or list of values} at which this key is searched."""

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
    """Whole numbers from low to high, both included, every `step`-th."""

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
    """A few values of any kind: a list of them, or {name: value} where a name reads better than the value does."""

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
            raise ValueError("a choice stands there twice")
        return dict(zip(names, choices, strict=True))


Parameter = Annotated[FloatRange | IntRange | Categorical, Field(discriminator="kind")]


class SamplerConfig(Strict):
    """tpe: tree-structured Parzen estimator, after `startup_trials` random ones; random: all of them."""

    name: Literal["tpe", "random"] = "tpe"
    seed: Seed = 0
    startup_trials: Positive = 10


class PrunerConfig(Strict):
    """median: ends a trial whose best score so far is below the median of the others at the same epoch; hyperband:
    ends all but one in `reduction_factor` at each rung. startup_trials, warmup_epochs: nothing is ended before."""

    name: Literal["median", "hyperband", "none"] = "median"
    startup_trials: Annotated[int, Field(ge=0)] = 5
    warmup_epochs: Annotated[int, Field(ge=0)] = 1
    reduction_factor: Annotated[int, Field(ge=2)] = 3


class StudyConfig(Strict):
    """base: config of the run that trials start from, relative to this file; trial: keys changed for the trials alone
    (fewer epochs, say); folds: those whose mean validation score is the value of a trial."""

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
            raise ValueError("a fold stands there twice")
        return folds


# What may not differ between trials: their values would not be comparable, or not change at all.
NOT_SEARCHED = {
    "name": "it is given to each trial",
    "base": "it is the run that all trials start from",
    "data": "trials on other data or folds cannot be compared",
    "target": "scores of masks and of presence cannot be compared",
    **dict.fromkeys(PREDICTION_KEYS, "validation during training does not use it"),
}


def load_study(path: Path, overrides: Sequence[str] = ()) -> tuple[StudyConfig, dict[str, Any]]:
    """Read a study file. `overrides` (key=value) change the study's own keys, or keys of the run: those named under
    `trial` there, others in `changes`, which are returned beside the config as {dotted key: value}.

    ConfigError names the file, the key, and the nearest known one.
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
        *_key_problems(config.search, "search", refused=NOT_SEARCHED),
        *_key_problems(config.trial, "trial", refused={"name": NOT_SEARCHED["name"]}),
        *_key_problems(changes, "--set", refused={"name": NOT_SEARCHED["name"]}),
        *_condition_problems(config.search),
        *(f"trial.{key}: also under search." for key in config.trial if key in config.search),
        *(f"--set {key}: also under search." for key in changes if key in config.search),
    ]
    if problems:
        raise ConfigError(f"{path}:\n{listing(problems)}")
    return config, changes


def active(search: Mapping[str, Parameter], key: str, chosen: Mapping[str, Any]) -> bool:
    """Whether `key` is searched, the keys it depends on being `chosen` (a choice by its name)."""
    return all(
        other in chosen and chosen[other] in _allowed(search[other], wanted)
        for other, wanted in search[key].when.items()
    )


def in_order(search: Mapping[str, Parameter]) -> Iterator[str]:
    """The keys, each after those it depends on, otherwise as they stand in the file."""
    given: list[str] = []
    waiting = list(search)
    while waiting:
        ready = [key for key in waiting if all(other in given for other in search[key].when)]
        if not ready:
            raise ConfigError(f"search: {', '.join(waiting)} depend on each other in a circle.")
        given.append(ready[0])
        waiting.remove(ready[0])
    yield from given


def choice_name(value: object) -> str:
    """A value as one writes it in YAML on one line.

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


def _allowed(parameter: Parameter, wanted: object) -> list[Any]:
    """What a condition's value means among the values of the parameter it names."""
    several = wanted if isinstance(wanted, list) else [wanted]
    if isinstance(parameter, Categorical):
        return [choice_name(value) for value in several]
    return several


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"{path}: no such study file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict) or "search" not in values:
        raise ConfigError(
            f"{path}: not a study (it has no 'search'). A study names a run config as base: and its keys "
            "under search:; see docs/tuning.md."
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
        raise ConfigError(f"--set {override}: '{key}' of a study is changed in its file.")
    else:
        changes[key] = value


def _explain(error: ValidationError) -> list[str]:
    messages = []
    for problem in error.errors():
        parts = [str(part) for part in problem["loc"]]
        if parts[0] == "search" and len(parts) > 2:  # search, the key, the kind that pydantic tried, its field
            parts.pop(2)
        where = ".".join(parts)
        if problem["type"] == "extra_forbidden":
            known = sorted(_model_at(problem["loc"][:-1]).model_fields)
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


def _model_at(location: tuple[int | str, ...]) -> type[BaseModel]:
    kinds: dict[str, type[BaseModel]] = {"float": FloatRange, "int": IntRange, "categorical": Categorical}
    tables: dict[str, type[BaseModel]] = {"sampler": SamplerConfig, "pruner": PrunerConfig}
    if not location:
        return StudyConfig
    return kinds[str(location[2])] if location[0] == "search" else tables[str(location[0])]


def _key_problems(keys: Mapping[str, Any], place: str, *, refused: Mapping[str, str]) -> list[str]:
    problems = []
    known = _known_keys()
    for key in keys:
        first = key.split(".")[0]
        because = next((why for table, why in refused.items() if f"{key}.".startswith(f"{table}.")), None)
        if because is not None:
            problems.append(f"{place}: '{key}' cannot be set here: {because}.")
        elif key not in known and not _is_open(key):
            shown = [name for name in known if name.split(".")[0] not in refused and name not in refused]
            same = [name for name in shown if name.split(".")[0] == first] or sorted(shown)
            problems.append(f"{place}: unknown key '{key}'{nearest(key, shown)}. Known: {', '.join(same)}.")
    return problems


def _is_open(key: str) -> bool:
    """Whether the key lies in a table whose keys the plug-ins know: they are asked once the configs can be made."""
    parts = key.split(".")
    if parts[0] == "augment":
        return len(parts) == 3
    return parts[:2] in (["model", "options"], ["loss", "options"], ["data", "options"]) and len(parts) > 2


def _known_keys(kind: type[BaseModel] = RunConfig, prefix: str = "") -> list[str]:
    """Dotted keys of a run config, tables too, those that may be left out among them."""
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
        for other, wanted in parameter.when.items():
            if other not in search:
                problems.append(f"search.{key}.when: '{other}' is not searched{nearest(other, list(search))}.")
                continue
            governing = search[other]
            if isinstance(governing, Categorical):
                names = list(governing.choices)
                problems += [
                    f"search.{key}.when: '{value}' is no choice of {other}{nearest(value, names)}. "
                    f"There are: {', '.join(names)}."
                    for value in _allowed(governing, wanted)
                    if value not in names
                ]
            elif isinstance(governing, FloatRange):
                problems.append(f"search.{key}.when: {other} is a float; a condition needs an int or a categorical.")
    if not problems:
        list(in_order(search))
    return problems
