"""Past frames: what is known on the day a forecast is issued, and the lead times it is asked for.

A forecast is made from a `PastFrames` and nothing else, so that no frame after the issue date can reach it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skyfold.errors import ConfigError, DataLayoutError
from skyfold.types import Samples


@dataclass(frozen=True)
class PastFrames:
    """All frames up to the issue date, oldest first, without gaps.

    frames      uint8 or float32 (T, H, W) in the competition's unit, flags resolved (land 0, pole hole filled)
    lead_times  (L,) how many frames after the last one each target frame lies, from 1 on
    period      frames per year, whole or not; None where the frames have no season
    """

    frames: np.ndarray
    lead_times: np.ndarray
    period: float | None = None

    @property
    def leads(self) -> int:
        """L, the number of lead times."""
        return len(self.lead_times)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.frames.shape[1], self.frames.shape[2]

    def years_ago(self, years: int | np.ndarray) -> np.ndarray:
        """How many frames earlier the same season lay so many years before, int (...): the nearest frame.

        A year is no whole number of weeks, so that 20 years are 1044 of them, not 20 x 52. DataLayoutError where the
        frames have no season.
        """
        if self.period is None:
            raise DataLayoutError("frames of the same season were asked for, but these frames have no season.")
        return np.rint(np.asarray(years) * self.period).astype(np.int64)

    @property
    def frames_per_year(self) -> int:
        """The number of frames from one year to the next, to the nearest.

        DataLayoutError where the frames have no season.
        """
        return int(self.years_ago(1))

    def same_season(self, lead: int, years: int, at_least: int | None = None) -> np.ndarray:
        """The frames one, two, ... `years` years before the target of lead time `lead`, oldest first: (years, H, W).

        at_least: take fewer where fewer are known, down to this many; None: exactly `years`. DataLayoutError where the
        frames do not reach so far back.
        """
        known = self.years_known(lead)
        count = years if at_least is None else max(at_least, min(years, known))
        if known < count:
            raise DataLayoutError(
                f"a forecast from {count} earlier years was asked for, the history holds {known} ({len(self.frames)} "
                "frames). Validate later years, or use fewer earlier ones."
            )
        target = len(self.frames) - 1 + int(self.lead_times[lead])
        return self.frames[target - self.years_ago(np.arange(count, 0, -1))]

    def years_known(self, lead: int) -> int:
        """The number of frames of the same season as the target of lead time `lead`.

        DataLayoutError where the frames have no season, or the target is more than a year ahead.
        """
        if self.lead_times[lead] > self.frames_per_year:
            raise DataLayoutError("a forecast of more than a year cannot use the frame a year before it.")
        return self.years_before(len(self.frames) - 1 + int(self.lead_times[lead]))

    def years_before(self, frame: int) -> int:
        """The number of frames of the same season before frame number `frame`, which may be yet to come.

        DataLayoutError where the frames have no season.
        """
        most = frame // self.frames_per_year + 1
        return int(np.count_nonzero(self.years_ago(np.arange(1, most + 1)) <= frame))

    def until(self, last: int) -> PastFrames:
        """What was known when frame `last` was the newest: the same lead times, frames up to `last`.

        The frames are a view, not a copy.
        """
        return PastFrames(self.frames[: last + 1], self.lead_times, self.period)


@dataclass(frozen=True)
class PastFramesSource:
    """Inputs of the samples of a forecasting competition; [i] are the frames (T, H, W) known on the date of sample i.

    count       number of samples
    history     history(i) -> PastFrames of sample i
    digest      digest() -> digest of everything that forecasts are made from; called once, as `checksum`
    digest_each digest_each() -> a digest of the history of each sample; called once, as `digests`; None: not known
    """

    count: int
    history: Callable[[int], PastFrames]
    digest: Callable[[], str]
    digest_each: Callable[[], Sequence[str]] | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        return self.history(index).frames

    @cached_property
    def checksum(self) -> str:
        """Digest of everything that forecasts are made from."""
        return self.digest()

    @cached_property
    def digests(self) -> Sequence[str] | None:
        """A digest of the history of each sample, None where only that of all is known."""
        return None if self.digest_each is None else self.digest_each()


def past_frames(samples: Samples) -> PastFramesSource:
    """The inputs of forecasting samples; ConfigError where they are not past frames."""
    if not isinstance(samples.inputs, PastFramesSource):
        raise ConfigError("forecasts: the samples of this competition are not past frames. Use another competition.")
    return samples.inputs
