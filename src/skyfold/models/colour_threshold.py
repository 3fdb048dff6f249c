"""A classical baseline without training: how cloud-like a pixel's colour is, to be thresholded after cross-fitting.

Clouds scatter all colours alike, clear sky and water mostly blue (Long et al. 2006, all-sky imagers), so that the ratio
of red to blue, or the brightness alone, parts them. The threshold is fitted like that of any network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from skyfold.errors import ConfigError
from skyfold.plugins import nearest


def _red_blue_ratio(images: np.ndarray) -> np.ndarray:
    """red / (red + blue), which grows with red / blue and stays in 0 .. 1; 0.5 where both are 0."""
    red, blue = images[..., 0].astype(np.float32), images[..., 2].astype(np.float32)
    return (red + 0.5) / (red + blue + 1.0)


def _brightness(images: np.ndarray) -> np.ndarray:
    return images.mean(axis=-1, dtype=np.float32) / 255.0


def _lowest_band(images: np.ndarray) -> np.ndarray:
    """What is white is high in every band."""
    return images.min(axis=-1).astype(np.float32) / 255.0


FEATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "red_blue_ratio": _red_blue_ratio,
    "brightness": _brightness,
    "lowest_band": _lowest_band,
}


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown feature or option."""
    for name in options:
        if name != "feature":
            raise ConfigError(f"model.options: colour_threshold has no option '{name}'. Known: feature.")
    feature = str(options.get("feature", "red_blue_ratio"))
    if feature not in FEATURES:
        known = sorted(FEATURES)
        raise ConfigError(
            f"model.options.feature: unknown '{feature}'{nearest(feature, known)}. There are: {', '.join(known)}."
        )


def input_scaling(options: Mapping[str, Any]) -> str:
    return "unit"


def predict(images: np.ndarray, *, classes: int, feature: str = "red_blue_ratio") -> np.ndarray:
    """images: uint8 (n, H, W, C), red first and blue third. Returns float32 (n, H, W, K), the same for all K classes.

    ConfigError with fewer than three bands, where the feature needs red and blue.
    """
    if feature == "red_blue_ratio" and images.shape[-1] < 3:
        raise ConfigError(f"feature red_blue_ratio needs three bands, the images have {images.shape[-1]}.")
    plane = FEATURES[feature](images)
    return np.repeat(plane[..., None], classes, axis=-1)
