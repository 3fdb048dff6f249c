"""Mixed images: parts of others with their masks and counting pixels, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from skyfold.config.augmentation import MixConfig
from skyfold.data.mix import mixed

SIZE = (12, 20)


def sample(value):
    """Every pixel says where it lies and which sample it is of; mask and counting plane say so too."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.stack([rows, columns, np.full(SIZE, value)], axis=-1).astype(np.uint8)
    target = np.stack([(rows + columns + value) % 2, rows % 2, np.full(SIZE, value % 2)], axis=-1).astype(np.uint8)
    return image, target


class Others:
    """Samples 1, 2, 3, ... as they are asked for."""

    def __init__(self):
        self.drawn = 0

    def __call__(self, rng):
        self.drawn += 1
        return sample(self.drawn)


def mix(*names, seed=0, epoch=0, p=1.0, **entry):
    others = Others()
    config = [MixConfig(name=name, p=p, **entry) for name in names]
    return *mixed(*sample(0), config=config, seed=seed, epoch=epoch, another=others), others.drawn


@pytest.mark.parametrize("names", [["cutmix"], ["mosaic"], ["cutmix", "mosaic"]])
def test_targets_stay_with_their_pixels(names):
    for seed in range(30):
        image, target, _ = mix(*names, seed=seed)
        row, column, value = (image[..., band].astype(int) for band in range(3))
        assert image.shape == (*SIZE, 3)
        np.testing.assert_array_equal(target[..., 0], (row + column + value) % 2)
        np.testing.assert_array_equal(target[..., 1], row % 2)
        np.testing.assert_array_equal(target[..., 2], value % 2)


def test_cutmix_pastes_one_rectangle_where_it_was():
    shares = []
    for seed in range(200):
        image, _, drawn = mix("cutmix", seed=seed)
        other = image[..., 2] == 1
        assert drawn == 1
        assert set(np.unique(image[..., 2])) <= {0, 1}
        np.testing.assert_array_equal(image[..., :2], sample(0)[0][..., :2])
        assert other.sum() == other.any(axis=1).sum() * other.any(axis=0).sum()
        shares.append(other.mean())
    # Uniform over 0 .. 1: mean 1/2, standard deviation sqrt(1/12) = 0.289; of 200 the mean has 0.02.
    assert 0.42 < np.mean(shares) < 0.58
    assert 0.24 < np.std(shares) < 0.34


def test_mosaic_has_four_windows_and_the_sample_is_one():
    for seed in range(30):
        image, _, drawn = mix("mosaic", seed=seed)
        assert drawn == 3
        assert set(np.unique(image[..., 2])) == {0, 1, 2, 3}
        for value in range(4):
            rows, columns = np.nonzero(image[..., 2] == value)
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert height * width == len(rows)
            assert height >= SIZE[0] // 4
            assert width >= SIZE[1] // 4
            window = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1, :2].astype(int)
            assert (np.diff(window[..., 0], axis=0) == 1).all()  # in one piece, at its own scale
            assert (np.diff(window[..., 1], axis=1) == 1).all()


def test_the_seed_alone_decides():
    one, again, other = (mix("cutmix", "mosaic", seed=seed)[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_p_is_how_often_and_may_ramp_up():
    ramp = {"start": {"p": 0}, "epochs": [2, 6]}
    often = [
        np.mean([mix("cutmix", seed=seed, epoch=epoch, p=0.8, ramp=ramp)[2] for seed in range(300)])
        for epoch in (0, 1, 3, 5, 9)
    ]
    assert often[:2] == [0, 0]
    assert often == pytest.approx([0, 0, 0.4, 0.8, 0.8], abs=0.08)  # almost three standard deviations of 0.4 in 300
    assert mix("mosaic", p=0.0)[2] == 0


def test_the_sample_stays_as_it_was():
    given = sample(0)
    mixed(*given, config=[MixConfig(name="mosaic", p=1.0)], seed=1, epoch=0, another=Others())
    for part, before in zip(given, sample(0), strict=True):
        np.testing.assert_array_equal(part, before)
