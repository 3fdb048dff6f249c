"""Applied to arrays, a selection gives masks whose Dice is to the last bit what the surface promised."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.metrics.segmentation import dice_score
from skyfold.postprocess import chain, class_thresholds, classifier_gate, min_area
from skyfold.postprocess.dice_surface import dice_surface, truth_empty
from skyfold.postprocess.selection import Selection, score_rows, select

LEVELS, MIN_AREAS = np.array([0, 60, 127, 200, 254]), np.array([0, 3, 8])


@st.composite
def cases(draw):
    shape = draw(st.tuples(*(st.integers(1, limit) for limit in (6, 14, 14, 3))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    prob = rng.choice(np.array([0, 0, 0, 61, 128, 201, 255], dtype=np.uint8), size=shape)
    target = rng.random(shape) < 0.3
    target &= rng.random((shape[0], 1, 1, shape[3])) < 0.6
    valid = rng.random(shape[:3]) < 0.8 if draw(st.booleans()) else None
    return prob, target, valid, np.round(rng.random((shape[0], shape[3])), 1).astype(np.float32)


@pytest.mark.parametrize("area", ["component", "total"])
@given(case=cases(), gated=st.booleans())
@settings(deadline=None, max_examples=80)
def test_dice_of_the_masks_is_what_the_surface_says(area, case, gated):
    prob, target, valid, gate = case
    gate_prob = gate if gated else None
    lattice = {"levels": LEVELS, "min_areas": MIN_AREAS}
    surface, empty = dice_surface(prob, target, valid, area=area, **lattice), truth_empty(target, valid)
    selection = select(surface, empty, gate_prob, **lattice)
    before = prob.copy()
    masks = chain.apply(selection, prob, gate_prob, area=area, valid=valid)
    assert (masks.dtype, masks.shape) == (np.bool_, prob.shape)
    np.testing.assert_array_equal(prob, before)
    dice = dice_score(target=target, pred=masks, valid=valid).astype(np.float32)
    np.testing.assert_array_equal(dice, score_rows(selection, surface, empty, gate_prob, **lattice).astype(np.float32))


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
        chain.apply(Selection((127,), (0,), (0.5,)), np.zeros((1, 2, 2, 1), dtype=np.uint8), area="component")


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
