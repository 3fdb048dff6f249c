"""Each step of the post-processing does to masks what its name says; test_selection.py holds the steps together."""

import numpy as np
import pytest

from skyfold.postprocess import chain, class_thresholds, classifier_gate, min_area
from skyfold.postprocess.selection import Selection


def test_level_is_exceeded_not_reached():
    prob = np.array([[127, 10], [128, 11]], dtype=np.uint8).reshape(2, 1, 1, 2)
    assert class_thresholds.apply(prob, (127, 10)).reshape(2, 2).tolist() == [[False, False], [True, True]]


def test_small_components_go_and_large_ones_stay():
    mask = np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=bool)[None, :, :, None]
    kept = min_area.apply(mask, (3,), area="component")
    assert kept.sum() == 3
    assert not kept[0, 2, 3, 0]
    assert mask.sum() == 4  # the input stays


def test_total_area_keeps_or_empties_the_mask_as_a_whole():
    mask = np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=bool)[None, :, :, None]
    np.testing.assert_array_equal(min_area.apply(mask, (4,), area="total"), mask)
    assert not min_area.apply(mask, (5,), area="total").any()


def test_gate_empties_the_rejected_class_alone():
    masks = np.ones((2, 2, 2, 2), dtype=bool)
    gated = classifier_gate.apply(masks, np.array([[0.9, 0.4], [0.5, 0.6]]), (0.5, 0.5))
    assert gated.all(axis=(1, 2)).tolist() == [[True, False], [True, True]]
    assert gated.any(axis=(1, 2)).tolist() == [[True, False], [True, True]]
    assert masks.all()


def test_selection_with_a_gate_asks_for_probabilities():
    with pytest.raises(ValueError, match="has a gate"):
        chain.apply(Selection((127,), (0,), (0.5,)), np.zeros((1, 2, 2, 1), dtype=np.uint8))


def test_inputs_of_another_kind_are_refused():
    prob, masks = np.zeros((1, 2, 2, 1), dtype=np.uint8), np.zeros((1, 2, 2, 1), dtype=bool)
    with pytest.raises(ValueError, match="expected uint8"):
        class_thresholds.apply(prob.astype(np.float32), (127,))
    with pytest.raises(ValueError, match="expected uint8"):
        class_thresholds.apply(prob, (127, 127))
    with pytest.raises(ValueError, match="expected bool"):
        min_area.apply(prob, (3,), area="component")
    with pytest.raises(ValueError, match="expected bool"):
        classifier_gate.apply(masks, np.zeros((2, 1)), (0.5,))
    with pytest.raises(ValueError, match="row 0 is NaN"):
        classifier_gate.apply(masks, np.full((1, 1), np.nan), (0.5,))
