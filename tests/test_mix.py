"""CutMix: part of another image with its masks and valid pixels, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from skyfold.config.training import MixConfig
from skyfold.data.mix import mixed

SIZE = (12, 20)


def sample(value):
    """Every pixel says where it lies and which sample it is of; mask and valid plane say so too."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.stack([rows, columns, np.full(SIZE, value)], axis=-1).astype(np.uint8)
    target = np.stack([(rows + columns + value) % 2, rows % 2, np.full(SIZE, value % 2)], axis=-1).astype(np.uint8)
    return image, target


def mix(*, seed=0, p=1.0, times=1):
    """The mixed image and target, and how many other samples (1, 2, ...) were drawn."""
    drawn = []

    def another(rng):
        drawn.append(len(drawn) + 1)
        return sample(drawn[-1])

    given = sample(0)
    found = mixed(*given, config=[MixConfig(name="cutmix", p=p)] * times, seed=seed, another=another)
    for part, before in zip(given, sample(0), strict=True):
        np.testing.assert_array_equal(part, before)
    return *found, len(drawn)


@pytest.mark.parametrize("times", [1, 2])
def test_targets_stay_with_their_pixels(times):
    for seed in range(30):
        image, target, _ = mix(seed=seed, times=times)
        row, column, value = (image[..., band].astype(int) for band in range(3))
        assert image.shape == (*SIZE, 3)
        np.testing.assert_array_equal(target[..., 0], (row + column + value) % 2)
        np.testing.assert_array_equal(target[..., 1], row % 2)
        np.testing.assert_array_equal(target[..., 2], value % 2)


def test_cutmix_pastes_one_rectangle_where_it_was():
    fractions = []
    for seed in range(200):
        image, _, drawn = mix(seed=seed)
        other = image[..., 2] == 1
        assert drawn == 1
        assert set(np.unique(image[..., 2])) <= {0, 1}
        np.testing.assert_array_equal(image[..., :2], sample(0)[0][..., :2])
        assert other.sum() == other.any(axis=1).sum() * other.any(axis=0).sum()
        fractions.append(other.mean())
    # Uniform over 0 .. 1: mean 1/2, standard deviation sqrt(1/12) = 0.289; of 200 the mean has 0.02.
    assert 0.42 < np.mean(fractions) < 0.58
    assert 0.24 < np.std(fractions) < 0.34


def test_the_seed_alone_decides():
    one, again, other = (mix(seed=seed)[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_p_is_the_probability():
    often = np.mean([mix(seed=seed, p=0.8)[2] for seed in range(300)])
    assert often == pytest.approx(0.8, abs=0.08)  # almost three standard deviations of 0.4 in 300
    assert mix(p=0.0)[2] == 0
