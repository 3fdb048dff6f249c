"""Gaps in a series of frames: refuse them by name, or put frames without data into them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from skyfold.competitions.arctic_sea_ice.cadence import Cadence
from skyfold.competitions.arctic_sea_ice.ice_frames import MISSING
from skyfold.errors import Problems

SATELLITE_GAP = ("1987-12", "1988-01")  # no satellite measured from 3 December 1987 to 12 January 1988


def refuse_gaps(
    times: np.ndarray, places: Sequence[str], cadence: Cadence, problems: Problems, *, may_be_filled: bool
) -> None:
    """Add to `problems` what does not follow the frame before it; places: where each of the frames lies.

    may_be_filled: only gaps that `close_gaps` does not fill, those of more than a year.
    """
    gaps = []
    for (before, one), (after, other) in pairwise(zip(times, places, strict=True)):
        missing = int((after - before) / cadence.step) - 1
        if after == before:
            gaps.append(f"{after} is there twice: {one} and {other}")
        elif after < before:
            gaps.append(f"{after} is out of order: {other} follows {one}, {before}")
        elif before + (missing + 1) * cadence.step != after:
            gaps.append(f"{before + cadence.step} is missing: {after} follows {before}")
        elif missing > (round(cadence.period) if may_be_filled else 0):
            gaps.append(_named(before + cadence.step, after - cadence.step, f"{after} follows {before}"))
    problems.add(
        f"{cadence.name} frames must follow each other without a gap. Add what is missing, read only the frames after "
        "it (data.options.since), or fill gaps of up to a year from earlier years (data.options.fill_gaps: "
        "climatology); keep one of each, oldest first",
        *gaps,
    )


def close_gaps(times: np.ndarray, codes: np.ndarray, cadence: Cadence) -> tuple[np.ndarray, np.ndarray]:
    """The series with a frame of missing cells for each time that is missing: times (T,), codes (T, H, W)."""
    whole = np.arange(times[0], times[-1] + cadence.step, cadence.step)
    closed = np.full((len(whole), *codes.shape[1:]), MISSING, dtype=np.uint8)
    closed[np.searchsorted(whole, times)] = codes
    return whole, closed


def _named(first: np.datetime64, last: np.datetime64, between: str) -> str:
    if first == last:
        return f"{first} is missing: {between}"
    known = ", when no satellite measured" if (str(first), str(last)) == SATELLITE_GAP else ""
    return f"{first} to {last} are missing{known}: {between}"
