"""TrajGRU (Shi et al. 2017): a recurrent network of maps whose state is read where learned motion says it came from.

A ConvLSTM reads the state around each pixel in the same places everywhere. Here a small network looks at the frame and
the state and says, for each pixel and link, where to read; so the links can follow rain that moves or turns.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import model_validator

from skyfold.config.fields import Positive, Positives
from skyfold.models._encoder_forecaster import EncoderForecaster


class TrajGRUForecaster(EncoderForecaster):
    """links: of each recurrent layer, as many as `filters`; motion_filters: of the network that says the motion."""

    name: ClassVar[str] = "trajgru"
    links: Positives = (9, 9, 5)
    motion_filters: Positive = 32

    @model_validator(mode="after")
    def _one_for_each_level(self) -> Self:
        if len(self.filters) != len(self.links):
            raise ValueError(f"links: {len(self.links)} of them for {len(self.filters)} levels")
        return self

    def recurrent(self, level: int, name: str, steps: int | None) -> Any:
        from skyfold.models._trajgru import TrajGRU

        filters, links = self.filters[level], self.links[level]
        return TrajGRU(filters, links, steps=steps, motion_filters=self.motion_filters, name=name)


PLUGIN = TrajGRUForecaster
