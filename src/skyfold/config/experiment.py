"""Configs of experiments: models compared on the folds of one data set."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from skyfold import plugins
from skyfold.config.blend import BlendConfig
from skyfold.config.data import DataConfig
from skyfold.config.fields import Fraction, Name, Positive, Strict
from skyfold.config.run import RunConfig


class PublishedFigures(Strict):
    """Published scores of a model on the competition's own files; minutes: of training."""

    iou: Fraction
    dice: Fraction
    pixel_accuracy: Fraction
    minutes: Annotated[float, Field(gt=0)]


class TableRow(Strict):
    """One model of a table: a run, a blend without a gate, or the file of a study of `trials` trials whose best one is
    trained, relative to the table's file."""

    model: str
    run: RunConfig | None = None
    blend: BlendConfig | None = None
    study: str | None = None
    trials: Positive | None = None
    published: PublishedFigures | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> TableRow:
        if sum(given is not None for given in (self.run, self.blend, self.study)) != 1:
            raise ValueError("give one of run, blend and study")
        if (self.study is None) != (self.trials is None):
            raise ValueError("give trials with a study, and with a study only")
        if self.blend and self.blend.classifier_gate:
            raise ValueError(f"blend: '{self.blend.name}' has a gate; a table compares blends without one")
        return self

    @property
    def runs(self) -> tuple[RunConfig, ...]:
        """The runs to train; empty for a study, whose best trial is not known yet."""
        return self.blend.runs if self.blend else (self.run,) if self.run else ()


class TableConfig(Strict):
    """Models compared on the folds of one data set, a row each."""

    name: Name
    data: DataConfig
    models: Annotated[tuple[TableRow, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _runs_fit(self) -> TableConfig:
        by_name: dict[str, RunConfig] = {}
        for run in [run for row in self.models for run in row.runs]:
            if run.data.folder != self.data.folder or not plugins.load("tasks", run.task).TASK.MASKS:
                raise ValueError(
                    f"run '{run.name}' predicts {run.task} of data set '{run.data.folder}', the table compares "
                    f"masks of '{self.data.folder}'"
                )
            if by_name.setdefault(run.name, run) != run:
                raise ValueError(f"two runs of the name '{run.name}' have different configs; rename one")
        return self

    @property
    def runs(self) -> tuple[RunConfig, ...]:
        """The runs of all rows, each once, without those that studies will find."""
        return tuple({run.name: run for row in self.models for run in row.runs}.values())
