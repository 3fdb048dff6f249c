"""The rule of two thresholds and a count, read off histograms, gives what applying every triplet would give."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.metrics.segmentation import dice_score
from skyfold.postprocess import triplet
from skyfold.postprocess.map_counts import count_maps
from skyfold.postprocess.selection import select
from skyfold.postprocess.triplet import triplet_surface

LEVELS = np.array([0, 60, 127, 200, 254])
MIN_COUNTS = np.array([0, 1, 4, 30])


@st.composite
def maps(draw):
    shape = draw(st.tuples(*(st.integers(1, limit) for limit in (3, 8, 8, 2))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = draw(st.sampled_from([(0,), (255,), (0, 61, 128, 201, 255), tuple(range(256))]))
    prob = rng.choice(np.array(values, dtype=np.uint8), size=shape)
    target = rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    return prob, target, rng.random(shape[:3]) < 0.7 if draw(st.booleans()) else None


@given(case=maps())
@settings(deadline=None, max_examples=40)
def test_surface_equals_applying_every_triplet(case):
    prob, target, valid = case
    sweep = triplet_surface(prob, target, valid, levels=LEVELS, min_counts=MIN_COUNTS, workers=1)
    classes = prob.shape[-1]
    for top, m, t in np.ndindex(sweep.shape[2:]):
        sure = prob > LEVELS[top] if valid is None else (prob > LEVELS[top]) & valid[..., None]
        enough = sure.sum(axis=(1, 2)) >= MIN_COUNTS[m]
        mask = (prob > LEVELS[t]) & enough[:, None, None, :]
        np.testing.assert_array_equal(
            sweep[:, :, top, m, t], dice_score(target=target, pred=mask, valid=valid).astype(np.float32)
        )
        applied = triplet.apply(prob, [LEVELS[top]] * classes, [MIN_COUNTS[m]] * classes, [LEVELS[t]] * classes, valid)
        np.testing.assert_array_equal(applied, mask if valid is None else mask & valid[..., None])


def test_a_map_that_is_nowhere_sure_is_emptied_and_a_sure_one_gets_its_whole_outline():
    # Row 0: two pixels at 220 and a rim at 90, and there. Row 1: the rim alone, and nothing there.
    prob = np.array([[220, 220, 90, 90], [90, 90, 90, 90]], dtype=np.uint8)[:, None, :, None]
    target = np.array([[1, 1, 1, 1], [0, 0, 0, 0]], dtype=bool)[:, None, :, None]
    counts = count_maps(prob, target, rule="triplet", levels=LEVELS, min_areas=np.array([0, 2]))
    chosen = select(counts)
    # No single level does: 60 and below shows the rim in row 1, 127 and above loses it in row 0.
    assert (chosen.thresholds, chosen.min_areas, chosen.top_thresholds) == ((0,), (2,), (127,))
    masks = triplet.apply(prob, chosen.top_thresholds, chosen.min_areas, chosen.thresholds)
    np.testing.assert_array_equal(masks, target)
    best_total = count_maps(prob, target, rule="total", levels=LEVELS, min_areas=np.array([0, 2]))
    assert select(best_total).top_thresholds is None


@pytest.mark.parametrize(("count", "kept"), [(2, True), (3, False)])
def test_the_minimum_count_is_enough(count, kept):
    prob = np.array([220, 220, 90, 0], dtype=np.uint8).reshape(1, 1, 4, 1)
    assert triplet.apply(prob, [200], [count], [60]).sum() == 3 * kept
