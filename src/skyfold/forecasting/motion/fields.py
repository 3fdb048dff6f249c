"""How the rain moves between the last frames: a field of motion by one of several methods.

All methods see rain on a logarithmic scale, so that drizzle counts beside a downpour, and look backwards from the last
frame, where the rain is now, to those before it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

from skyfold.config.options import one_of
from skyfold.forecasting.motion.pysteps_field import lucas_kanade
from skyfold.forecasting.rain_units import log_rain

BRIGHTEST = 100.0  # mm/h: what is heavier looks the same to the methods, which see bytes
FARNEBACK_WINDOW, FARNEBACK_LEVELS, FARNEBACK_PASSES = 31, 3, 3
POLYNOMIAL_PIXELS, POLYNOMIAL_SIGMA = 7, 1.5


def no_motion(frames: np.ndarray) -> np.ndarray:
    """All stays where it is: persistence. frames, result: as `dense_flow`."""
    return np.zeros((*frames.shape[1:], 2), dtype=np.float32)


def phase_correlation(frames: np.ndarray) -> np.ndarray:
    """All moves alike: the median, over pairs of neighbouring frames, of the shift that lays one onto the other.

    The shift is the peak of the phase correlation of the frames under a Hann window. frames, result: as `dense_flow`.
    """
    views = list(_as_bytes(frames).astype(np.float32))
    height, width = frames.shape[1:]
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    shifts = np.array([cv2.phaseCorrelate(earlier, later, window)[0] for earlier, later in pairwise(views)])
    return np.tile(np.median(shifts, axis=0).astype(np.float32), (height, width, 1))


def dense_flow(
    frames: np.ndarray, *, preset: int = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, finest_scale: int | None = None
) -> np.ndarray:
    """Each pixel its own motion, by DIS (dense inverse search; Kroeger et al. 2016), between the last two frames.

    frames: float32 (T, H, W) mm/h, the last one newest; T at least 2. Returns float32 (H, W, 2), x first: what is at a
    pixel of the last frame has moved by it in the last interval, in pixels. finest_scale: 0 goes down to single pixels,
    k stops at squares of 2 ** k; None: as the preset has it.
    """
    search = cv2.DISOpticalFlow.create(preset)
    if finest_scale is not None:
        search.setFinestScale(finest_scale)
    before, now = _as_bytes(frames[-2:])
    return -np.asarray(search.calc(now, before, None), dtype=np.float32)


def polynomial_flow(frames: np.ndarray) -> np.ndarray:
    """Each pixel its own motion, smooth over its surroundings, by Farneback's polynomials (2003); as `dense_flow`.

    Begun with the one vector, since alone it loses rain that moves by more than its window sees.
    """
    before, now = _as_bytes(frames[-2:])
    backwards = cv2.calcOpticalFlowFarneback(
        now,
        before,
        -phase_correlation(frames),
        0.5,
        FARNEBACK_LEVELS,
        FARNEBACK_WINDOW,
        FARNEBACK_PASSES,
        POLYNOMIAL_PIXELS,
        POLYNOMIAL_SIGMA,
        cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    return -np.asarray(backwards, dtype=np.float32)


METHODS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": no_motion,
    "phase_correlation": phase_correlation,
    "dis": dense_flow,
    "dis_fast": partial(dense_flow, preset=cv2.DISOPTICAL_FLOW_PRESET_FAST),
    "dis_fine": partial(dense_flow, finest_scale=0),
    "farneback": polynomial_flow,
    "pysteps": lucas_kanade,
}
Motions = Annotated[tuple[Annotated[str, one_of(METHODS)], ...], Field(min_length=1)]


def _as_bytes(frames: np.ndarray) -> np.ndarray:
    shares = log_rain(frames) / log_rain(np.array(BRIGHTEST))
    return np.clip(np.rint(255 * shares), 0, 255).astype(np.uint8)
