"""Normalization of images to the values a network reads: the modes of Keras' `preprocess_input`, and others.

Images are bytes, or 0 .. 1 as `image.rescale` gives them; a mode means the same for both, 255 being 1.

unit         0 .. 1
none         0 .. 255, for encoders whose first layer normalizes (ResNet, ResNeXt of segmentation-models)
tf           -1 .. 1 (Inception, MobileNet)
torch        0 .. 1, minus ImageNet's mean, over its standard deviation, per band (EfficientNet, SE-ResNet50 and larger)
lite         0 .. 255, minus 127, over 128 (EfficientNet-Lite)
caffe        0 .. 255, bands in the order BGR, minus ImageNet's mean (VGG)
reflectance  0 .. 1, minus the mean, over the standard deviation, per band (red, green, blue, near infrared), of the
             satellite scenes that ukis-csmask was trained on; bytes are 255 x the top-of-atmosphere reflectance
per_image    each band of each image with mean 0 and standard deviation 1
"""

from __future__ import annotations

import numpy as np

NORMALIZATIONS = ("unit", "none", "tf", "torch", "lite", "caffe", "reflectance", "per_image")
BYTE_MODES = ("none", "lite", "caffe", "per_image")  # computed on 0 .. 255

_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
_MEAN_AND_DEVIATION = {
    "torch": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # The statistics beside the package's model for four bands at the top of the atmosphere (model_4b_l1c.json).
    "reflectance": ((0.2698015, 0.2556644, 0.2755225, 0.3343122), (0.2537152, 0.2275747, 0.2448800, 0.2321379)),
}


def normalized(images: np.ndarray, normalization: str | None) -> np.ndarray:
    """Normalize images (n, H, W, C), uint8 or float32 in 0 .. 1; None: keep the numbers. Returns float32 of this shape.

    ImageNet's statistics exist for three bands, those of reflectance for four; further bands take their mean, and so do
    one or two bands. A band without contrast becomes 0 under `per_image`.
    """
    values = images.astype(np.float32, copy=False)
    if normalization is None:
        return values
    bands, of_bytes = values.shape[-1], images.dtype == np.uint8
    if normalization in BYTE_MODES and not of_bytes:
        values = values * np.float32(255)
    if normalization == "none":
        return values
    if normalization == "lite":
        return (values - np.float32(127)) / np.float32(128)
    if normalization == "caffe":
        values = values[..., [2, 1, 0, *range(3, bands)]] if bands >= 3 else values
        return values - _per_band(_CAFFE_MEAN_BGR, bands)
    if normalization == "per_image":
        mean = values.mean(axis=(1, 2), keepdims=True)
        deviation = values.std(axis=(1, 2), keepdims=True)
        return (values - mean) / np.maximum(deviation, np.float32(1e-3))
    values = values / np.float32(255) if of_bytes else values
    if normalization in _MEAN_AND_DEVIATION:
        mean, deviation = (_per_band(figures, bands) for figures in _MEAN_AND_DEVIATION[normalization])
        return (values - mean) / deviation
    return values * np.float32(2) - np.float32(1) if normalization == "tf" else values


def _per_band(figures: tuple[float, ...], bands: int) -> np.ndarray:
    mean = sum(figures) / len(figures)
    chosen = [*figures[:bands], *[mean] * (bands - len(figures))] if bands >= 3 else [mean] * bands
    return np.asarray(chosen, dtype=np.float32)
