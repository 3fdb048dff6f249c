"""Test-time augmentation (TTA): flips and quarter turns of images, and their inverse on predictions.

Each of the 8 ways to lay a square on itself is a transposition, or none, followed by flips of the two axes; a quarter
turn is a transposition and one flip.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

FLIPS = {"hflip": 2, "vflip": 1}  # the axis of (n, H, W, ...) that is reversed
TURNS = ("rot90", "d4")  # give views with height and width exchanged, so that the image has to be square

View = tuple[str, ...]


def views(names: Sequence[str]) -> list[View]:
    """Every view that the flips and quarter turns in `names` give one after the other, the image as it is first.

    rot90 alone gives the four rotations; with a flip, as d4 (the symmetries of the square), all 8 views.

    >>> views(["hflip", "vflip"])
    [(), ('vflip',), ('hflip',), ('hflip', 'vflip')]
    >>> views(["rot90"])
    [(), ('hflip', 'vflip'), ('transpose', 'vflip'), ('transpose', 'hflip')]
    """
    if set(names) == {"rot90"}:
        return [(), ("hflip", "vflip"), ("transpose", "vflip"), ("transpose", "hflip")]
    turned = set(names) & set(TURNS)
    chosen = product(*(("", name) for name in (FLIPS if turned else names)))
    flipped = [tuple(name for name in view if name) for view in chosen]
    return [*flipped, *(("transpose", *view) for view in flipped)] if turned else flipped


def apply(images: np.ndarray, view: View) -> np.ndarray:
    """images (n, H, W, ...) transposed to (n, W, H, ...) if "transpose" is in `view`, then flipped."""
    turned = images.swapaxes(1, 2) if "transpose" in view else images
    return np.flip(turned, _axes(view))


def undo(values: np.ndarray, view: View) -> np.ndarray:
    """Inverse of `apply` on predictions (n, H, W, K); predictions (n, K) have no direction and stay as they are."""
    if values.ndim != 4:
        return values
    values = np.flip(values, _axes(view))
    return values.swapaxes(1, 2) if "transpose" in view else values


def _axes(view: View) -> tuple[int, ...]:
    return tuple(FLIPS[name] for name in view if name in FLIPS)
