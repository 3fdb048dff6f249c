"""A coarse map takes the edges of the image, and nothing else."""

import numpy as np
import pytest

from skyfold.data.colour import FEATURES, colour_plane
from skyfold.errors import ConfigError
from skyfold.postprocess.guided_filter import guided_filter


def disc(size=60, radius=27):
    rows, columns = np.mgrid[:size, :size] - size / 2
    return (rows**2 + columns**2 < radius**2).astype(np.float32)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def slow(prob, guide, radius, eps):
    """The paper's equations pixel by pixel, windows cut off at the border."""

    def means(values):
        padded = np.pad(values, radius, constant_values=np.nan)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1, 2 * radius + 1))
        return np.nanmean(windows, axis=(2, 3))

    mean_guide, mean_prob = means(guide), means(prob)
    slope = (means(guide * prob) - mean_guide * mean_prob) / (means(guide**2) - mean_guide**2 + eps)
    return means(slope) * guide + means(mean_prob - slope * mean_guide)


def test_equals_the_equations_pixel_by_pixel():
    rng = np.random.default_rng(3)
    prob, guide = rng.random((13, 17, 2)), rng.random((13, 17))
    refined = guided_filter(prob, guide, radius=2, eps=0.01)
    assert refined.dtype == np.float32
    for k in range(2):
        np.testing.assert_allclose(refined[:, :, k], np.clip(slow(prob[:, :, k], guide, 2, 0.01), 0, 1), atol=1e-6)


def test_a_blurred_mask_takes_the_edge_of_the_image():
    import cv2

    rows, columns = np.mgrid[:60, :60]
    truth = ((rows - columns) % 20 < 10).astype(np.float32) * disc()
    blurred = cv2.resize(cv2.resize(truth, (10, 10), interpolation=cv2.INTER_AREA), (60, 60))
    refined = guided_filter(blurred[..., None], 0.3 + 0.2 * truth, radius=6, eps=1e-5)
    before = dice(blurred > 0.5, truth > 0)
    after = dice(refined[:, :, 0] > 0.5, truth > 0)
    assert before < 0.9
    assert after > 0.95


def test_a_constant_map_stays_whatever_the_image():
    prob = np.full((20, 30, 3), 0.3, np.float32)
    guide = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    np.testing.assert_allclose(guided_filter(prob, guide, radius=4, eps=1e-4), prob, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "radius", "eps"), [((4, 5), 1, 1.0), ((3, 5, 2), 1, 1.0), ((4, 5, 2), 0, 1.0), ((4, 5, 2), 1, 0.0)]
)
def test_what_does_not_fit_is_refused(shape, radius, eps):
    with pytest.raises(ValueError, match="expected"):
        guided_filter(np.zeros(shape, np.float32), np.zeros((4, 5), np.float32), radius=radius, eps=eps)


def test_colour_planes_by_hand():
    grey, blue, black = [100, 100, 100], [40, 80, 160], [0, 0, 0]
    images = np.array([[grey, blue, black]], dtype=np.uint8)
    np.testing.assert_allclose(colour_plane(images, "red_blue_ratio"), [[0.5, 40.5 / 201, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(colour_plane(images, "whiteness"), [[1, 41 / 161, 1]], rtol=1e-6)
    np.testing.assert_allclose(colour_plane(images, "lowest_band"), [[100 / 255, 40 / 255, 0]], rtol=1e-6)
    np.testing.assert_allclose(colour_plane(images, "brightness"), [[100 / 255, 280 / 765, 0]], rtol=1e-5)
    assert all(colour_plane(images[None], name).dtype == np.float32 for name in FEATURES)


def test_local_contrast_is_in_standard_deviations_of_the_window():
    image = np.full((40, 40, 3), 100, np.uint8)
    image[20, 20] = [50, 100, 100]  # one pixel of less whiteness: 51/101 = 0.505 instead of 1
    contrast = colour_plane(image, "local_contrast")
    # In a window with one such pixel among 289 the mean is lower by d/289, and the deviation d sqrt(288)/289.
    np.testing.assert_allclose(contrast[20, 20], 1 / (1 + np.exp(288 / np.sqrt(288))), rtol=1e-4)
    np.testing.assert_allclose(contrast[20, 27], 1 / (1 + np.exp(-1 / np.sqrt(288))), rtol=1e-4)
    assert (contrast[:10, :10] == 0.5).all()
    np.testing.assert_array_equal(colour_plane(image[None], "local_contrast")[0], contrast)


def test_missing_bands_are_refused():
    with pytest.raises(ConfigError, match="needs three bands"):
        colour_plane(np.zeros((2, 2, 1), np.uint8), "red_blue_ratio")
