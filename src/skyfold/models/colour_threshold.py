"""A classical baseline without training: how cloud-like a pixel's colour is, to be thresholded after cross-fitting.

The threshold is fitted like that of any network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skyfold.data.colour import FEATURES, colour_plane
from skyfold.errors import ConfigError
from skyfold.plugins import nearest


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


def input_normalization(options: Mapping[str, Any]) -> str:
    return "unit"


def predict(images: np.ndarray, *, classes: int, feature: str = "red_blue_ratio") -> np.ndarray:
    """images: uint8 (n, H, W, C), red first and blue third. Returns float32 (n, H, W, K), the same for all K classes.

    ConfigError as `colour_plane`.
    """
    return np.repeat(colour_plane(images, feature)[..., None], classes, axis=-1)
