"""Weighted sums of predictions stored as bytes, exact in 16 bits."""

from __future__ import annotations

import numpy as np

from skyfold.compiled import compiled

MAX_PARTS = 65535 // 255  # whole parts of weight whose sum of bytes still fits into 16 bits


@compiled
def add_bytes(sums, values, parts):  # type: ignore[no-untyped-def]
    """Add parts * values to `sums` in place. sums: uint16 (P,); values: uint8 (P,); parts: uint16.

    A negative number of parts is passed as its two's complement: sums wrap around to the right result.
    """
    for j in range(len(sums)):
        sums[j] = np.uint16(sums[j] + np.uint16(parts * np.uint16(values[j])))
