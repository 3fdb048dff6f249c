"""Normalization of the images that a run reads, and whether it fits its pretrained weights."""

from __future__ import annotations

from skyfold.config.run import RunConfig
from skyfold.data.normalization import NORMALIZATIONS
from skyfold.errors import ConfigError
from skyfold.models import RuleFamily, family_of


def normalization_of(config: RunConfig) -> str | None:
    """The mode of `data.normalization.NORMALIZATIONS` that the config asks for; None where it reads no image.

    ConfigError where pretrained weights would see other values than they were trained on.
    """
    if config.image is None:
        return None
    family, asked = family_of(config.model), config.image.normalization
    if isinstance(family, RuleFamily) and (config.image.rescale or config.image.neighbours):
        key = "rescale" if config.image.rescale else "neighbours"
        raise ConfigError(
            f"image.{key} is not supported by model family {config.model.family}, which reads the stored bytes. "
            "Remove it."
        )
    if isinstance(family, RuleFamily) and asked != "unit":
        raise ConfigError(
            f"image.normalization: {asked} is not supported by model family {config.model.family}, which reads the "
            "stored bytes. Remove it."
        )
    own = family.input_normalization
    if own is None:
        if asked == "encoder":
            raise ConfigError(
                f"image.normalization: family '{config.model.family}' has no pretrained weights. Set it to one of "
                f"{', '.join(NORMALIZATIONS)}."
            )
        return asked
    chosen = own if asked == "encoder" else asked
    weights = getattr(family, "encoder_weights", "imagenet")
    if weights in ("imagenet", "ukis_csmask") and chosen != own:
        raise ConfigError(
            f"image.normalization: {chosen} does not fit the {weights} weights of this encoder, which were trained "
            f"with {own}. Set image.normalization: encoder."
        )
    return chosen
