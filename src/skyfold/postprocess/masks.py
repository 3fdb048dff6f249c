"""The masks that a blend submits: its probability maps after the gate, the thresholds and the rule that it chose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skyfold.blending.stack import LogisticStack
from skyfold.postprocess.gate_stack import features_of
from skyfold.postprocess.selection import Selection
from skyfold.types import ArraySequence, LazyArrays


def chosen_masks(
    blend: Mapping[str, Any],
    stage: str,
    values: np.ndarray,
    gate_prob: np.ndarray | None,
    valid: ArraySequence | None = None,
) -> LazyArrays:
    """Masks, bool (H, W, K), computed when indexed, of the rows `values`, uint8 (n, H, W, K).

    blend: `selection` and `presence_stack` as `blend.json` holds them; stage: "final" or "before_gate"; gate_prob: the
    classifier's probabilities (n, K), used at stage "final"; valid: pixels that count, bool (H, W) each; None: all do.
    """
    selection = Selection.from_dict(blend["selection"][stage])
    stack = LogisticStack(**blend["presence_stack"]) if blend.get("presence_stack") is not None else None

    def mask(i: int) -> np.ndarray:
        prob = np.asarray(values[i : i + 1])
        gates = None if gate_prob is None or stage != "final" else gate_prob[i : i + 1]
        if gates is not None and stack is not None:
            gates = stack.probability(features_of(prob, gates, None if valid is None else valid[i][np.newaxis]))
        return np.asarray(selection.apply(prob, gates)[0])

    return LazyArrays(len(values), mask)
