"""A convolution with pretrained weights and a head: a family that begins with a file of weights, small enough to train
in a test."""

from __future__ import annotations

from skyfold.models._weights import check_source, with_weights

KEY = "model.options.encoder_weights"


def check(options):
    check_source(options.get("encoder_weights", "none"), key=KEY, what="tiny")


def encoder(bands):
    import keras

    image = keras.Input((16, 24, bands))
    x = keras.layers.Conv2D(4, 3, padding="same", name="stem")(image)
    return keras.Model(image, keras.layers.BatchNormalization(name="norm")(x))


def build(*, input_shape, classes, encoder="tiny", encoder_weights="none"):
    import keras

    bands = input_shape[-1]
    inner = with_weights(_with_file, bands=bands, source=encoder_weights, what=encoder, key=KEY)
    logits = keras.layers.Conv2D(classes, 1, dtype="float32", name="head")(inner.output)
    return keras.Model(inner.input, logits)


def _with_file(bands, file):
    network = encoder(bands)
    if file is not None:
        network.load_weights(file)
    return network
