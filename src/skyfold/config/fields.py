"""Types of values that several tables of a config share, and the base class of the tables."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]
Positives = Annotated[tuple[Positive, ...], Field(min_length=1)]
Text = Annotated[str, Field(min_length=1)]
Size = tuple[Positive, Positive]  # rows and columns
Above0 = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]
BESIDE_RUNS = ("folds.csv", "folds.json", "tuning")  # what lies in oof/<data>/ besides the folders of runs


def _not_taken(name: str) -> str:
    if name.lower() in BESIDE_RUNS:
        raise ValueError(f"{name} lies beside the folders of runs already; take another name")
    return name


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("give each once")
    return values


def _ascending(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError("expected [first, last], the first not above the last")
    return ends


def refuse(*problems: tuple[object, str]) -> None:
    """ValueError with the message of the first problem whose condition holds."""
    for wrong, message in problems:
        if wrong:
            raise ValueError(message)


RunName = Annotated[Name, AfterValidator(_not_taken)]
Distinct = AfterValidator(_distinct)
Ascending = AfterValidator(_ascending)
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1), Distinct]
Years = Annotated[tuple[int, int], Ascending]  # first and last


class Strict(BaseModel):
    """Base of all tables of a config: immutable, without unknown keys and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)
