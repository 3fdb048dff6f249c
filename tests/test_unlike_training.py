"""Images whose bands lie far outside those of the training images are told from others."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from skyfold.data.cache import TrainingArrays
from skyfold.data.unlike_training import band_statistics, far_outside, limits_of


def arrays_of(images, defined=None):
    return TrainingArrays(np.arange(len(images)).astype(str), images, None, defined=defined)


def test_statistics_are_of_the_defined_pixels_of_each_band():
    images = np.array([[[[1, 10], [3, 30]]], [[[5, 50], [7, 7]]]], dtype=np.uint8)
    found = band_statistics(arrays_of(images), 2)
    assert found.tolist() == [[[2, 20], [1, 10]], [[6, 28.5], [1, 21.5]]]
    defined = np.array([[[True, True]], [[True, False]]])
    assert band_statistics(arrays_of(images, defined), 2)[1].tolist() == [[5, 50], [0, 0]]
    assert np.isnan(band_statistics(arrays_of(images, ~defined), 2)[0]).all()


def test_an_image_is_named_beyond_the_outer_fences_and_beyond_every_training_image():
    training = np.array([[[value], [1.0]] for value in (0.0, 10.0, 20.0, 30.0, 200.0)])
    limits = limits_of(training)  # quartiles 10 and 30; fences -50 and 90, and 200 is a training image
    assert limits == {"low": [[-50.0], [1.0]], "high": [[200.0], [1.0]]}
    images = np.array([[[-51.0], [1.0]], [[-50.0], [1.0]], [[200.0], [1.0]], [[20.0], [1.5]], [[np.nan], [np.nan]]])
    assert far_outside(images, limits) == {
        0: "mean of band 1 is -51, of the training images -50 to 200",
        3: "standard deviation of band 1 is 1.5, of the training images 1 to 1",
    }
    assert not far_outside(training, limits)


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "most"), [("wsiseg", 0.01), ("l8biome_rgb", 0.02)])
def test_few_images_of_the_same_source_are_named_and_black_ones_always(name, most):
    """Held out in five random folds: 0.4 % of 320 all-sky images and 0.6 % of 60 Landsat patches, of 20 draws."""
    folder = Path(os.environ.get("SKYFOLD_DATA", "none")) / name / "images"
    if not folder.is_dir():
        pytest.skip(f"needs {name} below $SKYFOLD_DATA")
    read = [cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_4) for path in sorted(folder.iterdir())]
    images = np.stack([cv2.resize(image, (128, 96), interpolation=cv2.INTER_AREA) for image in read])
    statistics = band_statistics(arrays_of(images), len(images))
    rng, rates = np.random.default_rng(0), []
    for _ in range(20):
        fold = rng.permutation(len(images)) % 5
        named = [len(far_outside(statistics[fold == k], limits_of(statistics[fold != k]))) for k in range(5)]
        rates.append(sum(named) / len(images))
    assert np.mean(rates) <= most
    black = band_statistics(arrays_of(np.zeros_like(images[:1])), 1)
    assert far_outside(black, limits_of(statistics))
