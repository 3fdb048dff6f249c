"""Normalization of the images that a run reads, and whether it fits its pretrained weights."""

from __future__ import annotations

from skyfold import plugins
from skyfold.config.run import RunConfig
from skyfold.data.normalization import NORMALIZATIONS
from skyfold.errors import ConfigError


def normalization_of(config: RunConfig) -> str | None:
    """The mode of `data.normalization.NORMALIZATIONS` that the config asks for; None where it reads no image.

    ConfigError where pretrained weights would see other values than they were trained on.
    """
    if config.image is None:
        return None
    family = plugins.load("models", config.model.family)
    if not hasattr(family, "input_normalization"):
        if config.image.normalization == "encoder":
            raise ConfigError(
                f"image.normalization: family '{config.model.family}' has no pretrained weights. Set it to one of "
                f"{', '.join(NORMALIZATIONS)}."
            )
        return config.image.normalization
    own: str = family.input_normalization(config.model.options)
    chosen = own if config.image.normalization == "encoder" else config.image.normalization
    weights = config.model.options.get("encoder_weights", "imagenet")
    if weights in ("imagenet", "ukis_csmask") and chosen != own:
        raise ConfigError(
            f"image.normalization: {chosen} does not fit the {weights} weights of this encoder, which were trained "
            f"with {own}. Set image.normalization: encoder."
        )
    return chosen
