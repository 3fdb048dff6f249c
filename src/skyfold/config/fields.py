"""What the parts of a config have in common: kinds of values, and that an unknown key is refused."""

from __future__ import annotations

from typing import Annotated

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


RunName = Annotated[Name, AfterValidator(_not_taken)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)
