"""Configs of forecasts: baselines and networks, compared on the same dates."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from skyfold.config.data import DataConfig
from skyfold.config.fields import Name, RunName, Strict
from skyfold.config.run import RunConfig
from skyfold.types import IntPair

FORECASTING = "forecasting"  # the task of all of them


class ForecastModel(Strict):
    """One forecast, of a family or of a network.

    family: a module of `forecasting.baselines`; options: of its `forecast`. members: names of forecasts above it in the
    list, for a family that learns from theirs. run: a network with `task: forecasting`, of the same name; in a file it
    is written inline, or is the file or the name of its config.
    """

    name: RunName
    family: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    members: tuple[str, ...] = ()
    run: RunConfig | None = None

    @model_validator(mode="after")
    def _family_or_run(self) -> ForecastModel:
        if (self.family is None) == (self.run is None):
            raise ValueError(f"{self.name}: give a family, or a run")
        if self.run is not None and (self.options or self.members):
            raise ValueError(f"{self.name}: options and members are of a family; a run has a config of its own")
        if self.run is not None and (self.run.name, self.run.task) != (self.name, FORECASTING):
            raise ValueError(
                f"{self.name}: the run has name: {self.run.name}, task: {self.run.task}, not {FORECASTING}"
            )
        return self

    @model_serializer(mode="wrap")
    def _of_a_family_without_run(self, values_of: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = values_of(self)
        return {key: value for key, value in values.items() if key != "run" or value is not None}


class ForecastConfig(Strict):
    """Forecasts of families and networks, compared on the same dates; the last one is submitted.

    eval_years: the first and last year of the table; None: all that the folds validate. baseline: the forecast that the
    others are compared with year by year; None: the first.
    """

    name: Name
    data: DataConfig
    forecasts: Annotated[tuple[ForecastModel, ...], Field(min_length=1)]
    eval_years: IntPair | None = None
    baseline: str | None = None

    @classmethod
    def of_run(cls, run: RunConfig) -> ForecastConfig:
        """The forecasts of one run."""
        return cls(name=run.name, data=run.data, forecasts=(ForecastModel(name=run.name, run=run),))

    @model_validator(mode="after")
    def _names_fit(self) -> ForecastConfig:
        names = [model.name for model in self.forecasts]
        if len(set(names)) != len(names):
            raise ValueError(f"forecasts: each needs a name of its own, got {', '.join(names)}")
        for place, model in enumerate(self.forecasts):
            if len(set(model.members)) != len(model.members):
                raise ValueError(f"forecasts: {model.name}: a member is named twice, {', '.join(model.members)}")
            unknown = [member for member in model.members if member not in names[:place]]
            if unknown:
                raise ValueError(f"forecasts: {model.name} learns from '{unknown[0]}', which is not listed above it")
        for name, run in self.networks.items():
            for key in ("folder", "folds", "options"):
                own, ours = getattr(run.data, key), getattr(self.data, key)
                if own != ours:
                    raise ValueError(f"forecasts: {name}: the run has data.{key}: {own}, not {ours}")
        if self.baseline is not None and self.baseline not in names:
            raise ValueError(f"baseline: there is no forecast '{self.baseline}'")
        if self.eval_years is not None and self.eval_years[0] > self.eval_years[1]:
            raise ValueError(f"eval_years: expected [first, last], got {list(self.eval_years)}")
        return self

    @property
    def networks(self) -> dict[str, RunConfig]:
        """The runs among the forecasts, by name."""
        return {model.name: model.run for model in self.forecasts if model.run is not None}
