"""TrajGRU (Shi et al. 2017): a recurrent network of maps whose state is read where learned motion says it came from.

A ConvLSTM reads the state around each pixel in the same places everywhere. Here a small network looks at the frame and
the state and says, for each pixel and link, where to read; so the links can follow rain that moves or turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from skyfold.errors import ConfigError
from skyfold.models import _padding
from skyfold.plugins import nearest

_OPTIONS = ["filters", "links", "motion_filters"]
_FILTERS, _LINKS = (16, 32, 48), (9, 9, 5)
LEAKY_SLOPE = 0.2


def check(options: Mapping[str, Any]) -> None:
    """ConfigError on an unknown option, or filters and links that are not as many positive whole numbers."""
    for name in options:
        if name not in _OPTIONS:
            raise ConfigError(
                f"model.options: trajgru has no option '{name}'{nearest(name, _OPTIONS)}. Known: {', '.join(_OPTIONS)}."
            )
    counts = {"filters": options.get("filters", _FILTERS), "links": options.get("links", _LINKS)}
    counts["motion_filters"] = [options.get("motion_filters", 32)]
    for name, given in counts.items():
        if not isinstance(given, list | tuple) or not given or not all(type(n) is int and n > 0 for n in given):
            raise ConfigError(f"model.options.{name}: expected positive whole numbers, got {given!r}.")
    if len(counts["filters"]) != len(counts["links"]):
        raise ConfigError(f"model.options.links: {len(counts['links'])} of them for {len(counts['filters'])} levels.")


def build(
    *,
    input_shape: tuple[int, int, int, int],
    classes: int = 1,
    filters: Sequence[int] = _FILTERS,
    links: Sequence[int] = _LINKS,
    motion_filters: int = 32,
) -> Any:
    """A keras.Model from frames (T, H, W, C), any size, to (H, W, L) for L = `classes` lead times, float32.

    filters, links: of the recurrent layers at half the size, a quarter, and so on. The encoder reads the frames; the
    forecaster goes on from its states, coarsest first, for as many steps as there are lead times.
    """
    check({"filters": list(filters), "links": list(links), "motion_filters": motion_filters})
    if len(input_shape) != 4:
        raise ConfigError(f"model.family: trajgru reads sequences of frames (T, H, W, C), not images {input_shape}.")
    steps, height, width, bands = input_shape
    size = _padding.padded_size((height, width), multiple=2 ** len(filters))
    frames = keras.Input(input_shape, name="frames")
    by_frame = ops.reshape(frames, (-1, height, width, bands))
    x = ops.reshape(_padding.extended(by_frame, size), (-1, steps, *size, bands))
    states = []
    for level, (count, link) in enumerate(zip(filters, links, strict=True)):
        x = _each(keras.layers.Conv2D(count, 3, strides=2, padding="same", name=f"down{level}"), x)
        x = TrajGRU(count, link, motion_filters=motion_filters, name=f"encoder{level}")(_leaky(x))
        states.append(x[:, -1])
    x = None
    for level, (count, link) in reversed(list(enumerate(zip(filters, links, strict=True)))):
        steps_of_its_own = classes if x is None else None  # the finer levels read what the coarser ones say
        recurrent = TrajGRU(
            count, link, steps=steps_of_its_own, motion_filters=motion_filters, name=f"forecaster{level}"
        )
        x = recurrent(x, initial_state=states[level])
        out = filters[level - 1] if level else filters[0]
        x = _leaky(_each(keras.layers.Conv2DTranspose(out, 4, strides=2, padding="same", name=f"up{level}"), x))
    x = _each(keras.layers.Conv2D(1, 1, dtype="float32", name="rain"), x)[..., 0]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    forecast = ops.moveaxis(x, 1, -1)[:, top : top + height, left : left + width]
    return keras.Model(frames, forecast, name="trajgru")


@keras.saving.register_keras_serializable(package="skyfold")
class TrajGRU(keras.layers.Layer):
    """One recurrent layer. Input (B, T, h, w, C) or, with `steps`, None; initial_state (B, h, w, units) or None for 0.

    Returns all states, (B, T, h, w, units). For each link l the state is read at a motion of its own:

        U, V = motion(X, H)                     (h, w, links) each
        S_q  = sum over l of W_q,l * warp(H, U_l, V_l)           for q in z, r, h; W 1 x 1
        Z    = sigmoid(Wx_z * X + S_z)          R = sigmoid(Wx_r * X + S_r)
        H'   = leaky(Wx_h * X + R S_h)          H = (1 - Z) H' + Z H
    """

    def __init__(
        self, units: int, links: int, *, steps: int | None = None, motion_filters: int = 32, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.links, self.steps, self.motion_filters = units, links, steps, motion_filters
        self.motion_of_state = keras.layers.Conv2D(motion_filters, 5, padding="same", name="motion_of_state")
        self.motion = keras.layers.Conv2D(2 * links, 5, padding="same", name="motion")
        self.of_warped = keras.layers.Conv2D(3 * units, 1, name="of_warped")
        reads = steps is None  # without frames there is nothing to read
        self.motion_of_frame = keras.layers.Conv2D(motion_filters, 5, padding="same", use_bias=False) if reads else None
        self.of_frame = keras.layers.Conv2D(3 * units, 3, padding="same", use_bias=False) if reads else None

    def call(self, frames: Any, initial_state: Any = None) -> Any:
        count: Any = self.steps if frames is None or self.steps is not None else frames.shape[1]
        if initial_state is None:
            initial_state = ops.zeros((ops.shape(frames)[0], *frames.shape[2:4], self.units), dtype=self.compute_dtype)
        state, states = initial_state, []
        for step in range(count):
            frame = None if self.of_frame is None else frames[:, step]
            state = self.next_state(frame, state)
            states.append(state)
        return ops.stack(states, axis=1)

    def next_state(self, frame: Any, state: Any) -> Any:
        """frame (B, h, w, C) or None, state (B, h, w, units)."""
        about = self.motion_of_state(state)
        if self.motion_of_frame is not None:
            about = about + self.motion_of_frame(frame)
        motion = self.motion(_leaky(about))
        warped = [warp(state, motion[..., 2 * link : 2 * link + 2]) for link in range(self.links)]
        z, r, h = ops.split(self.of_warped(ops.concatenate(warped, axis=-1)), 3, axis=-1)
        if self.of_frame is not None:
            frame_z, frame_r, frame_h = ops.split(self.of_frame(frame), 3, axis=-1)
            update, reset = ops.sigmoid(frame_z + z), ops.sigmoid(frame_r + r)
            candidate = _leaky(frame_h + reset * h)
        else:
            update, reset = ops.sigmoid(z), ops.sigmoid(r)
            candidate = _leaky(reset * h)
        return (1 - update) * candidate + update * state

    def get_config(self) -> dict[str, Any]:
        own = {"units": self.units, "links": self.links, "steps": self.steps, "motion_filters": self.motion_filters}
        return {**super().get_config(), **own}


def warp(maps: Any, motion: Any) -> Any:
    """`maps` (B, h, w, C) read at each pixel's place plus its `motion` (B, h, w, 2): x first, in pixels.

    Bilinear, 0 outside. Has gradients for both. Four gathers of whole pixels do it; `map_coordinates` over four axes
    would take 16 of single numbers.
    """
    _, height, width, channels = maps.shape
    batch = ops.shape(maps)[0]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    x = ops.cast(motion[..., 0], "float32") + columns
    y = ops.cast(motion[..., 1], "float32") + rows
    left, top = ops.floor(ops.stop_gradient(x)), ops.floor(ops.stop_gradient(y))
    flat = ops.reshape(maps, (-1, channels))
    first_of = ops.reshape(ops.arange(batch, dtype="int32"), (-1, 1, 1)) * (height * width)
    total = 0.0
    for down in (0, 1):
        for right in (0, 1):
            row, column = top + down, left + right
            inside = (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
            weight = (1 - ops.abs(y - row)) * (1 - ops.abs(x - column)) * ops.cast(inside, "float32")
            place = ops.clip(row, 0, height - 1) * width + ops.clip(column, 0, width - 1)
            values = ops.take(flat, first_of + ops.cast(place, "int32"), axis=0)
            total = total + ops.cast(weight[..., None], maps.dtype) * values
    return total


def _each(layer: Any, frames: Any) -> Any:
    """Apply a layer of images to each frame of (B, T, h, w, C)."""
    return keras.layers.TimeDistributed(layer, name=f"{layer.name}_each")(frames)


def _leaky(x: Any) -> Any:
    return ops.leaky_relu(x, negative_slope=LEAKY_SLOPE)
