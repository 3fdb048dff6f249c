"""A small network that corrects a simple forecast of each lead time: around the cell by a U-Net, in it by itself.

It reads what the view `anomalies` shows. All lead times go through the same weights, since years are few, and what
departs from the usual in one month means much the same in the next; which one it is they are told by its place on a
circle, that of the year where twelve months are forecast. What the surroundings say comes from coarser maps, so that
the finest ones cost little. Untrained it is the simple forecast itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skyfold.errors import ConfigError
from skyfold.models import _blocks

_OPTIONS = ["filters", "cell_filters", "dropout", "shared"]
_FILTERS = (24, 32, 48)
LEAKY_SLOPE = 0.1


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option, or counts that are no whole numbers from 1, or a dropout that is no share."""
    _blocks.check_known(options, _OPTIONS, family="anomaly_unet")
    _blocks.check_some_counts(options, "filters")
    _blocks.check_counts(options, "cell_filters")
    _blocks.check_dropout(options)
    shared = options.get("shared", 0)
    if type(shared) is not int or shared < 0:
        raise ConfigError(f"model.options.shared: {shared!r} is not a whole number from 0.")


def build(
    *,
    input_shape: tuple[int, int, int],
    classes: int = 1,
    filters: Sequence[int] = _FILTERS,
    cell_filters: int = 32,
    dropout: float = 0.1,
    shared: int = 4,
) -> Any:
    """A keras.Model from maps (H, W, C) to (H, W, L) for L = `classes` lead times, float32, any size.

    C is as many maps for each lead time, those of the first lead time first, and at the end `shared` maps that are for
    all of them. The first map of each lead time is the forecast to correct. filters: of the maps that see the
    surroundings, at half the size, a quarter, and so on; cell_filters: of the layers that see one cell; dropout: the
    share of whole maps left out of a step, of the coarsest.
    """
    import keras
    from keras import ops

    from skyfold.models import _frames, _padding

    check({"filters": list(filters), "cell_filters": cell_filters, "dropout": dropout, "shared": shared})
    height, width, channels = input_shape
    own, rest = divmod(channels - shared, classes)
    if own < 1 or rest:
        raise ConfigError(
            f"model.options.shared: {channels} maps, {shared} of them for all lead times, are not as many for each of "
            f"{classes}. Set it to what the view shows; the view anomalies: 4."
        )
    angle = 2 * np.pi * (np.arange(classes) + 0.5) / classes
    circle = np.stack([np.sin(angle), np.cos(angle)], axis=-1)[:, None, None].astype(np.float32)  # (L, 1, 1, 2)

    def convolved(x: Any, count: int, kernel: int, name: str) -> Any:
        x = keras.layers.Conv2D(count, kernel, padding="same", kernel_initializer="he_normal", name=name)(x)
        return keras.layers.LeakyReLU(negative_slope=LEAKY_SLOPE, name=f"{name}_leaky")(x)

    def around(x: Any) -> Any:
        finer = []
        for level, count in enumerate(filters):
            x = convolved(keras.layers.AveragePooling2D(2, name=f"down{level}_pooled")(x), count, 3, f"down{level}")
            finer.append(x)
        x = keras.layers.SpatialDropout2D(dropout, name="bottom_dropout")(finer.pop())
        x = convolved(x, filters[-1], 3, "bottom")
        for level, count in reversed(list(enumerate(filters[:-1]))):
            x = keras.layers.UpSampling2D(2, name=f"up{level}_wide")(x)
            x = keras.layers.Concatenate(name=f"up{level}_joined")([finer.pop(), x])
            x = convolved(x, count, 3, f"up{level}")
        x = keras.layers.Conv2D(cell_filters // 2 or 1, 1, name="around")(x)
        return keras.layers.UpSampling2D(2, interpolation="bilinear", name="around_wide")(x)

    def correction_of(maps: Any) -> Any:
        x = _frames.apart(maps[..., : classes * own], own)
        for_all = ops.repeat(ops.expand_dims(maps[..., classes * own :], 1), classes, axis=1)
        x = _frames.folded(
            ops.concatenate([x, for_all, ops.zeros_like(x[..., :2]) + ops.cast(circle, x.dtype)], axis=-1)
        )
        x = keras.layers.Concatenate(name="with_around")([x, around(x)])
        x = convolved(x, cell_filters, 1, "cell_a")
        x = keras.layers.SpatialDropout2D(dropout / 2, name="cell_dropout")(x)
        x = convolved(x, cell_filters, 1, "cell_b")
        x = keras.layers.Conv2D(1, 1, kernel_initializer="zeros", dtype="float32", name="correction")(x)
        return _frames.beside(_frames.unfolded(x, classes))

    maps = keras.Input(input_shape, name="maps")
    size = _padding.padded_size((height, width), multiple=2 ** len(filters))
    correction = _padding.in_padded_size(maps, correction_of, size)
    return keras.Model(maps, ops.cast(maps[..., : classes * own : own], "float32") + correction, name="anomaly_unet")
