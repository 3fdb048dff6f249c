"""Values of a frame of sea-ice concentration, and their replacement where they are flags."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

FULL_ICE = 250  # concentration x 250
POLE_HOLE, COAST, LAND, MISSING = 251, 253, 254, 255
FLAGS = {"pole hole": POLE_HOLE, "coast": COAST, "land": LAND, "missing": MISSING}
RIM_CELLS = 2  # how far from the hole cells lie that fill it


def known_ice(codes: np.ndarray) -> np.ndarray:
    """Where `codes` are a concentration and not a flag: bool, of the same shape."""
    return codes <= FULL_ICE


def without_flags(codes: np.ndarray, period: float = 12, *, climatology: bool = False) -> np.ndarray:
    """uint8 (T, H, W) codes -> uint8 (T, H, W) concentration x 250 for inputs; period: frames per year.

    Land and coast become 0; the hole that the sensor leaves at the pole becomes the mean of its rim, two cells wide,
    rounded. Missing cells are as they were in the latest earlier year in which they were not missing, in the frame
    nearest to the same day; in the first year as in the frame before, in the first frame 0. climatology: a frame
    without any measured cell, after the first year, is the mean of its season in all earlier years, rounded. No later
    frame changes an earlier one.
    """
    means: set[int] = set()  # frames that are the mean of earlier years
    frames = np.where(known_ice(codes), codes, 0).astype(np.uint8)
    rims: dict[bytes, np.ndarray] = {}
    for time, (frame, own) in enumerate(zip(frames, codes, strict=True)):
        earlier = time - np.rint(np.arange(1, time // round(period) + 1) * period).astype(int)
        earlier = earlier[earlier >= 0]
        if climatology and len(earlier) and not known_ice(own).any():
            frame[:] = np.rint(frames[earlier].mean(axis=0))
            means.add(time)
            continue
        missing = own == MISSING
        for before in earlier.tolist() if missing.any() else ():
            there = missing if before in means else missing & (codes[before] != MISSING)
            frame[there] = frames[before][there]
            missing = missing & ~there
            if not missing.any():
                break
        if time:
            frame[missing] = frames[earlier[-1] if len(earlier) else time - 1][missing]
        hole = own == POLE_HOLE
        if hole.any():
            key = hole.tobytes()
            if key not in rims:
                rims[key] = ndimage.binary_dilation(hole, np.ones((3, 3)), iterations=RIM_CELLS) & ~hole
            around = rims[key] & known_ice(own)
            frame[hole] = round(float(own[around].mean())) if around.any() else 0
    return frames
