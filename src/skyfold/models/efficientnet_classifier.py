"""EfficientNet B0 to B7 with a head that says for each class whether an image shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyfold.errors import ConfigError
from skyfold.models._batchnorm import check_momentum, set_batchnorm_momentum
from skyfold.models._weights import check_source, with_weights
from skyfold.plugins import nearest

ENCODERS = [f"efficientnetb{size}" for size in range(8)]
_OPTIONS = ["encoder", "encoder_weights", "dropout", "batchnorm_momentum"]
_LEAST_SIDE = 32


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown encoder or option, with the nearest name, or a dropout outside 0 .. 1."""
    encoder = str(options.get("encoder", "efficientnetb0"))
    if encoder not in ENCODERS:
        raise ConfigError(
            f"model.options.encoder: unknown '{encoder}'{nearest(encoder, ENCODERS)}. There are: {', '.join(ENCODERS)}."
        )
    for name in options:
        if name not in _OPTIONS:
            raise ConfigError(
                f"model.options: efficientnet_classifier has no option '{name}'{nearest(name, _OPTIONS)}. "
                f"Known: {', '.join(_OPTIONS)}."
            )
    dropout = options.get("dropout", 0.2)
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise ConfigError(f"model.options.dropout: {dropout!r} is not a share between 0 and 1.")
    check_momentum(options.get("batchnorm_momentum"))
    check_source(options.get("encoder_weights", "imagenet"), key="model.options.encoder_weights", what=encoder)


def input_normalization(options: Mapping[str, Any]) -> str:
    return "torch"


def build(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    encoder: str = "efficientnetb0",
    encoder_weights: str = "imagenet",
    dropout: float = 0.2,
    batchnorm_momentum: float | None = None,
) -> Any:
    """A keras.Model from (H, W, C), any size and 1 to 8 bands, to logits (K,), float32 under any precision.

    encoder_weights: imagenet, none, or a file (noisy-student weights without top, say). batchnorm_momentum: how slowly
    BatchNorm's statistics follow (its own is 0.99, too slow for a training of a few hundred steps).
    """
    import keras

    from skyfold.models import _padding, _sm_compat

    check({"encoder": encoder, "encoder_weights": encoder_weights, "dropout": dropout})
    height, width, bands = input_shape
    size = _padding.padded_size((height, width), multiple=1, at_least=_LEAST_SIDE)
    constructor = getattr(_sm_compat.efficientnet(), encoder.replace("efficientnetb", "EfficientNetB"))

    def network(count: int, weights: str | None) -> Any:
        return constructor(include_top=False, weights=weights, input_shape=(*size, count))

    inner = with_weights(
        network, bands=bands, source=encoder_weights, what=encoder, key="model.options.encoder_weights"
    )
    set_batchnorm_momentum(inner, batchnorm_momentum)
    image = keras.Input(input_shape, name="image")
    features = inner(_padding.extended(image, size))
    features = keras.layers.GlobalAveragePooling2D(dtype="float32", name="pooled")(features)
    features = keras.layers.Dropout(dropout, dtype="float32", name="dropout")(features)
    logits = keras.layers.Dense(classes, dtype="float32", name="logits")(features)
    return keras.Model(image, logits, name=f"classifier_{encoder}")
