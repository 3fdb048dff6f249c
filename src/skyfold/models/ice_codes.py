"""Each frame becomes a code of 256 numbers, a recurrent or attentive core goes on in time, and codes become frames.

The way of a team in the contest of Arctic sea ice: an autoencoder (Conv 16, pool, Conv 32, pool, Dense 256 sigmoid, and
back), between its halves two LSTM of 512 with batch norm, or eight blocks of attention. At the contest's size the two
Dense layers between maps and codes hold nearly all of its 140 million weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skyfold.errors import ConfigError
from skyfold.models import _blocks, _frames
from skyfold.plugins import nearest

CORES = ("lstm", "attention", "none")
_OPTIONS = ["filters", "codes", "tied", "core", "units", "layers", "blocks", "heads", "skips", "bands"]
_FILTERS = (16, 32)


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option or core, counts that are no whole numbers from 1, flags that are none."""
    _blocks.check_known(options, _OPTIONS, family="ice_codes")
    _blocks.check_some_counts(options, "filters")
    _blocks.check_counts(options, "codes", "units", "layers", "blocks", "heads", "bands")
    core = options.get("core", "lstm")
    if core not in CORES:
        raise ConfigError(
            f"model.options.core: {core!r}{nearest(str(core), list(CORES))} is none of {', '.join(CORES)}."
        )
    for name in ("tied", "skips"):
        if not isinstance(options.get(name, True), bool):
            raise ConfigError(f"model.options.{name}: {options[name]!r} is neither true nor false.")


def build(
    *,
    input_shape: tuple[int, int, int],
    classes: int = 1,
    filters: Sequence[int] = _FILTERS,
    codes: int = 256,
    tied: bool = False,
    core: str = "lstm",
    units: int = 512,
    layers: int = 2,
    blocks: int = 8,
    heads: int = 4,
    skips: bool = True,
    bands: int = 1,
) -> Any:
    """A keras.Model from frames side by side (H, W, T x bands), oldest first, to (H, W, L) from 0 to 1, float32, of any
    size.

    filters   of the encoder, each at half the size of the one before; the decoder has them the other way round
    codes     numbers that a frame becomes
    tied      the decoder's weights are the encoder's, the other way round; only what is added is its own
    core      "lstm": `layers` of `units`, each with batch norm; "attention": `blocks` of `heads`, with `skips` around
              them; "none": the autoencoder alone, which gives the last L frames as it decodes them
    A core says at each of the last L frames what comes in its place, L = `classes`; there are at least so many.
    """
    import keras
    from keras import ops

    from skyfold.models import _padding
    from skyfold.models._ice_autoencoder import Decoder, Encoder

    check({"filters": list(filters), "codes": codes, "tied": tied, "core": core, "units": units, "layers": layers})
    check({"blocks": blocks, "heads": heads, "skips": skips, "bands": bands})
    height, width, channels = input_shape
    steps = _frames.count_frames(channels, bands, family="ice_codes")
    if steps < classes:
        raise ConfigError(
            f"model.family: ice_codes forecasts {classes} frames from as many or more, and sees {steps}. Let the view "
            "show more."
        )
    encoder = Encoder(filters, codes, name="encoder")
    decoder = Decoder(encoder, tied=tied, name="decoder")

    def forecast(image: Any) -> Any:
        frames = _frames.apart(image, bands)
        if core == "none":
            frames = frames[:, -classes:]
        x = _frames.unfolded(encoder(_frames.folded(frames)), frames.shape[1])
        if core == "lstm":
            x = _recurrent(x, units, layers, codes)
        elif core == "attention":
            x = _attentive(x, blocks, heads, codes, skips)
        return _frames.beside(_frames.unfolded(decoder(_frames.folded(x[:, -classes:])), classes))

    image = keras.Input(input_shape, name="frames")
    size = _padding.padded_size((height, width), multiple=2 ** len(filters))
    said = _padding.in_padded_size(image, forecast, size)
    return keras.Model(image, ops.cast(said, "float32"), name="ice_codes")


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
