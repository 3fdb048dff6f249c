"""Each frame becomes a code of 256 numbers, a recurrent or attentive core goes on in time, and codes become frames.

The way of a team in the contest of Arctic sea ice: an autoencoder (Conv 16, pool, Conv 32, pool, Dense 256 sigmoid, and
back), between its halves two LSTM of 512 with batch norm, or eight blocks of attention. At the contest's size the two
Dense layers between maps and codes hold nearly all of its 140 million weights.
"""

from __future__ import annotations

from typing import Any, Literal

from skyfold.config.fields import Positive, Positives
from skyfold.models import NetworkFamily, _frames


class IceCodes(NetworkFamily):
    """filters   of the encoder, each at half the size of the one before; the decoder has them the other way round
    codes     numbers that a frame becomes
    tied      the decoder's weights are the encoder's, the other way round; only what is added is its own
    core      "lstm": `layers` of `units`, each with batch norm; "attention": `blocks` of `heads`, with `skips` around
              them; "none": the autoencoder alone, which gives the last L frames as it decodes them
    """

    filters: Positives = (16, 32)
    codes: Positive = 256
    tied: bool = False
    core: Literal["lstm", "attention", "none"] = "lstm"
    units: Positive = 512
    layers: Positive = 2
    blocks: Positive = 8
    heads: Positive = 4
    skips: bool = True

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        """A keras.Model from frames to (H, W, L) from 0 to 1, float32, of any size.

        A core says at each of the last L frames what comes in its place, L = `classes`; there are at least so many.
        """
        from keras import ops

        from skyfold.models import _padding
        from skyfold.models._ice_autoencoder import Decoder, Encoder

        _frames.require_frames("ice_codes", input_shape[-1], classes)
        encoder = Encoder(self.filters, self.codes, name="encoder")
        decoder = Decoder(encoder, tied=self.tied, name="decoder")

        def forecast(image: Any) -> Any:
            frames = _frames.apart(image)
            if self.core == "none":
                frames = frames[:, -classes:]
            x = _frames.unfolded(encoder(_frames.folded(frames)), frames.shape[1])
            if self.core == "lstm":
                x = _recurrent(x, self.units, self.layers, self.codes)
            elif self.core == "attention":
                x = _attentive(x, self.blocks, self.heads, self.codes, self.skips)
            frames = _frames.beside(_frames.unfolded(decoder(_frames.folded(x[:, -classes:])), classes))
            return ops.cast(frames, "float32")

        return _padding.padded_model(input_shape, forecast, multiple=2 ** len(self.filters), name="ice_codes")


PLUGIN = IceCodes


def _recurrent(x: Any, units: int, layers: int, codes: int) -> Any:
    """(B, T, codes) -> (B, T, codes)."""
    import keras

    for layer in range(layers):
        x = keras.layers.LSTM(units, return_sequences=True, name=f"lstm{layer}")(x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"lstm{layer}_norm")(x)
    return keras.layers.Dense(codes, activation="sigmoid", name="codes")(x)


def _attentive(x: Any, blocks: int, heads: int, codes: int, skips: bool) -> Any:
    """(B, T, codes) -> (B, T, codes)."""
    import keras

    for block in range(blocks):
        before = x
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"block{block}_norm_a")(x)
        attention = keras.layers.MultiHeadAttention(heads, max(1, codes // heads), name=f"block{block}_attention")
        x = attention(x, x)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"block{block}_norm_b")(x)
        x = keras.layers.Dense(codes, activation="selu", name=f"block{block}_dense")(x)
        x = keras.layers.Add(name=f"block{block}_skip")([before, x]) if skips else x
    return x
