"""Marks of a mask that was drawn or stored wrongly: single pixels, straight cuts, a place where nothing is.

Arrays are masks of one class: bool (H, W).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

SPECK = 4  # pixels: pieces and holes that are no larger are slips of the hand, or of a resampling
TOLERANCE = 0.75  # pixels by which a straight border may depart from a line
SHORTEST = 32.0  # pixels of a straight border: curves have shorter straight parts
BESIDE = 3  # pixels: a border so near to the frame, or to pixels that do not count, is theirs
REGISTERED_SIDE = 128  # of the longer side, at which masks and predictions are laid on each other
FARTHEST = 8  # pixels of that: the farthest a mask is moved


@dataclass(frozen=True)
class Displacement:
    """By how many pixels down and right a mask would have to be moved to lie on its prediction, and how much better it
    fits there: rise of the correlation, 0 where it is in its place. farthest: so far that it has no place."""

    down: int
    right: int
    rise: float
    farthest: bool = False


def specks(mask: np.ndarray) -> float:
    """How much of the mask is pieces and holes of at most SPECK pixels: 1 - Dice of the mask with and without them.

    >>> dot = np.zeros((8, 8), bool)
    >>> dot[3, 3] = True
    >>> specks(dot)
    1.0
    """
    cleaned = mask.copy()
    for of, filled in ((mask, False), (~mask, True)):
        _, labels, stats, _ = cv2.connectedComponentsWithStats(of.astype(np.uint8), connectivity=8)
        small = stats[:, cv2.CC_STAT_AREA] <= SPECK
        small[0] = False  # what is around them
        cleaned[small[labels]] = filled
    total = int(mask.sum()) + int(cleaned.sum())
    return 1 - 2 * int((mask & cleaned).sum()) / total if total else 0.0


def straight_border(mask: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Length of the longest straight part of the border, as a fraction of the shorter side of the image.

    The frame of the image is no border, nor is that of the pixels that count, `valid`; None: all do. 0 below SHORTEST
    pixels: a disk of radius r has straight parts of about 2.5 sqrt(r).

    >>> half = np.zeros((60, 60), bool)
    >>> half[:, :30] = True
    >>> straight_border(half) > 0.8
    True
    >>> straight_border(~np.zeros((60, 60), bool))
    0.0
    """
    counted = np.ones(mask.shape, np.uint8) if valid is None else valid.astype(np.uint8)
    inside = cv2.erode(counted, np.ones((2 * BESIDE + 1,) * 2, np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    longest = SHORTEST
    contours, _ = cv2.findContours((mask & (counted > 0)).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        corners = cv2.approxPolyDP(contour, TOLERANCE, True)[:, 0]
        steps = np.roll(corners, -1, axis=0) - corners
        lengths = np.hypot(*steps.T)
        for place in np.argsort(-lengths):
            if lengths[place] <= longest:
                break
            along = np.linspace(0, 1, max(int(lengths[place]), 2))[:, np.newaxis]
            x, y = np.round(corners[place] + steps[place] * along).astype(int).T
            longest = max(longest, float(lengths[place] * (inside[y, x] > 0).mean()))
    return longest / min(mask.shape) if longest > SHORTEST else 0.0


def displacement(mask: np.ndarray, prob: np.ndarray, valid: np.ndarray | None = None) -> Displacement:
    """Lay a mask on its predicted probability (H, W), of any scale, at every small distance: where does it fit best?

    Fit is the correlation over the pixels that count, `valid`, at REGISTERED_SIDE pixels; the rise is 0 where either is
    of one value.
    """
    height, width = mask.shape
    scale = min(1.0, REGISTERED_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    counted = np.ones(mask.shape, bool) if valid is None else valid
    weight = cv2.resize(counted.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    if not weight.any():
        return Displacement(0, 0, 0.0)
    laid = []
    for values in (mask, prob):
        small = cv2.resize(np.where(counted, values, 0).astype(np.float32), size, interpolation=cv2.INTER_AREA)
        laid.append(small - weight * (small.sum() / weight.sum()))
    norm = float(np.sqrt((laid[0] ** 2).sum() * (laid[1] ** 2).sum()))
    if norm < 1e-6:
        return Displacement(0, 0, 0.0)
    framed = cv2.copyMakeBorder(laid[1], *(FARTHEST,) * 4, cv2.BORDER_CONSTANT, value=0)
    fit = cv2.matchTemplate(framed, laid[0], cv2.TM_CCORR) / norm
    down, right = (int(place) - FARTHEST for place in np.unravel_index(int(fit.argmax()), fit.shape))
    rise = float(fit.max() - fit[FARTHEST, FARTHEST])
    farthest = max(abs(down), abs(right)) == FARTHEST
    return Displacement(round(down / scale), round(right / scale), rise, farthest)
