"""Colour threshold, a classical baseline without training: the map is a colour feature of each pixel.

Its threshold is cross-fitted like that of any network.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from skyfold.config.options import one_of
from skyfold.data.colour import FEATURES, colour_plane
from skyfold.models import RuleFamily


class ColourThreshold(RuleFamily):
    """feature: a name in `data.colour.FEATURES`."""

    feature: Annotated[str, one_of(sorted(FEATURES))] = "red_blue_ratio"

    def predict(self, images: np.ndarray, *, classes: int) -> np.ndarray:
        """The same for all K classes. ConfigError as `colour_plane`."""
        return np.repeat(colour_plane(images, self.feature)[..., None], classes, axis=-1)


PLUGIN = ColourThreshold
