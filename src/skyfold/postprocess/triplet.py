"""Masks that are believed only where the model is very sure somewhere: the rule of two thresholds and a count.

A map whose surest pixels are few is emptied; any other gets its mask at a lower threshold, which gives it its whole
outline. Three numbers a class: the top level, the fewest pixels above it, and the (bottom) level of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skyfold.postprocess import class_thresholds
from skyfold.postprocess.joint_search import shares
from skyfold.postprocess.map_counts import count_maps


def apply(
    prob: np.ndarray,
    top_levels: Sequence[int],
    min_counts: Sequence[int],
    levels: Sequence[int],
    valid: np.ndarray | None = None,
) -> np.ndarray:
    """Masks of prob > level where at least min_count pixels have prob > top level, else empty ones.

    prob: uint8 (n, H, W, K), 255 times the probability; the others (K,); valid: bool (n, H, W), undefined pixels are in
    no mask and are not counted. Returns bool (n, H, W, K).
    """
    masks, sure = (class_thresholds.apply(prob, chosen) for chosen in (levels, top_levels))
    if valid is not None:
        masks, sure = masks & valid[..., None], sure & valid[..., None]
    enough = sure.sum(axis=(1, 2)) >= np.asarray(min_counts)
    return np.asarray(masks & enough[:, None, None, :])


def triplet_surface(
    prob: np.ndarray,
    target: np.ndarray,
    valid: np.ndarray | None = None,
    *,
    levels: np.ndarray,
    min_counts: np.ndarray,
    workers: int | None = None,
) -> np.ndarray:
    """Dice of every map under every triplet, float32 (n, K, T, M, T): top level x minimum count x level.

    Arrays as for `dice_surface`. Top levels below the level are there too, though nothing is ever chosen among them. To
    look at; a choice among many maps is made by `selection.select`, which never holds all of this.
    """
    counts = count_maps(prob, target, valid, rule="triplet", levels=levels, min_areas=min_counts, workers=workers)
    rows, truth = np.arange(len(prob)), counts.truth
    sweep = np.empty((*truth.shape, len(levels), len(min_counts), len(levels)), dtype=np.float32)
    for k, m in np.ndindex(truth.shape[1], len(min_counts)):
        share = shares(counts.of_masks(rows, k, m), truth[:, k], iou=False)
        kept = counts.kept(rows, k, m)[:, :, None]
        sweep[:, k, :, m] = np.where(kept, share[:, None], (truth[:, k] == 0)[:, None, None])
    return sweep
