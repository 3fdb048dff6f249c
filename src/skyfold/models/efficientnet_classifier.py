"""EfficientNet B0 to B7 with a head that says for each class whether an image shows it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from skyfold.config.fields import BelowOne
from skyfold.config.options import one_of
from skyfold.models import _published, _sm_compat
from skyfold.models._encoder_layers import mark_encoder
from skyfold.models._weights import PretrainedFamily, with_weights

ENCODERS = [f"efficientnetb{size}" for size in range(8)]
_LEAST_SIDE = 32


class EfficientNetClassifier(PretrainedFamily):
    """encoder_weights: imagenet, none, or a file (for example noisy-student weights without top)."""

    distributions: ClassVar[tuple[str, ...]] = _sm_compat.EFFICIENTNET
    encoder: Annotated[str, one_of(ENCODERS)] = "efficientnetb0"
    dropout: BelowOne = 0.2

    @property
    def published(self) -> str:
        return _published.EFFICIENTNET[self.encoder]

    @property
    def input_normalization(self) -> str:
        return "torch"

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        """A keras.Model from (H, W, C), any size and 1 to 8 bands, to logits (K,), float32 under any precision."""
        import keras

        from skyfold.models import _padding

        height, width, bands = input_shape
        size = _padding.padded_size((height, width), multiple=1, at_least=_LEAST_SIDE)
        constructor = getattr(_sm_compat.efficientnet(), self.encoder.replace("efficientnetb", "EfficientNetB"))

        def network(count: int, weights: str | None) -> Any:
            return constructor(include_top=False, weights=weights, input_shape=(*size, count))

        inner = with_weights(network, bands=bands, source=self.encoder_weights, what=self.encoder)
        mark_encoder(inner.layers)
        _padding.set_batchnorm_momentum(inner, self.batchnorm_momentum)
        image = keras.Input(input_shape, name="image")
        features = inner(_padding.padded(image, size))
        features = keras.layers.GlobalAveragePooling2D(dtype="float32", name="pooled")(features)
        features = keras.layers.Dropout(self.dropout, dtype="float32", name="dropout")(features)
        logits = keras.layers.Dense(classes, dtype="float32", name="logits")(features)
        return keras.Model(image, logits, name=f"classifier_{self.encoder}")


PLUGIN = EfficientNetClassifier
