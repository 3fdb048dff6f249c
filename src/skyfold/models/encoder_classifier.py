"""Any encoder with a head that says for each class whether an image shows it."""

from __future__ import annotations

from typing import Any

from skyfold.config.fields import BelowOne
from skyfold.models._encoders import MULTIPLE, EncoderFamily, encoder_maps


class EncoderClassifier(EncoderFamily):
    """dropout: rate, of the deepest maps' mean over the image."""

    encoder: str = "efficientnetlite0"
    dropout: BelowOne = 0.2

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        """A keras.Model from (H, W, C), any size and number of bands, to logits (K,), float32 under any precision."""
        import keras

        from skyfold.models import _padding

        image = keras.Input(input_shape, name="image")
        size = _padding.padded_size(input_shape[:2], multiple=MULTIPLE)
        network = keras.Model(
            image, self.logits(_padding.padded(image, size), classes), name=f"classifier_{self.encoder}"
        )
        _padding.set_batchnorm_momentum(network, self.batchnorm_momentum)
        return network

    def logits(self, image: Any, classes: int) -> Any:
        """Logits (B, classes), float32."""
        import keras

        x = encoder_maps(image, self.encoder, weights=self.encoder_weights).deep
        x = keras.layers.GlobalAveragePooling2D(dtype="float32", name="pooled")(x)
        x = keras.layers.Dropout(self.dropout, dtype="float32", name="dropout")(x)
        return keras.layers.Dense(classes, dtype="float32", name="logits")(x)


PLUGIN = EncoderClassifier
