"""Training an encoder apart from the rest: which configs ask for it, and the layers that do not learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skyfold.config.run import RunConfig
from skyfold.errors import ConfigError
from skyfold.models import family_of
from skyfold.models._weights import PretrainedFamily


def require_encoder(config: RunConfig) -> None:
    """ConfigError where the config trains an encoder apart, and the model has none."""
    training = config.training
    asked = {
        "optimizer.encoder_lr_factor": config.optimizer.encoder_lr_factor != 1,
        "training.freeze_encoder_epochs": training.freeze_encoder_epochs > 0,
        "training.freeze_encoder_batchnorm": training.freeze_encoder_batchnorm,
    }
    keys = [key for key, given in asked.items() if given]
    if keys and not isinstance(family_of(config.model), PretrainedFamily):
        raise ConfigError(f"{keys[0]}: model.family {config.model.family} has no encoder. Remove it.")


class FrozenEncoder:
    """The layers of an encoder, which learn or are frozen as a whole.

    batchnorm: whether its BatchNorm layers stay in inference mode when the others learn.
    """

    def __init__(self, layers: Sequence[Any], *, batchnorm: bool) -> None:
        import keras

        self._layers = layers
        self._learns = [
            layer.trainable and not (batchnorm and isinstance(layer, keras.layers.BatchNormalization))
            for layer in layers
        ]

    def set_frozen(self, frozen: bool) -> None:
        """A network uses what is set here when its training step is traced."""
        for layer, learns in zip(self._layers, self._learns, strict=True):
            layer.trainable = learns and not frozen
