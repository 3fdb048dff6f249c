"""Normalization of stored bytes to the values a network reads: the modes of Keras' `preprocess_input`, and others.

unit       0 .. 1
none       0 .. 255, for encoders whose first layer normalises (ResNet, ResNeXt of segmentation-models)
tf         -1 .. 1 (Inception, MobileNet)
torch      0 .. 1, minus ImageNet's mean, over its deviation, a band (EfficientNet, SE-ResNet50 and larger)
caffe      0 .. 255, bands in the order BGR, minus ImageNet's mean (VGG)
reflectance  0 .. 1, minus the mean over its deviation, a band (red, green, blue, near infrared), of the satellite
scenes
           that ukis-csmask was trained on; bytes are 255 x the reflectance at the top of the atmosphere
per_image  each image's bands with mean 0 and deviation 1
"""

from __future__ import annotations

import numpy as np

NORMALIZATIONS = ("unit", "none", "tf", "torch", "caffe", "reflectance", "per_image")

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
# From the statistics beside the package's model for four bands at the top of the atmosphere (model_4b_l1c.json).
_REFLECTANCE_MEAN = (0.2698015, 0.2556644, 0.2755225, 0.3343122)
_REFLECTANCE_DEVIATION = (0.2537152, 0.2275747, 0.2448800, 0.2321379)


def normalized(images: np.ndarray, normalization: str | None) -> np.ndarray:
    """images uint8 (n, H, W, C). Returns float32 of the same shape; scaling None: the numbers as they are.

    ImageNet's figures exist for three bands, those of reflectance for four; a band beyond them takes their mean, a
    single or double band too.
    A band without contrast becomes 0 under `per_image`.
    """
    if normalization is None:
        return images.astype(np.float32, copy=False)
    values = images.astype(np.float32)
    if normalization == "none":
        return values
    if normalization == "caffe":
        values = values[..., [2, 1, 0, *range(3, values.shape[-1])]] if values.shape[-1] >= 3 else values
        return values - _per_band(_CAFFE_MEAN_BGR, values.shape[-1])
    if normalization == "per_image":
        mean = values.mean(axis=(1, 2), keepdims=True)
        deviation = values.std(axis=(1, 2), keepdims=True)
        return (values - mean) / np.maximum(deviation, np.float32(1e-3))
    values /= np.float32(255)
    if normalization == "tf":
        return values * np.float32(2) - np.float32(1)
    if normalization == "torch":
        bands = values.shape[-1]
        return (values - _per_band(_IMAGENET_MEAN, bands)) / _per_band(_IMAGENET_DEVIATION, bands)
    if normalization == "reflectance":
        bands = values.shape[-1]
        return (values - _per_band(_REFLECTANCE_MEAN, bands)) / _per_band(_REFLECTANCE_DEVIATION, bands)
    if normalization != "unit":
        raise ValueError(f"unknown scaling '{normalization}'; there are {', '.join(NORMALIZATIONS)}")
    return values


def _per_band(figures: tuple[float, ...], bands: int) -> np.ndarray:
    mean = sum(figures) / len(figures)
    chosen = [*figures[:bands], *[mean] * (bands - len(figures))] if bands >= 3 else [mean] * bands
    return np.asarray(chosen, dtype=np.float32)
