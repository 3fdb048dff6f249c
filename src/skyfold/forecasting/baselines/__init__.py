"""Forecasts that need no network, one file each: the file name is the name, its `PLUGIN` a `Baseline`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from skyfold.config.forecasts import ForecastModel
from skyfold.config.options import Options, configured
from skyfold.forecasting.hindcast import FittedForecast, Hindcast
from skyfold.forecasting.past_frames import PastFrames


class Baseline(Options):
    """What every baseline offers; its fields are the `options` of a forecast.

    needs_members, needs_seasons: it forecasts from other forecasts, from the same season of earlier years; a config
    without them is refused before anything is forecast.
    """

    needs_members: ClassVar[bool] = False
    needs_seasons: ClassVar[bool] = False

    @property
    def unit(self) -> str | None:
        """Of the frames it is for; None: of any."""
        return None

    def require(self) -> None:
        """ConfigError where a package is missing."""


class DirectBaseline(Baseline):
    """A baseline that forecasts from past frames only."""

    @abstractmethod
    def forecast(self, history: PastFrames) -> np.ndarray:
        """float32 (H, W, L)."""


class FittedBaseline(Baseline):
    """A baseline that is fitted on earlier dates, their outcomes and what other forecasts, its members, were."""

    @abstractmethod
    def fit(self, outcomes: Sequence[Hindcast]) -> FittedForecast:
        """outcomes: in the order of time, one at least."""


def baseline_of(model: ForecastModel) -> Baseline:
    """The baseline of a forecast with its options; ConfigError on an unknown name or option, or a wrong value."""
    assert model.family is not None
    baseline: Baseline = configured("forecasting.baselines", model.family, model.options, where="options")
    return baseline
