"""How training images are changed and mixed, and how that changes over the epochs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from skyfold.config.fields import Fraction, Positive, Strict


class RampConfig(Strict):
    """Arguments that change over the epochs, from those in `start` to those beside the ramp, linearly.

    epochs: the last that has the values of `start`, and the first that has the final ones, counted from 1. Between
    whole numbers the values are whole (but p's); write 1.0 for what may lie between.
    """

    start: Annotated[dict[str, Any], Field(min_length=1)]
    epochs: tuple[Positive, Positive]

    @field_validator("epochs")
    @classmethod
    def _ascending(cls, epochs: tuple[int, int]) -> tuple[int, int]:
        if not epochs[0] < epochs[1]:
            raise ValueError("the first epoch must be before the last")
        return epochs

    def at(self, epoch: int, final: dict[str, Any]) -> dict[str, Any]:
        """`final` as it is in `epoch`, counted from 0."""
        first, last = self.epochs
        share = min(max((epoch + 1 - first) / (last - first), 0.0), 1.0)
        start = {key: float(value) if key == "p" else value for key, value in self.start.items()}
        return {**final, **{key: _between(value, final[key], share) for key, value in start.items()}}

    def check(self, final: dict[str, Any]) -> None:
        """ValueError where a start has no end, or one of another kind."""
        for key, value in self.start.items():
            if key not in final:
                raise ValueError(f"ramp.start: {key} has no final value; write it beside the ramp, as {key}: ...")
            if not _alike(value, final[key]):
                raise ValueError(f"ramp.start: {key} cannot go from {value!r} to {final[key]!r}; both must be numbers")


class AugmentConfig(BaseModel):
    """One albumentations transform: its class name, and its arguments beside it."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str
    ramp: RampConfig | None = Field(default=None, exclude_if=lambda ramp: ramp is None)

    @model_validator(mode="after")
    def _ramp_fits(self) -> AugmentConfig:
        if self.ramp:
            self.ramp.check(self.arguments)
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    def arguments_in(self, epoch: int) -> dict[str, Any]:
        return self.ramp.at(epoch, self.arguments) if self.ramp else self.arguments


class MixConfig(Strict):
    """Training images made of several (see data/mix.py). p: how likely; its ramp may hold `start: {p: ...}`."""

    name: Literal["cutmix", "mosaic"]
    p: Fraction = 0.5
    ramp: RampConfig | None = None

    @model_validator(mode="after")
    def _ramp_fits(self) -> MixConfig:
        if self.ramp:
            self.ramp.check({"p": self.p})
            if not 0 <= float(self.ramp.start["p"]) <= 1:
                raise ValueError(f"ramp.start: p is a probability, from 0 to 1, not {self.ramp.start['p']!r}")
        return self

    def p_in(self, epoch: int) -> float:
        return float(self.ramp.at(epoch, {"p": self.p})["p"]) if self.ramp else self.p


def _between(start: Any, end: Any, share: float) -> Any:
    """What lies `share` of the way between two numbers, or between the numbers of two lists or tables."""
    if isinstance(end, dict):
        return {key: _between(start[key], end[key], share) for key in end}
    if isinstance(end, list | tuple):
        return [_between(one, other, share) for one, other in zip(start, end, strict=True)]
    between = start + (end - start) * share
    return round(between) if isinstance(start, int) and isinstance(end, int) else between


def _alike(start: Any, end: Any) -> bool:
    """Whether there is something between the two."""
    if isinstance(start, dict) and isinstance(end, dict):
        return set(start) == set(end) and all(_alike(start[key], end[key]) for key in end)
    if isinstance(start, list | tuple) and isinstance(end, list | tuple):
        return len(start) == len(end) and all(_alike(one, other) for one, other in zip(start, end, strict=True))
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in (start, end))
