"""Models compared on the folds of one data set, a row each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from skyfold.config.data import DataConfig
from skyfold.config.fields import Fraction, Name, Positive, Strict


class PublishedFigures(Strict):
    """What somebody reached with a model on the contest's own files; minutes: of training."""

    iou: Fraction
    dice: Fraction
    pixel_accuracy: Fraction
    minutes: Annotated[float, Field(gt=0)]


class TableRow(Strict):
    """One model of a table: the config of a run, of a blend, or a study of `trials` trials whose best one is trained;
    all relative to the table's file."""

    model: str
    run: str | None = None
    blend: str | None = None
    study: str | None = None
    trials: Positive | None = None
    published: PublishedFigures | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> TableRow:
        if sum(given is not None for given in (self.run, self.blend, self.study)) != 1:
            raise ValueError("give one of run, blend and study")
        if (self.study is None) != (self.trials is None):
            raise ValueError("give trials with a study, and with a study alone")
        return self


class TableConfig(Strict):
    """Models compared on the folds of one data set, a row each."""

    name: Name
    data: DataConfig
    models: Annotated[tuple[TableRow, ...], Field(min_length=1)]
