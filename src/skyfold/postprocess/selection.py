"""Chosen post-processing parameters, the classifier gate, and the masks they make of a blend's probability maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skyfold.blending.stack import LogisticStack
from skyfold.postprocess.gate_stack import features_of
from skyfold.postprocess.rules import Rule, TopRule, load_rule
from skyfold.types import ArraySequence, LazyArrays

HALF = 127  # the threshold of probability one half


@dataclass(frozen=True)
class Selection:
    """What was chosen, one entry per class.

    thresholds and top_thresholds are stored values (0..254), min_areas pixels. gate_thresholds is None where there is
    no classifier, top_thresholds where the rule has none.
    """

    thresholds: tuple[int, ...]
    min_areas: tuple[int, ...]
    gate_thresholds: tuple[float, ...] | None = None
    top_thresholds: tuple[int, ...] | None = None
    rule: str = "component"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Selection:
        """The selection of `dataclasses.asdict`, also by way of JSON; numbers come back exactly."""
        given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**given)

    def apply(
        self, prob: np.ndarray, gate_prob: np.ndarray | None = None, *, valid: np.ndarray | None = None
    ) -> np.ndarray:
        """Masks of a chunk of samples, bool (n, H, W, K); they have as many pixels as the selection was chosen by.

        prob: uint8 (n, H, W, K); gate_prob: (n, K), needed where the selection has a gate; valid: bool (n, H, W), other
        pixels are in no mask. ValueError where the gate's probabilities or the top thresholds are missing.
        """
        if self.gate_thresholds is not None:
            if gate_prob is None or gate_prob.shape != (len(prob), prob.shape[-1]):
                raise ValueError("the selection has a gate: give the classifier's probabilities (n, K)")
            passed = passes(gate_prob, self.gate_thresholds)
            prob = _where_passed(prob, passed)  # the rule has less to do then
        rule = load_rule(self.rule)
        masks = ruled_masks(rule, prob, self.thresholds, self.min_areas, valid)
        if isinstance(rule, TopRule):
            if self.top_thresholds is None:
                raise ValueError(f"a selection by rule '{self.rule}' needs its top thresholds")
            above = above_thresholds(prob, self.top_thresholds, valid).sum(axis=(1, 2))
            masks = masks & rule.keeps(above, self.min_areas)[:, None, None]
        return masks if self.gate_thresholds is None else _where_passed(masks, passed)  # a rule may fill what is empty


def ruled_masks(
    rule: Rule,
    prob: np.ndarray,
    thresholds: Sequence[int],
    min_areas: Sequence[int],
    valid: np.ndarray | None = None,
) -> np.ndarray:
    """Masks above the thresholds after `rule`, bool (n, H, W, K); arguments as of `above_thresholds`."""
    masks = rule.apply(above_thresholds(prob, thresholds, valid), prob, min_areas)
    return masks if valid is None else masks & valid[..., None]  # a rule may fill invalid pixels


def above_thresholds(prob: np.ndarray, thresholds: Sequence[int], valid: np.ndarray | None = None) -> np.ndarray:
    """Masks of the pixels whose stored probability exceeds the threshold of their class, bool (n, H, W, K).

    prob: uint8 (n, H, W, K), 255 times the probability; thresholds: (K,) in 0..254; valid: bool (n, H, W), other pixels
    are in no mask. ValueError for other shapes or dtypes.
    """
    if prob.dtype != np.uint8 or prob.ndim != 4 or prob.shape[-1] != len(thresholds):
        raise ValueError(
            f"expected uint8 (n, H, W, {len(thresholds)}) for {len(thresholds)} thresholds; got {prob.dtype} "
            f"{prob.shape}"
        )
    # By rows of pixels: NumPy is slow where the last axis is as short as the number of classes.
    rows = np.tile(np.asarray(thresholds, dtype=np.uint8), prob.shape[2])
    masks: np.ndarray = (prob.reshape(*prob.shape[:2], -1) > rows).reshape(prob.shape)
    if valid is not None:
        masks &= valid[..., None]
    return masks


def passes(gate_prob: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Whether the classifier gate keeps the mask of a class, bool (n, K).

    gate_prob: (n, K) probability that the class is in the image; thresholds: (K,), kept at or above. Compares in
    float64: a threshold between two neighbouring float32 would otherwise be rounded onto one of them. ValueError for
    NaN.
    """
    if np.isnan(gate_prob).any():
        row = int(np.flatnonzero(np.isnan(gate_prob).any(axis=1))[0])
        raise ValueError(f"the classifier's probability in row {row} is NaN; predict it again")
    return np.asarray(gate_prob.astype(np.float64) >= np.asarray(thresholds, dtype=np.float64))


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


def _where_passed(planes: np.ndarray, passed: np.ndarray) -> np.ndarray:
    """`planes` (n, H, W, K), 0 or False where `passed`, bool (n, K), is False."""
    if passed.all():
        return planes
    # By rows of pixels: NumPy is slow where the last axis is as short as the number of classes.
    rows = np.tile(passed[:, None], planes.shape[2]).astype(planes.dtype)
    return np.asarray((planes.reshape(*planes.shape[:2], -1) * rows).reshape(planes.shape))
