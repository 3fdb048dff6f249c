"""Motion fields of rain, and extrapolation along them.

A motion field is estimated from the last frames by one of several methods. All see rain on a logarithmic scale, so that
drizzle counts beside a downpour, and look backwards from the last frame to those before it. A motion is that of rain
which two successive frames show; where they do not, it is none.

Extrapolation is backward semi-Lagrangian: for each pixel of the forecast, the origin of its rain is found with the
motion half-way back (midpoint rule), so that rain turns with a turning field. Outside the frame the nearest pixel is
taken.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

from skyfold.config.options import one_of
from skyfold.errors import ConfigError
from skyfold.forecasting.rain_units import log_rain

BRIGHTEST = 100.0  # mm/h: what is heavier looks the same to the methods, which see bytes
FARNEBACK_WINDOW, FARNEBACK_LEVELS, FARNEBACK_PASSES = 31, 3, 3
POLYNOMIAL_PIXELS, POLYNOMIAL_SIGMA = 7, 1.5
MIDPOINT_PASSES = 2
PADDING = 16  # pixels: features near the edge of a small patch are lost without
DRY_DB, LEAST_RAIN = -15.0, 0.1  # usual in pysteps for rain below 0.1 mm/h
LEAST_WET = 0.001  # share of the pixels with rain; a frame with less shows nothing that could be followed


def phase_correlation(frames: np.ndarray) -> np.ndarray:
    """One displacement for all pixels: the median, over pairs of successive frames, of the shift from one to the other.

    The shift is the peak of the phase correlation of the frames under a Hann window; pairs without rain in both are
    left out. frames, result: as `dense_flow`.
    """
    height, width = frames.shape[1:]
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    rainy, views = _show_rain(frames), _as_bytes(frames).astype(np.float32)
    pairs = [(age, age + 1) for age in range(len(frames) - 1) if rainy[age : age + 2].all()]
    if not pairs:
        return _no_motion(frames)
    shifts = np.array([cv2.phaseCorrelate(views[earlier], views[later], window)[0] for earlier, later in pairs])
    return np.tile(np.median(shifts, axis=0).astype(np.float32), (height, width, 1))


def dense_flow(
    frames: np.ndarray, *, preset: int = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, finest_scale: int | None = None
) -> np.ndarray:
    """Dense inverse search (DIS; Kroeger et al. 2016) between the last two frames.

    frames: float32 (T, H, W) mm/h, newest last; T at least 2. Returns float32 (H, W, 2), x first: the displacement in
    the last interval, in pixels, of what is at each pixel of the last frame. finest_scale: 0 goes down to single
    pixels, k stops at squares of 2 ** k; None: as the preset has it.
    """
    if not _show_rain(frames[-2:]).all():
        return _no_motion(frames)
    search = cv2.DISOpticalFlow.create(preset)
    if finest_scale is not None:
        search.setFinestScale(finest_scale)
    before, now = _as_bytes(frames[-2:])
    return -np.asarray(search.calc(now, before, None), dtype=np.float32)


def polynomial_flow(frames: np.ndarray) -> np.ndarray:
    """Farneback's polynomial expansion (2003), smooth over its window. frames, result: as `dense_flow`.

    It starts from the phase correlation, since otherwise it loses rain that moves by more than its window.
    """
    if not _show_rain(frames[-2:]).all():
        return _no_motion(frames)
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


def lucas_kanade(frames: np.ndarray) -> np.ndarray:
    """Dense Lucas-Kanade on tracked features, by pysteps, of rain in dB padded at the edge. frames, result: as
    `dense_flow`. ConfigError where pysteps is not installed."""
    require_pysteps()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints the path of its settings on import
        from pysteps.motion.lucaskanade import dense_lucaskanade  # type: ignore[import-not-found,import-untyped,unused-ignore]
    if not _show_rain(frames[-2:]).all():
        return _no_motion(frames)
    wide = np.pad(frames.astype(np.float64), ((0, 0), (PADDING, PADDING), (PADDING, PADDING)), mode="edge")
    motion = np.moveaxis(dense_lucaskanade(in_decibels(wide)), 0, -1)[PADDING:-PADDING, PADDING:-PADDING]
    return np.ascontiguousarray(motion, dtype=np.float32)


def require_pysteps() -> None:
    """Raise ConfigError where pysteps is not installed."""
    if find_spec("pysteps") is None:
        raise ConfigError("the motion 'pysteps' needs a package that is not installed: pip install -e .[pysteps].")


def in_decibels(rain: np.ndarray) -> np.ndarray:
    """mm/h to dB, float64; below 0.1 mm/h -15."""
    with np.errstate(divide="ignore"):
        decibels: np.ndarray = np.where(rain < LEAST_RAIN, DRY_DB, 10.0 * np.log10(rain))
    return decibels


METHODS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "phase_correlation": phase_correlation,
    "dis": dense_flow,
    "dis_fast": partial(dense_flow, preset=cv2.DISOPTICAL_FLOW_PRESET_FAST),
    "dis_fine": partial(dense_flow, finest_scale=0),
    "farneback": polynomial_flow,
    "pysteps": lucas_kanade,
}
Motions = Annotated[tuple[Annotated[str, one_of(METHODS)], ...], Field(min_length=1)]


def _show_rain(frames: np.ndarray) -> np.ndarray:
    """Which frames (T, H, W) show rain that can be followed, enough of it and not the same everywhere: bool (T,)."""
    return (np.mean(frames >= LEAST_RAIN, axis=(1, 2)) >= LEAST_WET) & (np.ptp(frames, axis=(1, 2)) > 0)


def _no_motion(frames: np.ndarray) -> np.ndarray:
    return np.zeros((*frames.shape[1:], 2), dtype=np.float32)


def _as_bytes(frames: np.ndarray) -> np.ndarray:
    shares = log_rain(frames) / log_rain(np.array(BRIGHTEST))
    return np.clip(np.rint(255 * shares), 0, 255).astype(np.uint8)


def extrapolate(frame: np.ndarray, motion: np.ndarray, *, steps: float = 1.0) -> np.ndarray:
    """The frame that follows `frame` after `steps` intervals, float32 (H, W).

    frame: float32 (H, W). motion: float32 (H, W, 2), x first: displacement of what is at each pixel, in pixels per
    interval. Interpolation is linear, so that no value is outside the range of `frame`.
    """
    return _sampled(frame, origin(np.ascontiguousarray(motion * np.float32(steps), dtype=np.float32)))


def advected(frames: np.ndarray, motion: np.ndarray, *, lead_time: float = 1.0) -> np.ndarray:
    """Every frame of (T, H, W) advected to `lead_time` intervals after the last: float32 (T, H, W), oldest first.

    Where the motion is right and steady they are all alike; their differences show growth and decay.
    """
    last = len(frames) - 1
    return np.stack([extrapolate(frame, motion, steps=last - age + lead_time) for age, frame in enumerate(frames)])


def origin(motion: np.ndarray) -> np.ndarray:
    """Where the rain of each pixel was one interval before: float32 (H, W, 2), x first, in pixels.

    motion: float32 (H, W, 2), x first, in pixels per interval. The midpoint is iterated twice.
    """
    rows, columns = np.indices(motion.shape[:2], dtype=np.float32)
    place = np.stack([columns, rows], axis=-1)
    half_way = motion
    for _ in range(MIDPOINT_PASSES):
        half_way = _sampled(motion, place - 0.5 * half_way)
    return np.asarray(place - half_way)


def _sampled(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """`image` (H, W) or (H, W, C) read at `places` (H, W, 2), x first, linearly; beyond the edge as at the edge."""
    read = cv2.remap(
        np.ascontiguousarray(image, dtype=np.float32),
        np.ascontiguousarray(places, dtype=np.float32),
        None,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(read, dtype=np.float32)
