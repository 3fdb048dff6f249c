"""Configuration of training augmentation: albumentations transforms and CutMix."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from skyfold.config.fields import Fraction, Strict


class AugmentConfig(BaseModel):
    """One albumentations transform: its class name, and its arguments beside it."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the transform, as they stand in the config."""
        return dict(self.model_extra or {})


class MixConfig(Strict):
    """CutMix (see data/mix.py), applied to an image with probability `p`."""

    name: Literal["cutmix"]
    p: Fraction = 0.5
