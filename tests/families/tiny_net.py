"""Two convolutions, with BatchNorm or without, and dropout: a family small enough to train in a test."""

from __future__ import annotations


def check(options):
    return None


def build(*, input_shape, classes, filters=8, dropout=0.2, momentum=0.8, pooled=False, normalized=True):
    import keras

    image = keras.Input(input_shape)
    x = keras.layers.Conv2D(filters, 3, padding="same")(image)
    x = keras.layers.BatchNormalization(momentum=momentum)(x) if normalized else x
    x = keras.layers.Dropout(dropout)(keras.layers.ReLU()(x))
    x = keras.layers.GlobalAveragePooling2D()(x) if pooled else x
    head = keras.layers.Dense if pooled else (lambda k, dtype: keras.layers.Conv2D(k, 1, dtype=dtype))
    return keras.Model(image, head(classes, dtype="float32")(x))
