"""Forecasts without a network, one file each: the file name is the name, its `PLUGIN` a `Baseline`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from skyfold.config.forecasts import ForecastModel
from skyfold.config.options import Options, configured
from skyfold.errors import ConfigError
from skyfold.forecasting.hindcast import FittedForecast, Hindcast
from skyfold.forecasting.past_frames import PastFrames
from skyfold.types import IntPair, JsonDict


class Baseline(Options):
    """Base of all baselines; fields are the `options` of a forecast.

    needs_members, needs_seasons: it forecasts from other forecasts, from the same season of earlier years; a config
    without them is refused before anything is forecast.
    """

    needs_members: ClassVar[bool] = False
    needs_seasons: ClassVar[bool] = False
    UNIT: ClassVar[str | None] = None

    @property
    def unit(self) -> str | None:
        """Unit of the frames that it forecasts, as `Competition.unit`; None: any.

        A config that names the baseline for a competition of another unit is refused.
        """
        return self.UNIT

    def require(self) -> None:
        """Check, before anything is forecast, that optional packages are installed.

        ConfigError names a package that is missing.
        """


class DirectBaseline(Baseline):
    """A baseline that forecasts from past frames only."""

    @abstractmethod
    def forecast(self, history: PastFrames) -> np.ndarray:
        """Forecast of every lead time, float32 (H, W, L) in the unit of the frames.

        DataLayoutError where `history` is too short, or has no season though the baseline needs one.
        """


class SeasonalBaseline(DirectBaseline):
    """A baseline that forecasts each lead time from the same season of earlier years."""

    needs_seasons: ClassVar[bool] = True

    @abstractmethod
    def forecast_lead(self, history: PastFrames, lead: int) -> np.ndarray:
        """Forecast of the lead time with index `lead`, (H, W) in the unit of the frames.

        DataLayoutError where too few earlier years are known.
        """

    def forecast(self, history: PastFrames) -> np.ndarray:
        leads = [self.forecast_lead(history, lead) for lead in range(history.leads)]
        return np.stack(leads, axis=-1).astype(np.float32)


class FittedBaseline(Baseline):
    """A baseline that is fitted on earlier dates: what was known, what its members forecast, what was observed."""

    @abstractmethod
    def fit(self, outcomes: Sequence[Hindcast]) -> FittedForecast:
        """Fit on `outcomes`, at least one, in the order of time.

        Their members are the forecasts that the config lists as `members`, in its order. ConfigError, or
        DataLayoutError, where nothing can be fitted on them.
        """

    def to_dict(self, fitted: FittedForecast) -> JsonDict:
        """What was fitted, as JSON holds it, to the bit; ConfigError where it is not packed."""
        raise ConfigError("what this family fits is not packed. Pack a config that ends with another forecast.")

    def from_dict(self, values: JsonDict, grid: IntPair) -> FittedForecast:
        """What `to_dict` was given, on a grid (H, W)."""
        raise ConfigError("what this family fits is not packed. Pack it again with the skyfold that packed it.")


def baseline_of(model: ForecastModel) -> Baseline:
    """The baseline `model.family` with `model.options`.

    ConfigError names an unknown family or option, or a wrong value.
    """
    assert model.family is not None
    baseline: Baseline = configured("forecasting.baselines", model.family, model.options, where="options")
    return baseline
