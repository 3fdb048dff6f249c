"""Types of values that several tables of a config share, and the base class of the tables."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

MOST = 2**32 - 1  # a number of a config, that is the greatest seed
Positive = Annotated[int, Field(gt=0)]
Many = Annotated[int, Field(gt=0, le=1_000_000)]  # of things that are gone through one by one, or held at a time
Seed = Annotated[int, Field(ge=0)]
Positives = Annotated[tuple[Positive, ...], Field(min_length=1)]
Text = Annotated[str, Field(min_length=1)]
Size = tuple[Positive, Positive]  # rows and columns
Above0 = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
BESIDE_RUNS = ("folds.csv", "folds.json", "tuning", "audit", "mlflow")  # what lies in oof/<data>/ besides runs


def _plain(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.\-]*", name):
        raise ValueError("a name becomes a folder: use letters, digits, '_', '.' and '-', the first a letter or digit")
    return name


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


Name = Annotated[str, AfterValidator(_plain)]
RunName = Annotated[Name, AfterValidator(_not_taken)]
Distinct = AfterValidator(_distinct)
Ascending = AfterValidator(_ascending)
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1), Distinct]
Years = Annotated[tuple[int, int], Ascending]  # first and last


class Strict(BaseModel):
    """Base of all tables of a config: immutable, without unknown keys and numbers that are not finite or far too great.

    Numbers may be written as text, 1e-4, as PyYAML reads them; true and false are no numbers, and numbers not true or
    false.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _flags_fit(cls, given: Any) -> Any:
        """Of all keys at once, since a validator of each may not come before that of a discriminator."""
        problems: list[InitErrorDetails] = []
        kinds = kinds_of_fields(cls)
        for key, value in given.items() if isinstance(given, dict) else ():
            try:
                refuse_flags(value, kinds.get(key, frozenset({Any})))
            except ValueError as error:
                problems.append({"type": PydanticCustomError("flag", str(error)), "loc": (key,), "input": value})
        if problems:
            raise ValidationError.from_exception_data(cls.__name__, problems)
        return given

    @field_validator("*")
    @classmethod
    def _within_range(cls, value: Any) -> Any:
        refuse_numbers(value)
        return value


@cache
def kinds_of_fields(model: type[BaseModel]) -> dict[str, frozenset[Any]]:
    """The types of values in each field, those in lists and tables among them, None left out."""
    return {name: frozenset(_kinds(field.annotation)) - {NoneType} for name, field in model.model_fields.items()}


def refuse_flags(value: Any, kinds: frozenset[Any]) -> None:
    """ValueError where `value`, as a config file has it, holds a flag in place of a number, or a number of a flag.

    Python, and with it pydantic, takes one for the other. kinds: of the field, as `kinds_of_fields` gives them.
    """
    if not all(isinstance(kind, type) for kind in kinds) or {Any, object} & kinds:
        return
    of_tables = any(issubclass(kind, BaseModel) for kind in kinds)
    for item in _items(value, within_tables=not of_tables):
        if bool not in kinds and isinstance(item, bool):
            raise ValueError("true and false are no values of this option")
        if kinds == {bool} and not isinstance(item, bool | NoneType):
            raise ValueError("expected true or false")


def refuse_numbers(value: Any) -> None:
    """ValueError where `value` holds a number that is not finite, or beyond `MOST`."""
    for item in _items(value, within_tables=True):
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError("expected a finite number")
        if isinstance(item, int | float) and abs(item) > MOST:
            raise ValueError(f"expected a number of {MOST} at most")


def _kinds(annotation: Any) -> Iterator[Any]:
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        yield from map(type, parts)
    elif get_origin(annotation) is Annotated:
        yield from _kinds(parts[0])
    elif parts:
        for part in parts:
            yield from _kinds(part) if part is not Ellipsis else ()
    else:
        yield annotation


def _items(value: Any, *, within_tables: bool) -> Iterator[Any]:
    """The single values in nested lists, and in tables, too; of nothing but texts the first: records list ten thousand
    ids."""
    if not isinstance(value, list | tuple | dict):
        yield value
    elif within_tables or not isinstance(value, dict):
        inner = value.values() if isinstance(value, dict) else value
        if set(map(type, inner)) == {str}:
            yield next(iter(inner))
            return
        for item in inner:
            yield from _items(item, within_tables=within_tables)
