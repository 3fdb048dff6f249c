"""Backward semi-Lagrangian extrapolation: advect a frame along a motion field.

For each pixel of the forecast, the origin of its rain is found with the motion half-way back (midpoint rule), so that
rain turns with a turning field. Outside the frame the nearest pixel is taken.
"""

from __future__ import annotations

import cv2
import numpy as np

MIDPOINT_PASSES = 2


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
    """Where the rain of each pixel was one interval before: float32 (H, W, 2), x first, in pixels."""
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
