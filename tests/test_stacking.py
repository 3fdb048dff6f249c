"""A stack learns which members to trust, per class and from its rows only, and streams."""

import numpy as np
import pytest
from scipy.special import expit, logit

from skyfold.blending import combine as combining
from skyfold.blending import stack as stacking_module
from skyfold.blending.recipe import BlendedRows, Combination
from skyfold.blending.stack import LOGIT_OF_STORED, LogisticStack, fit_stack, sample_pixels
from skyfold.errors import OofMismatch


def models(rows=8, seed=0):
    """A model that is right about class 0, one that is right about class 1, each noise about the other class."""
    rng = np.random.default_rng(seed)
    truth = rng.random((rows, 12, 10, 2)) < 0.3
    arrays = [rng.integers(60, 196, truth.shape).astype(np.uint8) for _ in range(2)]
    for k in range(2):
        arrays[k][..., k] = np.where(truth[..., k], 150, 105) + rng.integers(-40, 40, truth.shape[:3])
    return arrays, truth


def test_each_class_trusts_the_model_that_knows_it():
    arrays, truth = models()
    stack = fit_stack(sample_pixels(arrays, truth, rows=np.arange(8)), np.arange(8))
    (own0, other0), (other1, own1) = stack.coef_
    assert own0 > 5 * abs(other0)
    assert own1 > 5 * abs(other1)


def test_probabilities_are_those_of_the_regression():
    arrays, _ = models(rows=3)
    stack = LogisticStack(((0.5, 1.5), (2.0, -0.25)), (-1.0, 0.5))
    (rows, values), *_ = stack.combine(arrays, np.array([2, 0]))
    assert rows.tolist() == [2, 0]
    inner = [np.clip(a[[2, 0]].astype(float), 0.25, 254.75) / 255 for a in arrays]
    for k in range(2):
        expected = expit(
            sum(c * logit(p[..., k]) for c, p in zip(stack.coef_[k], inner, strict=True)) + stack.intercept_[k]
        )
        assert np.abs(values[..., k] - 255 * expected).max() <= 0.5 + 1e-3


def test_one_member_with_coefficient_one_is_unchanged():
    array = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    ((_, values),) = LogisticStack(((1.0,),), (0.0,)).combine([array], np.array([0]))
    np.testing.assert_array_equal(values, array)
    assert np.isfinite(LOGIT_OF_STORED).all()


def test_a_sample_stands_for_all_defined_pixels_and_for_no_other(monkeypatch):
    arrays, truth = models()
    valid = np.ones(truth.shape[:3], dtype=bool)
    valid[:, :6] = False
    marked = [np.where(valid[..., None], array, 7) for array in arrays]
    monkeypatch.setattr(stacking_module, "SAMPLED", 400)
    for sample in sample_pixels(marked, truth, valid, rows=np.arange(8)):
        assert sample.weight.sum() == pytest.approx(8 * 6 * 10)
        assert (sample.values != 7).all()
        assert set(sample.row.tolist()) == set(range(8))


def test_a_stack_of_some_rows_does_not_change_with_the_others():
    arrays, truth = models()
    other = truth.copy()
    other[4:] = ~other[4:]
    one, two = (fit_stack(sample_pixels(arrays, t, rows=np.arange(8)), np.arange(4)) for t in (truth, other))
    assert one == two


@pytest.mark.parametrize("there", [False, True])
def test_a_class_that_is_always_or_never_present_gets_its_frequency(there):
    arrays, truth = models()
    truth[..., 1] = there
    stack = fit_stack(sample_pixels(arrays, truth, rows=np.arange(8)), np.arange(8))
    assert stack.coef_[1] == (0.0, 0.0)
    assert np.sign(stack.intercept_[1]) == (1 if there else -1)


def test_chunks_give_what_whole_arrays_give(monkeypatch):
    arrays, truth = models()
    stack = fit_stack(sample_pixels(arrays, truth, rows=np.arange(8)), np.arange(8))
    (_, whole), *_ = stack.combine(arrays, np.arange(8))
    monkeypatch.setattr(combining, "CHUNK_BYTES", 3 * arrays[0][0].nbytes)
    chunks = list(stack.combine(arrays, np.arange(8)))
    assert [len(rows) for rows, _ in chunks] == [3, 3, 2]
    np.testing.assert_array_equal(np.concatenate([values for _, values in chunks]), whole)


def test_rows_of_an_unstored_blend_are_read_like_those_of_an_array():
    arrays, _ = models()
    combination = Combination("mean", (3.0, 1.0))
    stored = np.concatenate([values for _, values in combination.rows(arrays, np.arange(8))])
    blended = BlendedRows(combination, arrays)
    assert (len(blended), blended.shape, blended.dtype, blended.ndim) == (8, stored.shape, stored.dtype, 4)
    for index in (3, np.int64(2), slice(2, 7, 2), np.array([5, 1]), np.arange(8) % 2 == 0):
        np.testing.assert_array_equal(blended[index], stored[index])


def test_predictions_other_than_bytes_are_refused():
    with pytest.raises(OofMismatch, match="predictions 0 are float64"):
        sample_pixels([np.full((1, 2, 2, 1), np.nan)], np.ones((1, 2, 2, 1)), rows=np.arange(1))
