"""Batches: every row once an epoch, one shape, the same order for the same seed, labels from counting pixels."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import assert_arrays_equal
from skyfold.config.training import AugmentConfig, MixConfig
from skyfold.data.augment import Augmenter
from skyfold.data.batches import image_labels, prediction_batches, steps_per_epoch, training_batches
from skyfold.data.normalization import NORMALIZATIONS, normalized
from skyfold.data.rescale import Rescale


def arrays(count=11):
    """Image i is all i; its one mask is i mod 2; its first row does not count."""
    inputs = np.repeat(np.arange(count, dtype=np.uint8), 8 * 8 * 3).reshape(count, 8, 8, 3)
    targets = np.ones((count, 8, 8, 2), np.uint8)
    targets[..., 0] = (np.arange(count) % 2)[:, None, None]
    targets[:, 0, :, 1] = 0
    return SimpleNamespace(inputs=inputs, targets=targets)


FLIPS = [AugmentConfig(name="HorizontalFlip"), AugmentConfig(name="Transpose")]
NOTHING = Augmenter([], size=(8, 8), bands=3, planes=2)


def epoch(rows, *, batch_size=4, seed=0, number=0, augmenter=NOTHING, **options):
    options = {"labels": None, "normalization": "none", **options}
    batches = training_batches(
        arrays(), rows, batch_size=batch_size, augmenter=augmenter, seed=seed, epoch=number, **options
    )
    return list(batches)


def joined(batches):
    return [np.concatenate([getattr(batch, part) for batch in batches]) for part in ("rows", "inputs", "targets")]


def augmenter_of(name, **options):
    return Augmenter([AugmentConfig(name=name, **options)], size=(8, 8), bands=3, planes=2)


@given(st.integers(1, 11), st.integers(1, 7))
def test_an_epoch_holds_every_row_and_one_shape(count, batch_size):
    rows = np.arange(11)[-count:]
    batches = epoch(rows, batch_size=batch_size)
    assert {len(batch.inputs) for batch in batches} == {batch_size}
    seen, inputs, targets = joined(batches)
    assert sorted(seen[:count]) == sorted(rows)
    np.testing.assert_array_equal(inputs[:, 0, 0, 0], seen)
    np.testing.assert_array_equal(targets[:, 0, 0, 0], seen % 2)


def test_epochs_depend_on_seed_and_number_only_bit_for_bit():
    busy = augmenter_of("Affine", rotate=[-40, 40], p=0.9)
    first, again, *others = (
        joined(epoch(np.arange(11), augmenter=busy, seed=seed, number=number))
        for seed, number in ((1, 2), (1, 2), (1, 3), (2, 2))
    )
    assert_arrays_equal(first, again)
    for other in others:
        assert all((one != two).any() for one, two in zip(first, other, strict=True))


def test_a_mixed_image_does_not_depend_on_its_batch():
    rows, mix = np.arange(1, 9), [MixConfig(name="cutmix", p=0.7)]
    by_four, alone = (
        joined(epoch(rows, batch_size=size, augmenter=augmenter_of("HorizontalFlip", p=0.5), mix=mix))
        for size in (4, 1)
    )
    assert_arrays_equal(by_four, alone)
    assert set(np.unique(by_four[1])) <= set(rows)  # nothing comes from rows that are not trained on
    assert any(len(np.unique(image)) > 1 for image in by_four[1])


@given(st.integers(1, 11), st.integers(1, 4), st.integers(1, 4))
def test_accumulated_batches_hold_what_one_big_batch_holds(count, batch_size, accumulated):
    rows = np.arange(count)
    small = epoch(rows, batch_size=batch_size, gradient_accumulation_steps=accumulated)
    big = epoch(rows, batch_size=batch_size * accumulated)
    assert len(small) == len(big) * accumulated == steps_per_epoch(count, batch_size, accumulated)
    assert_arrays_equal(joined(small), joined(big))


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_prediction_keeps_order_and_fills_the_last_batch(count):
    rows = np.arange(11)[::-1][:count].copy()
    batches = list(prediction_batches(arrays(), rows, batch_size=4, normalization="none"))
    assert np.concatenate([batch.rows for batch in batches]).tolist() == rows.tolist()
    assert {batch.inputs.shape for batch in batches} == {(4, 8, 8, 3)}
    test = SimpleNamespace(inputs=arrays().inputs, targets=None)
    assert next(prediction_batches(test, rows, batch_size=4, normalization="unit")).targets is None
    last = batches[-1]
    assert (last.inputs[last.count :, 0, 0, 0] == last.rows[0]).all()


def test_presence_looks_at_counting_pixels():
    targets = np.zeros((2, 2, 2, 3), np.uint8)  # two classes, then what counts
    targets[:, 1, :, 2] = 1
    targets[0, 1, 1, 0] = 1  # counts
    targets[1, 0, 0, 1] = 1  # does not
    np.testing.assert_array_equal(image_labels(targets), [[1, 0], [0, 0]])
    labels = np.concatenate([batch.targets for batch in epoch(np.arange(11), labels=image_labels)])
    assert labels.shape == (12, 1)


def test_batches_of_16_bits_are_those_of_8_bits_that_they_stand_for():
    """257 v of 65,535 is v of 255, in every mode, mixed and moved."""
    rng = np.random.default_rng(0)
    small = SimpleNamespace(inputs=rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8), targets=arrays(6).targets)
    deep = SimpleNamespace(inputs=small.inputs.astype(np.uint16) * 257, targets=small.targets)
    rescale, rows = Rescale((0.0,), (65535.0,), "uint16"), np.arange(6)
    for mode in NORMALIZATIONS:
        batches = [
            training_batches(
                given,
                rows,
                batch_size=3,
                normalization=mode,
                labels=None,
                augmenter=Augmenter(FLIPS, size=(8, 8), bands=3, planes=2, rescaled=bool(own)),
                seed=1,
                epoch=0,
                mix=[MixConfig(name="cutmix", p=0.5)],
                rescale=own,
            )
            for given, own in ((small, None), (deep, rescale))
        ]
        for one, other in zip(*batches, strict=True):
            np.testing.assert_allclose(other.inputs, one.inputs, rtol=1e-4, atol=1e-4)
            np.testing.assert_array_equal(other.targets, one.targets)
        (one,) = prediction_batches(small, rows, batch_size=6, normalization=mode)
        (other,) = prediction_batches(deep, rows, batch_size=6, normalization=mode, rescale=rescale)
        np.testing.assert_allclose(other.inputs, one.inputs, rtol=1e-4, atol=1e-4)


def test_an_error_in_a_thread_arrives():
    broken = SimpleNamespace(inputs=arrays(2).inputs, targets=arrays().targets)
    with pytest.raises(IndexError):
        list(prediction_batches(broken, np.arange(4), batch_size=2, normalization="unit"))


def test_scalings_by_hand():
    image = np.array([0, 51, 255], np.uint8).reshape(1, 1, 1, 3)
    expected = {
        "unit": [0, 0.2, 1],
        "none": [0, 51, 255],
        "tf": [-1, -0.6, 1],
        "torch": [-0.485 / 0.229, (0.2 - 0.456) / 0.224, (1 - 0.406) / 0.225],
        "lite": [-127 / 128, -76 / 128, 1],
        "caffe": [255 - 103.939, 51 - 116.779, 0 - 123.68],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(normalized(image, name).ravel(), values, rtol=1e-5)
    pair = np.array([10, 30], np.uint8).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(normalized(pair, "per_image").ravel(), [-1, 1], rtol=1e-6)


@pytest.mark.parametrize("name", NORMALIZATIONS)
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 8])
def test_every_scaling_takes_every_band_count(name, bands):
    images = np.full((2, 3, 3, bands), 7, np.uint8)
    values = normalized(images, name)
    assert (values.shape, values.dtype) == (images.shape, np.float32)
    assert np.isfinite(values).all()
    assert (images == 7).all()
