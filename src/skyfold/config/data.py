"""Data set of a config: competition, files, options, and its cross-validation folds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from skyfold.config.fields import Name, Positive, Seed, Strict, Years


class FoldsConfig(Strict):
    """How training samples are divided into folds; written once to `oof/<data name>/folds.csv`, shared by all runs.

    k: number of folds; seed: of their assignment. phash_max_distance: images whose 256-bit difference hashes differ in
    at most this many bits share a fold; -1: off. years: first and last year that forecasts are validated on, one fold
    each, fitted on earlier samples only; k and seed are ignored. years_per_fold: number of years in a fold; all of them
    are forecast with what was fitted before the first one.
    """

    k: Annotated[int, Field(ge=2)] = 5
    seed: Seed = 0
    phash_max_distance: Annotated[int, Field(ge=-1, le=32)] = 3
    years: Years | None = None
    years_per_fold: Positive = 1

    @model_validator(mode="after")
    def _of_years(self) -> FoldsConfig:
        if self.years is None and self.years_per_fold > 1:
            raise ValueError("years_per_fold: needs years, the first and last year to validate; set it, or remove this")
        return self


class DataConfig(Strict):
    """A data set: the competition that defines its files, and the name of its folder.

    name: folder of the files and of the results; None: the competition's name. options: of the competition (a class
    table, for instance). sample: settings of the competition's procedural sample, for those that have one.
    """

    competition: str
    name: Name | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    folds: FoldsConfig = FoldsConfig()
    sample: dict[str, Any] | None = None

    @property
    def folder(self) -> str:
        """Name of the folder of its files and results."""
        return self.name or self.competition


class DatasetConfig(Strict):
    """A data set without a model, for `skyfold prepare` and `skyfold score`."""

    data: DataConfig
