"""RainNet (Ayzel, Scheffer and Heistermann 2020): a U-Net of four poolings from frames to the next one.

The published network (doi.org/10.5194/gmd-13-2631-2020) predicts rain itself. Here it corrects the last frame, and its
layer of two maps is leaky: with ReLU both maps can die, and some seeds never learn.
"""

from __future__ import annotations

from typing import Any

from skyfold.config.fields import BelowOne, Positive
from skyfold.models import NetworkFamily, _blocks, _frames

_POOLINGS = 4
_LEAKY_SLOPE = 0.1


class RainNet(NetworkFamily):
    """width: filters at full size, doubled at each of four poolings; 64 is the published network. dropout: rate, of the
    two coarsest levels."""

    width: Positive = 64
    dropout: BelowOne = 0.5

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        import keras

        filters = [self.width * 2**level for level in range(_POOLINGS + 1)]

        def convolved(x: Any, count: int, name: str) -> Any:
            return keras.layers.Conv2D(
                count, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=name
            )(x)

        def rain_of(x: Any) -> Any:
            x = _blocks.u_net(x, filters, convolved, transposed=False, dropout=self.dropout, dropped_levels=2)
            x = keras.layers.Conv2D(2 * classes, 3, padding="same", kernel_initializer="he_normal", name="two")(x)
            x = keras.layers.LeakyReLU(negative_slope=_LEAKY_SLOPE, name="two_leaky")(x)
            return _frames.correction(classes)(x)

        return _frames.correcting_model(input_shape, rain_of, multiple=2**_POOLINGS, name="rainnet")


PLUGIN = RainNet
