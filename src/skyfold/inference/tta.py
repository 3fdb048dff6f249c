"""Test-time augmentation: the views of an image that are predicted, and how each prediction is turned back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

FLIPS = {"hflip": 2, "vflip": 1}  # the axis of (n, H, W, ...) that is reversed

View = tuple[str, ...]


def views(flips: Sequence[str]) -> list[View]:
    """Every combination of the flips, the image as it is first.

    >>> views(["hflip", "vflip"])
    [(), ('vflip',), ('hflip',), ('hflip', 'vflip')]
    """
    return [tuple(name for name in chosen if name) for chosen in product(*(("", name) for name in flips))]


def apply(images: np.ndarray, view: View) -> np.ndarray:
    """images (n, H, W, ...), flipped."""
    return np.flip(images, tuple(FLIPS[name] for name in view))


def undo(predictions: np.ndarray, view: View) -> np.ndarray:
    """predictions (n, H, W, K) turned back as the images were; (n, K) have no direction and stay as they are."""
    return apply(predictions, view) if predictions.ndim == 4 else predictions
