"""Pixels that predicted and true masks have in common, counted on their segments without drawing a single pixel."""

from __future__ import annotations

import numpy as np

from skyfold.errors import InvalidSubmission
from skyfold.rle.segments import Segments


def overlap_counts(target: Segments, pred: Segments, valid: Segments | None, classes: int) -> np.ndarray:
    """Pixels in both masks, in the predicted and in the true one, K columns each: float64 (n, 3K).

    target, pred: n * K masks, those of one image together; valid: one mask of counting pixels for each image, or None
    where all count. The same numbers, to the last bit, as from the decoded masks. InvalidSubmission where shapes, order
    or numbers of masks differ.
    """
    images = len(target) // classes
    for name, segments, masks in (("prediction", pred, len(target)), ("pixels that count", valid, images)):
        if segments is not None and (segments.shape, segments.order, len(segments)) != (
            target.shape,
            target.order,
            masks,
        ):
            raise InvalidSubmission(
                f"{name}: expected {masks} masks of {target.shape} counted by {target.order}, got {len(segments)} of "
                f"{segments.shape} by {segments.order}. Bring both to the competition's grid and dialect."
            )
    if valid is not None:
        valid = valid.take(np.repeat(np.arange(images), classes))
        target, pred = target.intersection(valid), pred.intersection(valid)
    counts = [part.areas().reshape(images, classes) for part in (target.intersection(pred), pred, target)]
    return np.concatenate(counts, axis=1).astype(np.float64)
