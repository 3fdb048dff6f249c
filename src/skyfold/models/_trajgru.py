"""The recurrent layer of TrajGRU: its state is read where learned motion says it came from."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from skyfold.models._encoder_forecaster import leaky
from skyfold.models._frames import each


@keras.saving.register_keras_serializable(package="skyfold")
class TrajGRU(keras.layers.Layer):
    """Input (B, T, h, w, C), or with `steps` None; initial_state (B, h, w, units), or None for 0.

    Returns all states (B, T, h, w, units) and the last one. For each link l the state is read at a motion of its own:

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
        if initial_state is None:
            initial_state = ops.zeros((ops.shape(frames)[0], *frames.shape[2:4], self.units), dtype=self.compute_dtype)
        if self.steps is None:
            of_frames, motions = each(self.of_frame, frames), each(self.motion_of_frame, frames)
            read = [(of_frames[:, step], motions[:, step]) for step in range(frames.shape[1])]
        else:
            read = [(None, None)] * self.steps
        state, states = initial_state, []
        for of_frame, motion_of_frame in read:
            state = self._next_state(of_frame, motion_of_frame, state)
            states.append(state)
        return ops.stack(states, axis=1), state

    def _next_state(self, of_frame: Any, motion_of_frame: Any, state: Any) -> Any:
        about = self.motion_of_state(state)
        if motion_of_frame is not None:
            about = about + motion_of_frame
        places = (-1, *state.shape[1:3])
        motion = ops.reshape(self.motion(leaky(about)), (*places, self.links, 2))
        warped = ops.reshape(warp(state, motion), (*places, self.links * self.units))
        z, r, h = ops.split(self.of_warped(warped), 3, axis=-1)
        frame_z, frame_r, frame_h = (0.0, 0.0, 0.0) if of_frame is None else ops.split(of_frame, 3, axis=-1)
        update, reset = ops.sigmoid(frame_z + z), ops.sigmoid(frame_r + r)
        return (1 - update) * leaky(frame_h + reset * h) + update * state

    def get_config(self) -> dict[str, Any]:
        own = {"units": self.units, "links": self.links, "steps": self.steps, "motion_filters": self.motion_filters}
        return {**super().get_config(), **own}


def warp(maps: Any, motion: Any) -> Any:
    """`maps` (B, h, w, C) read at each pixel's place plus each of its motions (B, h, w, L, 2): x first, in pixels.

    Returns (B, h, w, L, C). Bilinear, 0 outside. Has gradients for both. One gather of whole pixels does it for all
    links and the four pixels around each place; `map_coordinates` would take 16 of single numbers for each link.
    """
    _, height, width, channels = maps.shape
    motion = ops.expand_dims(ops.cast(motion, "float32"), -1)
    x = motion[..., 0, :] + ops.reshape(ops.arange(width, dtype="float32"), (-1, 1, 1))
    y = motion[..., 1, :] + ops.reshape(ops.arange(height, dtype="float32"), (-1, 1, 1, 1))
    column = ops.floor(ops.stop_gradient(x)) + ops.convert_to_tensor([0.0, 1.0, 0.0, 1.0])  # (B, h, w, L, 4)
    row = ops.floor(ops.stop_gradient(y)) + ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0])
    inside = (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
    weight = (1 - ops.abs(y - row)) * (1 - ops.abs(x - column)) * ops.cast(inside, "float32")
    place = ops.cast(ops.clip(row, 0, height - 1) * width + ops.clip(column, 0, width - 1), "int32")
    first_of = ops.reshape(ops.arange(ops.shape(maps)[0], dtype="int32"), (-1, 1, 1, 1, 1)) * (height * width)
    values = ops.take(ops.reshape(maps, (-1, channels)), first_of + place, axis=0)
    return ops.sum(ops.cast(ops.expand_dims(weight, -1), maps.dtype) * values, axis=-2)
