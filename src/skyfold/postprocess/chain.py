"""How a selection turns probabilities into masks: threshold, minimum area or triplet, then the classifier gate."""

from __future__ import annotations

import numpy as np

from skyfold.postprocess import class_thresholds, classifier_gate, min_area, triplet
from skyfold.postprocess.selection import Selection


def apply(
    selection: Selection,
    prob: np.ndarray,
    gate_prob: np.ndarray | None = None,
    *,
    valid: np.ndarray | None = None,
) -> np.ndarray:
    """Masks of a chunk of samples, bool (n, H, W, K); they have as many pixels as the selection was chosen by.

    prob: uint8 (n, H, W, K); gate_prob: (n, K), needed where the selection has a gate; valid: bool (n, H, W), undefined
    pixels are in no mask.
    """
    if selection.rule == "triplet":
        if selection.top_thresholds is None:
            raise ValueError("a selection by triplets needs its top levels")
        masks = triplet.apply(prob, selection.top_thresholds, selection.min_areas, selection.thresholds, valid)
    else:
        masks = class_thresholds.apply(prob, selection.thresholds)
        if valid is not None:
            masks = masks & valid[..., None]
        masks = min_area.apply(masks, selection.min_areas, area=selection.rule)
    if selection.gate_thresholds is None:
        return masks
    if gate_prob is None:
        raise ValueError("the selection has a gate: give the classifier's probabilities (n, K)")
    return classifier_gate.apply(masks, gate_prob, selection.gate_thresholds)
