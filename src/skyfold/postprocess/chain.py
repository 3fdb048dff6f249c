"""How a selection turns probabilities into masks: threshold, minimum area, classifier gate, in this order."""

from __future__ import annotations

import numpy as np

from skyfold.postprocess import class_thresholds, classifier_gate, min_area
from skyfold.postprocess.dice_surface import Area
from skyfold.postprocess.selection import Selection


def apply(
    selection: Selection,
    prob: np.ndarray,
    gate_prob: np.ndarray | None = None,
    *,
    area: Area,
    valid: np.ndarray | None = None,
) -> np.ndarray:
    """Masks of a chunk of samples, bool (n, H, W, K); their Dice is what the surface says at the selected place.

    prob: uint8 (n, H, W, K); gate_prob: (n, K), needed where the selection has a gate; area: as the surface was made;
    valid: bool (n, H, W), undefined pixels are in no mask.
    """
    masks = class_thresholds.apply(prob, selection.level_)
    if valid is not None:
        masks = masks & valid[..., None]
    masks = min_area.apply(masks, selection.min_area_, area=area)
    if selection.gate_threshold_ is None:
        return masks
    if gate_prob is None:
        raise ValueError("the selection has a gate: give the classifier's probabilities (n, K)")
    return classifier_gate.apply(masks, gate_prob, selection.gate_threshold_)
