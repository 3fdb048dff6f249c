"""Limits are those of the pixels however these come in pieces, and stored values become what they say by hand."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from skyfold.config.data import RescaleConfig
from skyfold.config.training import AugmentConfig
from skyfold.data.augment import FLIPS_AND_TURNS, Augmenter
from skyfold.data.cache import TrainingArrays
from skyfold.data.rescale import Rescale, fit_rescale, mean_and_std, percentiles
from skyfold.errors import ConfigError, DataLayoutError

TYPES = [np.uint8, np.uint16, np.int16, np.float32]


def images(*values: list[list[int]], dtype: type = np.uint16) -> TrainingArrays:
    """Images of one row of pixels each, `values[i]` (pixels, bands)."""
    stored = np.array(values, dtype=dtype)[:, np.newaxis]
    return TrainingArrays(np.arange(len(stored)).astype(str), stored, None)


def fitted(stored: TrainingArrays, rows: list[int], **config: object) -> tuple[tuple[float, ...], tuple[float, ...]]:
    found = fit_rescale(RescaleConfig.model_validate(config), stored, np.array(rows))
    return found.low, found.high


THREE = images([[0, 100], [10, 200]], [[20, 300], [30, 400]], [[9000, 9000], [0, 0]])


def test_limits_by_hand() -> None:
    assert fitted(THREE, [0, 1], kind="minmax") == ((0, 100), (30, 400))
    assert fitted(THREE, [0, 1], kind="minmax", per="all") == ((0,), (400,))
    # Of four values in order the first is not exceeded by 25 %, the third by 75 %.
    assert fitted(THREE, [1, 0], kind="percentile", percentiles=[25, 75]) == ((0, 100), (20, 300))
    # Of 0, 10, 20, 30 the mean is 15 and the variance 125; of the second band ten times as much, from 100.
    low, high = fitted(THREE, [0, 1], kind="mean_std", deviations=1)
    np.testing.assert_allclose(low, [15 - 125**0.5, 250 - 12500**0.5])
    np.testing.assert_allclose(high, [15 + 125**0.5, 250 + 12500**0.5])
    assert fitted(THREE, [0, 1], kind="fixed", limits=[0, 10000]) == ((0,), (10000,))
    assert fitted(THREE, [0, 1], kind="fixed", limits=[[0, 1], [0, 2]]) == ((0, 0), (1, 2))


def test_a_row_that_is_drawn_twice_counts_once() -> None:
    assert fitted(THREE, [0, 1, 1, 1], kind="mean_std") == fitted(THREE, [0, 1], kind="mean_std")


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(TYPES), st.integers(1, 40), st.integers(0, 100), st.integers(0, 100))
def test_percentiles_are_those_of_numpy_in_whatever_pieces(
    data: st.DataObject, dtype: type, count: int, first: int, second: int
) -> None:
    values = {"allow_nan": False, "allow_infinity": False} if dtype is np.float32 else {}
    pixels = data.draw(arrays(dtype, (count, 2), elements=values or None))
    cuts = data.draw(st.lists(st.integers(0, count), max_size=4))
    wanted = (min(first, second), max(first, second))
    found = percentiles(lambda: iter(np.split(pixels, sorted(cuts))), wanted)
    np.testing.assert_array_equal(found, np.percentile(pixels, wanted, axis=0, method="inverted_cdf"))


def test_memory_is_that_of_a_piece_whatever_their_number() -> None:
    """Forty pieces of 0.8 MB: each value in the order of its float, and again for the lower bits."""

    def pieces() -> Iterator[np.ndarray]:
        for i in range(40):
            yield np.arange(i, 200_000 + i, dtype=np.float32)[:, np.newaxis]

    tracemalloc.start()
    found = percentiles(pieces, (0, 100))
    mean_and_std(pieces)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.ravel().tolist() == [0, 200_038]
    assert peak < 12 << 20


@pytest.mark.parametrize("dtype", TYPES)
def test_mean_and_deviation_are_those_of_all_pixels(dtype: type) -> None:
    pixels = np.random.default_rng(0).integers(0, 120, (1000, 3)).astype(dtype)
    mean, std = mean_and_std(lambda: iter(np.split(pixels, [0, 10, 11, 700])))
    np.testing.assert_allclose(mean, pixels.mean(axis=0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(axis=0, dtype=np.float64), rtol=1e-12)


def test_undefined_pixels_are_in_no_limits_and_become_0() -> None:
    least = np.finfo(np.float32).min
    stored = np.array([[[[least], [3], [5]]]], np.float32)
    defined = np.array([[[False, True, True]]])
    some = TrainingArrays(np.array(["a"]), stored, None, defined=defined)
    rescale = fit_rescale(RescaleConfig(kind="minmax"), some, np.array([0]))
    assert (rescale.low, rescale.high) == ((3.0,), (5.0,))
    assert rescale(stored).ravel().tolist() == [0, 0, 1]
    nothing = TrainingArrays(np.array(["a"]), stored, None, defined=np.zeros((1, 1, 3), bool))
    for kind in ("minmax", "mean_std"):
        with pytest.raises(DataLayoutError, match="no pixel of the training rows is defined"):
            fit_rescale(RescaleConfig.model_validate({"kind": kind}), nothing, np.array([0]))


def test_stored_values_become_0_to_1_by_hand() -> None:
    rescale = Rescale((100.0, -5.0), (300.0, -5.0), "int16")
    image = np.array([[[100, -5], [150, 0], [300, -9], [32767, 7], [-32768, -32768]]], np.int16)
    # The second band has equal limits: it tells nothing.
    np.testing.assert_array_equal(rescale(image)[0], [[0, 0], [0.25, 0], [1, 0], [1, 0], [0, 0]])
    assert rescale(image).dtype == np.float32
    beside = np.concatenate([image, image], axis=-1)  # neighbours have the limits of the bands themselves
    np.testing.assert_array_equal(rescale(beside), np.concatenate([rescale(image)] * 2, axis=-1))
    with pytest.raises(DataLayoutError, match=r"image\.rescale: expected images of int16, as in training, got uint8"):
        rescale(image.astype(np.uint8))


def test_limits_of_another_number_of_bands_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"image\.rescale\.limits: 3 pairs, the images have 2 bands"):
        fitted(THREE, [0], kind="fixed", limits=[[0, 1], [0, 2], [0, 3]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "fixed"}, "limits: kind: fixed needs it"),
        ({"kind": "fixed", "limits": [5, 5]}, "low below high"),
        ({"kind": "fixed", "limits": [7, 5]}, "the first not above the last"),
        ({"kind": "fixed", "limits": [0, 5], "per": "all"}, "per: not used by kind: fixed"),
        ({"kind": "minmax", "limits": [0, 5]}, "limits: is of kind: fixed, here kind: minmax"),
        ({"kind": "minmax", "percentiles": [1, 99]}, "percentiles: is of kind: percentile"),
        ({"kind": "percentile", "deviations": 3}, "deviations: is of kind: mean_std"),
        ({"kind": "percentile", "percentiles": [98, 2]}, "the first not above the last"),
        ({"kind": "percentile", "percentiles": [0, 101]}, "less than or equal to 100"),
        ({"kind": "zscore"}, "minmax"),
    ],
)
def test_options_that_make_no_sense_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RescaleConfig.model_validate(values)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("name", FLIPS_AND_TURNS)
def test_flips_and_turns_may_come_before(name, dtype):
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 30_000, (12, 12, 4)).astype(dtype), rng.integers(0, 2, (12, 12, 2), dtype=np.uint8)
    augmenter = Augmenter([AugmentConfig(name=name)], size=(12, 12), bands=4, planes=2, rescaled=True)
    rescale = Rescale((100.0,), (20_000.0,), np.dtype(dtype).name)
    assert augmenter.only_moves
    for seed in range(8):
        moved, own = augmenter(image, mask, seed=seed)
        after, same = augmenter(rescale(image), mask, seed=seed)
        np.testing.assert_array_equal(rescale(np.ascontiguousarray(moved)), after)
        np.testing.assert_array_equal(own, same)
