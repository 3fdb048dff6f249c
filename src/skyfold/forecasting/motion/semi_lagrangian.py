"""Where a frame is carried by a field of motion: backward semi-Lagrangian extrapolation.

Each pixel of the forecast asks where its rain came from. The motion half-way there is the one it is carried by, so that
rain turns with a turning field. Outside the frame the nearest known rain is taken, as if it had come from there.
"""

from __future__ import annotations

import cv2
import numpy as np

MIDPOINT_PASSES = 2


def extrapolate(frame: np.ndarray, motion: np.ndarray, *, steps: float = 1.0) -> np.ndarray:
    """The frame that follows `frame` after `steps` intervals. Returns float32 (H, W).

    frame: float32 (H, W). motion: float32 (H, W, 2), x first: at each pixel what moves there moves by it, in pixels an
    interval. A pixel between others is interpolated linearly, so that no value is outside the range of `frame`.
    """
    motion = np.ascontiguousarray(motion * np.float32(steps), dtype=np.float32)
    return sample(frame, origin(motion))


def carried(frames: np.ndarray, motion: np.ndarray, *, lead_times: float = 1.0) -> np.ndarray:
    """Every frame of (T, H, W) carried to `ahead` intervals after the last: float32 (T, H, W), oldest first.

    Where the motion is right and steady they are all alike; how they differ tells of growth and decay.
    """
    last = len(frames) - 1
    return np.stack([extrapolate(frame, motion, steps=last - age + lead_times) for age, frame in enumerate(frames)])


def origin(motion: np.ndarray) -> np.ndarray:
    """Where the rain of each pixel was one interval before: float32 (H, W, 2), x first, in pixels."""
    place = pixel_places(motion.shape[0], motion.shape[1])
    half_way = motion
    for _ in range(MIDPOINT_PASSES):
        half_way = sample(motion, place - 0.5 * half_way)
    back: np.ndarray = place - half_way
    return back


def sample(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """`image` (H, W) or (H, W, C) read at `places` (H, W, 2), x first, linearly; beyond the edge as at the edge."""
    read = cv2.remap(
        np.ascontiguousarray(image, dtype=np.float32),
        np.ascontiguousarray(places, dtype=np.float32),
        None,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(read, dtype=np.float32)


def pixel_places(height: int, width: int) -> np.ndarray:
    """The place of each pixel: float32 (H, W, 2), x first."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.stack([columns, rows], axis=-1)
