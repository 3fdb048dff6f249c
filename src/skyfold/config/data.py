"""What a config says of a data set: its files, its options, and how its samples are divided."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from skyfold.config.fields import Name, Positive, Seed, Strict, Years


class FoldsConfig(Strict):
    """How the training samples are divided; written once to `oof/<data name>/folds.csv` and shared by all runs.

    phash_max_distance: images whose 256-bit difference hashes differ in at most this many bits share a fold; -1: off.
    years: the first and last of the years that forecasts are validated on, one fold each, fitted on the past alone; k
    and seed then say nothing. years_per_fold: so many years share a fold, and are forecast by what was fitted before
    the first of them.
    """

    k: Annotated[int, Field(ge=2)] = 5
    seed: Seed = 0
    phash_max_distance: Annotated[int, Field(ge=-1, le=32)] = 3
    years: Years | None = None
    years_per_fold: Positive = 1

    @model_validator(mode="after")
    def _of_years(self) -> FoldsConfig:
        if self.years is None and self.years_per_fold > 1:
            raise ValueError("years_per_fold: folds are of years where `years` says which; give it, or leave this off")
        return self


class DataConfig(Strict):
    """`competition` says what the files mean; `name` is the folder they lie in and under which results are kept.

    options: for the competition (a class table, say); sample: settings of its procedural sample, where one is wanted.
    """

    competition: str
    name: Name | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    folds: FoldsConfig = FoldsConfig()
    sample: dict[str, Any] | None = None

    @property
    def folder(self) -> str:
        return self.name or self.competition


class DatasetConfig(Strict):
    """A data set alone: what `skyfold prepare` and `skyfold score` need."""

    data: DataConfig
