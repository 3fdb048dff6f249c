"""A small network that corrects a simple forecast of each lead time: a U-Net for the surroundings, 1 x 1 convolutions.

It reads the maps of the frame adapter `anomalies`. All lead times share the weights, since years are few and anomalies
mean much the same in every month; the lead time is an input, as its place on a circle (that of the year where twelve
months are forecast). The surroundings are read on coarser maps, so that the finest ones cost little. Untrained it is
the simple forecast itself.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from skyfold.config.fields import BelowOne, Positive, Positives
from skyfold.errors import ConfigError
from skyfold.models import NetworkFamily

LEAKY_SLOPE = 0.1


class AnomalyUnet(NetworkFamily):
    """Options of the network.

    filters       of the U-Net's maps at half the size, a quarter, and so on
    cell_filters  of the 1 x 1 convolutions
    dropout       rate of spatial dropout, of the coarsest maps
    shared        number of input maps that belong to all lead times
    """

    filters: Positives = (24, 32, 48)
    cell_filters: Positive = 32
    dropout: BelowOne = 0.1
    shared: Annotated[int, Field(ge=0)] = 4

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        """A keras.Model from maps (H, W, C) to (H, W, L) for L = `classes` lead times, float32, any size.

        C is as many maps for each lead time, those of the first lead time first, and at the end the `shared` ones. The
        first map of each lead time is the forecast to correct.
        """
        import keras
        from keras import ops

        from skyfold.models import _frames, _padding

        channels = input_shape[-1]
        own, rest = divmod(channels - self.shared, classes)
        if own < 1 or rest:
            raise ConfigError(
                f"model.options.shared: {channels} maps, {self.shared} of them for all lead times, are not as many for "
                f"each of {classes}. Set it to what the frame adapter shows; the frame adapter anomalies: 4."
            )
        angle = 2 * np.pi * (np.arange(classes) + 0.5) / classes
        circle = np.stack([np.sin(angle), np.cos(angle)], axis=-1)[:, None, None].astype(np.float32)  # (L, 1, 1, 2)

        def convolved(x: Any, count: int, kernel: int, name: str) -> Any:
            x = keras.layers.Conv2D(count, kernel, padding="same", kernel_initializer="he_normal", name=name)(x)
            return keras.layers.LeakyReLU(negative_slope=LEAKY_SLOPE, name=f"{name}_leaky")(x)

        def around(x: Any) -> Any:
            finer = []
            for level, count in enumerate(self.filters):
                x = convolved(keras.layers.AveragePooling2D(2, name=f"down{level}_pooled")(x), count, 3, f"down{level}")
                finer.append(x)
            x = keras.layers.SpatialDropout2D(self.dropout, name="bottom_dropout")(finer.pop())
            x = convolved(x, self.filters[-1], 3, "bottom")
            for level, count in reversed(list(enumerate(self.filters[:-1]))):
                x = keras.layers.UpSampling2D(2, name=f"up{level}_wide")(x)
                x = keras.layers.Concatenate(name=f"up{level}_joined")([finer.pop(), x])
                x = convolved(x, count, 3, f"up{level}")
            x = keras.layers.Conv2D(self.cell_filters // 2 or 1, 1, name="around")(x)
            return keras.layers.UpSampling2D(2, interpolation="bilinear", name="around_wide")(x)

        def correction_of(maps: Any) -> Any:
            x = _frames.apart(maps[..., : classes * own], own)
            for_all = ops.repeat(ops.expand_dims(maps[..., classes * own :], 1), classes, axis=1)
            x = _frames.folded(
                ops.concatenate([x, for_all, ops.zeros_like(x[..., :2]) + ops.cast(circle, x.dtype)], axis=-1)
            )
            x = keras.layers.Concatenate(name="with_around")([x, around(x)])
            x = convolved(x, self.cell_filters, 1, "cell_a")
            x = keras.layers.SpatialDropout2D(self.dropout / 2, name="cell_dropout")(x)
            x = convolved(x, self.cell_filters, 1, "cell_b")
            return _frames.beside(_frames.unfolded(_frames.correction(1, name="correction")(x), classes))

        base = slice(0, classes * own, own)
        multiple = 2 ** len(self.filters)
        return _padding.padded_model(input_shape, correction_of, multiple=multiple, corrects=base, name="anomaly_unet")


PLUGIN = AnomalyUnet
