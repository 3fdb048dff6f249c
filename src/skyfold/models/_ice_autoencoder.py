"""An autoencoder of maps: convolutions and pooling down to a code, and the same way back, with weights tied or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


class Encoder(keras.layers.Layer):
    """(B, H, W, C) -> (B, codes) in 0 to 1; each level halves H and W, which must be such that they can be halved."""

    def __init__(self, filters: Sequence[int], codes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.levels = [
            keras.layers.Conv2D(count, 3, padding="same", activation="selu", name=f"conv{level}")
            for level, count in enumerate(filters)
        ]
        self.pool = keras.layers.MaxPooling2D(2, name="pool")
        self.code = keras.layers.Dense(codes, activation="sigmoid", name="code")
        self.map_shape: tuple[int, int, int] = (0, 0, 0)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        height, width, channels = input_shape[1:]
        for conv in self.levels:
            conv.build((None, height, width, channels))
            height, width, channels = height // 2, width // 2, conv.filters
        self.map_shape = (height, width, channels)
        self.code.build((None, height * width * channels))
        self.built = True

    def call(self, x: Any) -> Any:
        for conv in self.levels:
            x = self.pool(conv(x))
        flat = x.shape[1] * x.shape[2] * x.shape[3]
        # A step of Adam moves ten thousands of weights alike: unscaled, all codes are 0 or 1 after the first ones.
        return self.code(ops.reshape(x, (-1, flat)) / flat**0.5)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return (input_shape[0], self.code.units)


class Decoder(keras.layers.Layer):
    """(B, codes) -> (B, H, W, 1) in 0 to 1, H and W those the encoder was built for.

    tied: its kernels are the encoder's, the Dense one transposed, the convolutions as their transposes; what is added
    is its own. The finest kernel is never tied, since the encoder's may read several bands.
    """

    def __init__(self, encoder: Encoder, *, tied: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder, self.tied = encoder, tied

    def build(self, input_shape: tuple[Any, ...]) -> None:
        height, width, channels = self.encoder.map_shape
        flat, codes = height * width * channels, self.encoder.code.units
        counts = [conv.filters for conv in self.encoder.levels]
        self.spread_bias = self.add_weight(shape=(flat,), initializer="zeros", name="spread_bias")
        if not self.tied:
            self.spread_kernel = self.add_weight(
                shape=(codes, flat), initializer="glorot_uniform", name="spread_kernel"
            )
        self.kernels, self.biases = [], []
        for level in reversed(range(len(counts))):
            out = counts[level - 1] if level else 1
            self.biases.append(self.add_weight(shape=(out,), initializer="zeros", name=f"bias{level}"))
            tied = self.tied and level > 0
            kernel = (3, 3, out, counts[level])
            self.kernels.append(
                None if tied else self.add_weight(shape=kernel, initializer="glorot_uniform", name=f"kernel{level}")
            )
        self.built = True

    def call(self, codes: Any) -> Any:
        spread = ops.transpose(self.encoder.code.kernel) if self.tied else self.spread_kernel
        x = keras.activations.selu(ops.matmul(codes, ops.cast(spread, codes.dtype)) + self.spread_bias)
        x = ops.reshape(x, (-1, *self.encoder.map_shape))
        convs = self.encoder.levels[::-1]
        for place, (conv, own, bias) in enumerate(zip(convs, self.kernels, self.biases, strict=True)):
            kernel = ops.cast(conv.kernel if own is None else own, x.dtype)
            x = ops.conv_transpose(x, kernel, strides=2, padding="same") + ops.cast(bias, x.dtype)
            x = keras.activations.selu(x) if place + 1 < len(convs) else x
        return ops.sigmoid(ops.cast(x, "float32"))

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        height, width, _ = self.encoder.map_shape
        scale = 2 ** len(self.encoder.levels)
        return (input_shape[0], height * scale, width * scale, 1)
