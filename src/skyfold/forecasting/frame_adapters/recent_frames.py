"""The frames of the last years as fractions of full ice, without anything computed from them."""

from __future__ import annotations

import numpy as np

from skyfold.config.fields import Positive
from skyfold.errors import DataLayoutError
from skyfold.forecasting.frame_adapters import FrameAdapter
from skyfold.forecasting.frame_adapters._ice_adapter import averaged, enlarged
from skyfold.forecasting.past_frames import PastFrames
from skyfold.forecasting.seasons import FULL


class RecentFrames(FrameAdapter):
    """Inputs float32 (h, w, T), oldest first, T = years x frames in a year; inputs and output in 0 to 1.

    A frame that would be before the first one is that of the same season in the first year. DataLayoutError where the
    history has no season, or not a year.

    years    of frames that are seen
    reduce   the network sees, and predicts, means of so many x so many cells
    decodes  the target is not what comes but the last L frames themselves, as an autoencoder gives them back; where a
             year has L frames its forecast is last year, decoded
    """

    years: Positive = 5
    reduce: Positive = 1
    decodes: bool = False

    def inputs(self, history: PastFrames) -> np.ndarray:
        return self._fractions(history, self.years * history.frames_per_year)

    def target(self, history: PastFrames, truth: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """The mean of the cells that count; a cell's weight is the fraction of them."""
        if self.decodes:
            target = self._fractions(history, history.leads)
            return np.concatenate([target, np.ones_like(target)], axis=-1)
        fraction = averaged(valid.astype(np.float32), self.reduce)
        target = averaged(np.where(valid, truth, 0).astype(np.float32) / FULL, self.reduce)
        return np.concatenate([target / np.where(fraction > 0, fraction, 1), fraction], axis=-1).astype(np.float32)

    def forecast(self, output: np.ndarray, history: PastFrames) -> np.ndarray:
        return np.clip(enlarged(output, self.reduce, history.shape) * FULL, 0, FULL).astype(np.float32)

    def _fractions(self, history: PastFrames, count: int) -> np.ndarray:
        """The last `count` frames, (h, w, count)."""
        period = history.frames_per_year
        if len(history.frames) < period:
            raise DataLayoutError(
                f"frame_adapter: recent_frames sees whole years of {period} frames, and {len(history.frames)} are "
                "known. Forecast later dates."
            )
        rows = np.arange(len(history.frames) - count, len(history.frames))
        back = history.years_ago(np.arange(self.years + 2))
        rows = np.minimum(rows + back[np.searchsorted(back, -rows)], len(history.frames) - 1)
        frames = history.frames[rows]
        return averaged(np.moveaxis(frames, 0, -1).astype(np.float32) / np.float32(FULL), self.reduce)


PLUGIN = RecentFrames
