"""Autoencoder of maps: convolutions and pooling to a code, and the mirrored decoder, with tied weights or its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


class Encoder(keras.layers.Layer):
    """(B, H, W, C) to (B, codes) in 0 .. 1; each level halves H and W, which are multiples of 2 ** levels.

    map_shape: (h, w, c) of the maps that the code is read from, known after the first call.
    """

    def __init__(self, filters: Sequence[int], codes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.levels = [
            keras.layers.Conv2D(count, 3, padding="same", activation="selu", name=f"conv{level}")
            for level, count in enumerate(filters)
        ]
        self.pool = keras.layers.MaxPooling2D(2, name="pool")
        self.code = keras.layers.Dense(codes, activation="sigmoid", name="code")
        self.map_shape: tuple[int, int, int] = (0, 0, 0)

    def call(self, x: Any) -> Any:
        for conv in self.levels:
            x = self.pool(conv(x))
        self.map_shape = tuple(x.shape[1:])
        flat = math.prod(self.map_shape)
        # A step of Adam moves ten thousands of weights alike: unscaled, all codes are 0 or 1 after the first ones.
        return self.code(ops.reshape(x, (-1, flat)) / flat**0.5)


class Decoder(keras.layers.Layer):
    """(B, codes) to (B, H, W, 1) in 0 .. 1, float32, H and W those of the encoder.

    tied: its kernels are those of the encoder, the Dense one transposed, the convolutions as their transposes; biases
    are its own. The finest kernel is never tied.
    """

    def __init__(self, encoder: Encoder, *, tied: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder, self.tied = encoder, tied

    def build(self, input_shape: tuple[Any, ...]) -> None:
        flat, codes = math.prod(self.encoder.map_shape), self.encoder.code.units
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
