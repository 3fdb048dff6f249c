"""The sweep over thresholds and minimum areas equals thresholding and labelling map by map."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core import caching

from skyfold import compiled as compiled_module
from skyfold.compiled import compiled
from skyfold.metrics.segmentation import MeanDice
from skyfold.postprocess.component_counts import component_counts
from skyfold.postprocess.measure import sweep_maps
from skyfold.postprocess.threshold_counts import threshold_counts
from skyfold.postprocess.threshold_sweep import Maps

THRESHOLDS = np.array([0, 1, 60, 127, 128, 200, 254])
MIN_AREAS = np.array([0, 1, 2, 3, 5, 9, 40])


def dice_sweep(prob, target, valid=None, *, thresholds=THRESHOLDS, min_areas=MIN_AREAS, rule="component"):
    """Dice of every map, float32 (n, K, T, M)."""
    sweep = sweep_maps(Maps(prob, target, valid), MeanDice(), rule=rule, thresholds=thresholds, min_areas=min_areas)
    rows, areas = np.arange(len(prob)), range(len(min_areas))
    of_classes = [[sweep.scores(rows, k, m) for m in areas] for k in range(prob.shape[-1])]
    return np.array(of_classes, dtype=np.float32).transpose(2, 0, 3, 1)


def brute_force(prob, target, valid, thresholds, min_areas, rule):
    count, height, width, classes = prob.shape
    defined = np.ones((count, height, width), dtype=bool) if valid is None else valid
    sweep = np.empty((count, classes, len(thresholds), len(min_areas)))
    for i, k, t, m in np.ndindex(sweep.shape):
        mask = (prob[i, :, :, k] > thresholds[t]) & defined[i]
        truth = target[i, :, :, k] & defined[i]
        if rule == "total":
            kept = mask & (mask.sum() >= min_areas[m])
        else:
            parts, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
            large = [part for part in range(1, parts) if stats[part, cv2.CC_STAT_AREA] >= min_areas[m]]
            kept = np.isin(labels, large)
        total = int(kept.sum()) + int(truth.sum())
        sweep[i, k, t, m] = 2 * int((kept & truth).sum()) / total if total else 1.0
    return sweep.astype(np.float32)


@st.composite
def maps(draw):
    shape = draw(st.tuples(*(st.integers(1, limit) for limit in (3, 13, 13, 3))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = draw(
        st.sampled_from([(0,), (255,), (0, 255), (127, 128), (0, 1, 60, 61, 128, 254, 255), tuple(range(256))])
    )
    zeros = draw(st.sampled_from([0.0, 0.5, 0.9]))
    prob = rng.choice(np.array(values, dtype=np.uint8), size=shape)
    prob[rng.random(shape) < zeros] = 0
    target = rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    valid = rng.random(shape[:3]) < 0.7 if draw(st.booleans()) else None
    return prob, target, valid


@pytest.mark.parametrize("rule", ["component", "total"])
@given(case=maps())
@settings(max_examples=60, deadline=None)
def test_sweep_equals_labelling_every_mask(rule, case):
    prob, target, valid = case
    fast = dice_sweep(prob, target, valid, rule=rule)
    np.testing.assert_array_equal(fast, brute_force(prob, target, valid, THRESHOLDS, MIN_AREAS, rule))


def test_all_255_thresholds_on_a_smooth_map():
    rng = np.random.default_rng(3)
    field = cv2.GaussianBlur(rng.normal(size=(40, 56)), (0, 0), 3)
    prob = np.rint(255 / (1 + np.exp(-8 * field / field.std() + 2))).astype(np.uint8)[None, :, :, None]
    target = prob > 90
    thresholds, min_areas = np.arange(255), np.array([0, 10, 100, 300])
    fast = dice_sweep(prob, target, thresholds=thresholds, min_areas=min_areas)
    np.testing.assert_array_equal(fast, brute_force(prob, target, None, thresholds, min_areas, "component"))
    assert fast[0, 0, 90, 0] == 1.0
    counts = component_counts(prob, target, thresholds=thresholds, min_areas=min_areas)
    np.testing.assert_array_equal(counts[:, :, :, 0], threshold_counts(prob, target)[..., thresholds + 1])


def test_strided_and_memory_mapped_input_gives_the_same(tmp_path):
    rng = np.random.default_rng(0)
    prob = rng.integers(0, 256, (4, 10, 12, 2), dtype=np.uint8)
    target = rng.random(prob.shape) < 0.4
    expected = dice_sweep(prob, target)
    np.save(tmp_path / "prob.npy", prob)
    mapped = np.load(tmp_path / "prob.npy", mmap_mode="r", allow_pickle=False)
    for other in (mapped, np.asfortranarray(prob)):
        np.testing.assert_array_equal(dice_sweep(other, target), expected)
    np.testing.assert_array_equal(dice_sweep(prob[..., 1:], target[..., 1:]), expected[:, 1:])


def test_number_of_workers_changes_nothing():
    rng = np.random.default_rng(1)
    prob = rng.integers(0, 256, (20, 9, 9, 2), dtype=np.uint8)
    grid = {"thresholds": THRESHOLDS, "min_areas": MIN_AREAS}
    one, many = (component_counts(prob, prob > 99, **grid, workers=workers) for workers in (1, 3))
    np.testing.assert_array_equal(one, many)


def test_a_truth_without_valid_pixels_is_empty():
    target = np.zeros((2, 2, 2, 1), dtype=bool)
    target[0, 0, 0] = True
    valid = np.ones((2, 2, 2), dtype=bool)
    settings = {"rule": "total", "thresholds": THRESHOLDS, "min_areas": MIN_AREAS}
    prob = np.zeros(target.shape, dtype=np.uint8)
    assert sweep_maps(Maps(prob, target), MeanDice(), **settings).empty.ravel().tolist() == [False, True]
    valid[0, 0, 0] = False
    assert sweep_maps(Maps(prob, target, valid), MeanDice(), **settings).empty.ravel().tolist() == [True, True]


@given(case=maps())
@settings(max_examples=60, deadline=None)
def test_threshold_counts_are_those_of_every_mask(case):
    prob, target, valid = case
    counts = threshold_counts(prob, target, valid)
    defined = np.ones(prob.shape, dtype=bool) if valid is None else np.broadcast_to(valid[..., None], prob.shape)
    for value in (0, 1, 61, 128, 255):
        mask = (prob >= value) & defined
        np.testing.assert_array_equal(counts[:, :, 0, value], (mask & target).sum(axis=(1, 2)))
        np.testing.assert_array_equal(counts[:, :, 1, value], mask.sum(axis=(1, 2)))


@pytest.mark.parametrize("thresholds", [[3, 3], [5, 2], [0, 255], [-1], [], [0.5]])
def test_thresholds_that_cannot_be_stored_are_refused(thresholds):
    prob = np.zeros((1, 2, 2, 1), dtype=np.uint8)
    with pytest.raises(ValueError, match="thresholds: expected ascending whole numbers"):
        component_counts(prob, prob > 0, thresholds=np.array(thresholds), min_areas=np.array([0]))


def test_compiles_where_no_cache_folder_can_be_written(monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    doubled = compiled(lambda value: 2 * value)
    assert doubled(21) == 42
    assert compiled_module.numba.extending.is_jitted(doubled)


def test_other_arrays_and_more_areas_than_can_be_ranked_are_refused():
    prob = np.zeros((1, 2, 2, 1), dtype=np.uint8)
    with pytest.raises(ValueError, match="expected prob uint8"):
        dice_sweep(prob.astype(np.float32), prob > 0)
    with pytest.raises(ValueError, match="expected valid bool"):
        dice_sweep(prob, prob > 0, np.ones((1, 2, 3), dtype=bool))
    with pytest.raises(ValueError, match="at most 255"):
        component_counts(prob, prob > 0, thresholds=THRESHOLDS, min_areas=np.arange(256))
