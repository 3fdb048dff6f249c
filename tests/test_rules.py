"""Each rule and the gate do to masks what their files say."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from skyfold.config.blend import PostprocessConfig
from skyfold.errors import ConfigError
from skyfold.metrics.segmentation import MeanDice
from skyfold.postprocess.measure import sweep_maps
from skyfold.postprocess.rules import component, load_rule, total
from skyfold.postprocess.select import select
from skyfold.postprocess.selection import Selection, above_thresholds, ruled_masks
from skyfold.postprocess.threshold_sweep import Maps

MASK = np.array([[200, 200, 0, 0], [0, 200, 0, 0], [0, 0, 0, 200]], dtype=np.uint8)[None, :, :, None]
THRESHOLDS, MIN_COUNTS = np.array([0, 60, 127, 200, 254]), np.array([0, 1, 4, 30])


def test_a_threshold_is_exceeded_not_reached():
    prob = np.array([[127, 10], [128, 11]], dtype=np.uint8).reshape(2, 1, 1, 2)
    assert above_thresholds(prob, (127, 10)).reshape(2, 2).tolist() == [[False, False], [True, True]]


def test_small_components_go_and_large_ones_stay():
    kept = component.apply(MASK > 127, MASK, (3,))
    assert kept.sum() == 3
    assert not kept[0, 2, 3, 0]


@given(seed=st.integers(0, 2**32 - 1), density=st.sampled_from([0.1, 0.3, 0.5, 0.7]), min_area=st.integers(2, 30))
@settings(deadline=None, max_examples=60)
def test_components_are_those_of_scipy(seed, density, min_area):
    rng = np.random.default_rng(seed)
    masks = rng.random((2, *rng.integers(1, 25, 2), 2)) < density
    expected = np.zeros_like(masks)
    for i, k in np.ndindex(2, 2):
        labels = ndimage.label(masks[i, ..., k], structure=np.ones((3, 3)))[0]
        large = np.bincount(labels.ravel()) >= (min_area, 2)[k]
        expected[i, ..., k] = large[labels] & masks[i, ..., k]
    prob = np.where(masks, 128, 127).astype(np.uint8)
    np.testing.assert_array_equal(ruled_masks(component, prob, (127, 127), (min_area, 2)), expected)


def test_a_rule_cannot_fill_invalid_pixels():
    full = SimpleNamespace(apply=lambda masks, prob, min_areas: np.ones_like(masks))
    valid = MASK[..., 0] > 127
    np.testing.assert_array_equal(ruled_masks(full, MASK, (127,), (0,), valid)[..., 0], valid)


def test_total_area_keeps_or_empties_the_mask_as_a_whole():
    np.testing.assert_array_equal(total.apply(MASK > 127, MASK, (4,)), MASK > 127)
    assert not total.apply(MASK > 127, MASK, (5,)).any()


def test_a_map_without_confident_pixels_is_emptied_and_any_other_gets_its_whole_outline():
    # Row 0: two pixels at 220 and a rim at 90, all true. Row 1: the rim only, and nothing true.
    prob = np.array([[220, 220, 90, 90], [90, 90, 90, 90]], dtype=np.uint8)[:, None, :, None]
    target = np.array([[1, 1, 1, 1], [0, 0, 0, 0]], dtype=bool)[:, None, :, None]
    grid = {"thresholds": THRESHOLDS, "min_areas": np.array([0, 2])}
    chosen = select(sweep_maps(Maps(prob, target), MeanDice(), rule="triplet", **grid))
    # No single threshold does: 60 and below shows the rim in row 1, 127 and above loses it in row 0.
    assert (chosen.thresholds, chosen.min_areas, chosen.top_thresholds) == ((0,), (2,), (127,))
    np.testing.assert_array_equal(chosen.apply(prob), target)
    assert select(sweep_maps(Maps(prob, target), MeanDice(), rule="total", **grid)).top_thresholds is None


@st.composite
def maps(draw):
    shape = draw(st.tuples(*(st.integers(1, limit) for limit in (3, 8, 8, 2))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = draw(st.sampled_from([(0,), (255,), (0, 61, 128, 201, 255), tuple(range(256))]))
    prob = rng.choice(np.array(values, dtype=np.uint8), size=shape)
    target = rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    return Maps(prob, target, rng.random(shape[:3]) < 0.7 if draw(st.booleans()) else None)


@given(case=maps())
@settings(deadline=None, max_examples=40)
def test_counts_of_every_triplet_are_those_of_its_masks(case):
    sweep = sweep_maps(case, MeanDice(), rule="triplet", thresholds=THRESHOLDS, min_areas=MIN_COUNTS)
    classes = sweep.classes
    for top, m, t in np.ndindex(len(THRESHOLDS), len(MIN_COUNTS), len(THRESHOLDS)):
        confident, masks = (case.prob > THRESHOLDS[place] for place in (top, t))
        if case.valid is not None:
            confident, masks = confident & case.valid[..., None], masks & case.valid[..., None]
        masks &= (confident.sum(axis=(1, 2)) >= MIN_COUNTS[m])[:, None, None]
        settings_ = [(int(value),) * classes for value in (THRESHOLDS[t], MIN_COUNTS[m], THRESHOLDS[top])]
        selection = Selection(settings_[0], settings_[1], None, settings_[2], "triplet")
        np.testing.assert_array_equal(selection.apply(case.prob, valid=case.valid), masks)
        expected = MeanDice().stats(target=case.targets, pred=masks, valid=case.valid)
        np.testing.assert_array_equal(sweep.evaluate(selection)[0], expected)


def test_an_unknown_rule_is_refused_with_the_nearest():
    with pytest.raises(
        ValueError, match=r"unknown \(did you mean 'component'\?\)\. There are: component, total, triplet"
    ):
        PostprocessConfig(rule="componnet")
    with pytest.raises(ConfigError, match="rules: there is no 'fill'"):
        load_rule("fill")


def test_gate_empties_the_rejected_class_only():
    prob = np.full((2, 2, 2, 2), 200, dtype=np.uint8)
    selection = Selection((127, 127), (0, 0), (0.5, 0.5))
    gated = selection.apply(prob, np.array([[0.9, 0.4], [0.5, 0.6]]))
    assert gated.all(axis=(1, 2)).tolist() == [[True, False], [True, True]]
    assert gated.any(axis=(1, 2)).tolist() == [[True, False], [True, True]]


def test_what_a_selection_lacks_is_named():
    prob = np.zeros((1, 2, 2, 1), dtype=np.uint8)
    gated = Selection((127,), (0,), (0.5,))
    for gate_prob in (None, np.zeros((2, 1))):
        with pytest.raises(ValueError, match="has a gate"):
            gated.apply(prob, gate_prob)
    with pytest.raises(ValueError, match="row 0 is NaN"):
        gated.apply(prob, np.full((1, 1), np.nan))
    with pytest.raises(ValueError, match="'triplet' needs its top thresholds"):
        Selection((127,), (0,), rule="triplet").apply(prob)


def test_inputs_of_another_kind_are_refused():
    prob = np.zeros((1, 2, 2, 1), dtype=np.uint8)
    with pytest.raises(ValueError, match="expected uint8"):
        above_thresholds(prob.astype(np.float32), (127,))
    with pytest.raises(ValueError, match="expected uint8"):
        ruled_masks(component, prob, (127, 127), (0, 0))
