"""Model families, one file each, found by the file name. A file declares one `ModelFamily` as `PLUGIN`.

Keras is not imported before a network is built.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from skyfold.config.options import Options, configured
from skyfold.config.training import ModelConfig

WEIGHTS_KEY = "model.options.encoder_weights"


class ModelFamily(Options):
    """Base of every family; its fields are the keys of `model.options`.

    distributions: pure-Python distributions that its network is built with and few machines have; a bundle brings their
    wheels.
    """

    distributions: ClassVar[tuple[str, ...]] = ()

    @property
    def input_normalization(self) -> str | None:
        """Normalization of images (data/normalization.py) for `normalization: encoder`; None: no pretrained weights."""
        return None

    def require(self) -> None:
        """ConfigError where a package or a file of weights is missing that a run begins with."""

    def init_weights(self) -> str:
        """What pretrained weights are known by, wherever they lie: the SHA-256 of their file, `imagenet:` and the
        published checksum of those that are downloaded; '' where there are none. MissingWeights where the file is
        missing."""
        return ""


class NetworkFamily(ModelFamily):
    """A family that is trained."""

    @abstractmethod
    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        """A keras.Model from (H, W, C), any size.

        Returns float32 logits under any precision, (H, W, K) or (K,) for K = `classes`; a network for forecasts the
        values that its frame adapter asks for, (H, W, L) for L = `classes` lead times. ConfigError where the options do
        not suit the shape.
        """

    def without_pretrained_weights(self) -> NetworkFamily:
        """The same network, layer for layer, randomly initialised."""
        return self


class RuleFamily(ModelFamily):
    """A family that is not trained and predicts from the image: a classical baseline."""

    @abstractmethod
    def predict(self, images: np.ndarray, *, classes: int) -> np.ndarray:
        """images: uint8 (n, H, W, C), red first and blue third. Returns float32 (n, H, W, K), 0 to 1."""


def family_of(model: ModelConfig) -> ModelFamily:
    """The family of a run with its options; ConfigError on a name or an option that is not known, or a wrong value."""
    family: ModelFamily = configured("models", model.family, model.options, where="model.options")
    return family
