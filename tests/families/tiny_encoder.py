"""A convolution with pretrained weights and a head: a family that begins with a file of weights, small enough to train
in a test."""

from __future__ import annotations

from skyfold.models._encoder_layers import mark_encoder
from skyfold.models._weights import PretrainedFamily, with_weights


class TinyEncoder(PretrainedFamily):
    encoder: str = "tiny"
    encoder_weights: str = "none"

    def build(self, *, input_shape, classes):
        import keras

        inner = with_weights(_with_file, bands=input_shape[-1], source=self.encoder_weights, what=self.encoder)
        mark_encoder(inner.layers)
        logits = keras.layers.Conv2D(classes, 1, dtype="float32", name="head")(inner.output)
        return keras.Model(inner.input, logits)


PLUGIN = TinyEncoder


def encoder(bands):
    import keras

    image = keras.Input((16, 24, bands))
    x = keras.layers.Conv2D(4, 3, padding="same", name="stem")(image)
    return keras.Model(image, keras.layers.BatchNormalization(name="norm")(x))


def _with_file(bands, file):
    network = encoder(bands)
    if file is not None:
        network.load_weights(file)
    return network
