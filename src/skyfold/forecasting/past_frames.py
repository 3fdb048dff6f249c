"""What is known on the day a forecast is issued, and which frames it is asked for.

A forecast is made from a `History` and nothing else, so that no frame after the issue date can reach it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from skyfold.errors import DataLayoutError


@dataclass(frozen=True)
class PastFrames:
    """All frames up to the issue date, oldest first, without a break.

    frames  uint8 or float32 (T, H, W) in the competition's unit, flags resolved (land 0, pole hole filled)
    ahead   (L,) how many frames after the last one each wanted frame lies, from 1 on
    period  frames in a year; None where there is no season
    """

    frames: np.ndarray
    lead_times: np.ndarray
    period: int | None = None

    @property
    def leads(self) -> int:
        return len(self.lead_times)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.frames.shape[1], self.frames.shape[2]

    def same_season(self, lead: int, years: int) -> np.ndarray:
        """The frames one, two, ... `years` years before the wanted one, oldest first: (years, H, W).

        DataLayoutError where the history does not reach so far back.
        """
        known = self.years_known(lead)
        if known < years:
            raise DataLayoutError(
                f"a forecast from {years} earlier years was asked for, the history holds {known} ({len(self.frames)} "
                "frames). Validate later years, or use fewer earlier ones."
            )
        target = len(self.frames) - 1 + int(self.lead_times[lead])
        assert self.period is not None
        newest = target - self.period
        return self.frames[newest - (years - 1) * self.period : newest + 1 : self.period]

    def years_known(self, lead: int) -> int:
        """How many frames of the same season as the wanted one there are."""
        if self.period is None:
            raise DataLayoutError("frames of the same season were asked for, but these frames have no season.")
        target = len(self.frames) - 1 + int(self.lead_times[lead])
        if self.lead_times[lead] > self.period:
            raise DataLayoutError("a forecast of more than a year cannot use the frame a year before it.")
        return target // self.period

    def until(self, last: int) -> PastFrames:
        """The same as it was known when frame `last` was the newest."""
        return PastFrames(self.frames[: last + 1], self.lead_times, self.period)


class PastFramesSource(ABC):
    """Inputs of the samples of a forecasting competition: what was known on the date of each."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> np.ndarray: ...

    @property
    @abstractmethod
    def checksum(self) -> str:
        """A digest of all that forecasts are made from."""

    @abstractmethod
    def history(self, index: int) -> PastFrames: ...


def per_lead(history: PastFrames) -> np.ndarray:
    """Room for a forecast, float32 (H, W, L)."""
    return np.empty((*history.shape, history.leads), dtype=np.float32)
