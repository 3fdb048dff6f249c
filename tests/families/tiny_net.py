"""Two convolutions, with BatchNorm or without, and dropout: a family small enough to train in a test."""

from __future__ import annotations

from skyfold.models import NetworkFamily


class TinyNet(NetworkFamily):
    filters: int = 8
    dropout: float = 0.2
    momentum: float = 0.8
    pooled: bool = False
    normalized: bool = True

    def build(self, *, input_shape, classes):
        import keras

        image = keras.Input(input_shape)
        x = keras.layers.Conv2D(self.filters, 3, padding="same")(image)
        x = keras.layers.BatchNormalization(momentum=self.momentum)(x) if self.normalized else x
        x = keras.layers.Dropout(self.dropout)(keras.layers.ReLU()(x))
        x = keras.layers.GlobalAveragePooling2D()(x) if self.pooled else x
        head = keras.layers.Dense if self.pooled else (lambda k, dtype: keras.layers.Conv2D(k, 1, dtype=dtype))
        return keras.Model(image, head(classes, dtype="float32")(x))


PLUGIN = TinyNet
