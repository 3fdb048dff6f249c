"""Recurrent layers of maps: ConvLSTM (Shi et al. 2015) and TrajGRU (Shi et al. 2017)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from skyfold.models._frames import each

LEAKY_SLOPE = 0.2


class Recurrent(keras.layers.Layer):
    """A recurrence over frames (B, T, h, w, C), or over `steps` steps without frames.

    Called with the frames, or None where there are `steps`, and with initial_state: `count_states` maps
    (B, h, w, units), or None for 0. Returns the first state after each step (B, T, h, w, units), and the last states.
    """

    count_states: ClassVar[int]

    def __init__(self, units: int, *, steps: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.steps = units, steps

    @abstractmethod
    def read(self, frames: Any) -> list[Any]:
        """What `step` reads of each frame, for all frames at once: maps (B, T, h, w, ...)."""

    @abstractmethod
    def step(self, state: Sequence[Any], *of_frame: Any) -> list[Any]:
        """The states after one step. of_frame: what `read` gives of the frame; nothing where there are no frames."""

    def call(self, frames: Any, initial_state: Any = None) -> Any:
        state = initial_state
        if state is None:
            nothing = ops.zeros((ops.shape(frames)[0], *frames.shape[2:4], self.units), dtype=self.compute_dtype)
            state = [nothing] * self.count_states
        parts = [] if self.steps else self.read(frames)
        outputs = []
        for step in range(self.steps or frames.shape[1]):
            state = self.step(state, *(part[:, step] for part in parts))
            outputs.append(state[0])
        return ops.stack(outputs, axis=1), state


class ConvLSTM(Recurrent):
    """An LSTM at each pixel that reads the pixels around it; its states are [H, C].

    Without the paper's peephole connections, whose weights would belong to places:

        I = sigmoid(Wx_i * X + Wh_i * H + b_i)          F, O alike; F begins with b_f + 1, so that much is kept
        C = F C + I tanh(Wx_c * X + Wh_c * H + b_c)     H = O tanh(C)
    """

    count_states = 2

    def __init__(self, units: int, *, kernel: int = 3, steps: int | None = None, **kwargs: Any) -> None:
        super().__init__(units, steps=steps, **kwargs)
        self.of_output = keras.layers.Conv2D(4 * units, kernel, padding="same", name="of_output")
        if steps is None:  # without frames there is nothing to read
            self.of_frame = keras.layers.Conv2D(4 * units, kernel, padding="same", use_bias=False)

    def read(self, frames: Any) -> list[Any]:
        return [each(self.of_frame, frames)]

    def step(self, state: Sequence[Any], *of_frame: Any) -> list[Any]:
        output, cell = state
        keep, write, log, new = ops.split(sum(of_frame, self.of_output(output)), 4, axis=-1)
        cell = ops.sigmoid(keep + 1.0) * cell + ops.sigmoid(write) * ops.tanh(new)
        return [ops.sigmoid(log) * ops.tanh(cell), cell]


class TrajGRU(Recurrent):
    """A GRU at each pixel that reads its state where a learned motion points; its states are [H].

    For each link l the state is read at a motion of its own:

        U, V = motion(X, H)                     (h, w, links) each
        S_q  = sum over l of W_q,l * warp(H, U_l, V_l)           for q in z, r, h; W 1 x 1
        Z    = sigmoid(Wx_z * X + S_z)          R = sigmoid(Wx_r * X + S_r)
        H'   = leaky(Wx_h * X + R S_h)          H = (1 - Z) H' + Z H
    """

    count_states = 1

    def __init__(
        self, units: int, links: int, *, steps: int | None = None, motion_filters: int = 32, **kwargs: Any
    ) -> None:
        super().__init__(units, steps=steps, **kwargs)
        self.links = links
        self.motion_of_state = keras.layers.Conv2D(motion_filters, 5, padding="same", name="motion_of_state")
        self.motion = keras.layers.Conv2D(2 * links, 5, padding="same", name="motion")
        self.of_warped = keras.layers.Conv2D(3 * units, 1, name="of_warped")
        if steps is None:  # without frames there is nothing to read
            self.motion_of_frame = keras.layers.Conv2D(motion_filters, 5, padding="same", use_bias=False)
            self.of_frame = keras.layers.Conv2D(3 * units, 3, padding="same", use_bias=False)

    def read(self, frames: Any) -> list[Any]:
        return [each(self.of_frame, frames), each(self.motion_of_frame, frames)]

    def step(self, state: Sequence[Any], *of_frame: Any) -> list[Any]:
        (before,) = state
        frame, motion_of_frame = of_frame or (None, 0.0)
        places = (-1, *before.shape[1:3])
        motion = self.motion(leaky(self.motion_of_state(before) + motion_of_frame))
        warped = warp(before, ops.reshape(motion, (*places, self.links, 2)))
        z, r, h = ops.split(self.of_warped(ops.reshape(warped, (*places, self.links * self.units))), 3, axis=-1)
        frame_z, frame_r, frame_h = (0.0, 0.0, 0.0) if frame is None else ops.split(frame, 3, axis=-1)
        update, reset = ops.sigmoid(frame_z + z), ops.sigmoid(frame_r + r)
        return [(1 - update) * leaky(frame_h + reset * h) + update * before]


def leaky(x: Any) -> Any:
    """LeakyReLU with the slope of the paper, 0.2."""
    return ops.leaky_relu(x, negative_slope=LEAKY_SLOPE)


def warp(maps: Any, motion: Any) -> Any:
    """`maps` (B, h, w, C) read at each pixel's place plus each of its motions (B, h, w, L, 2): x first, in pixels.

    Returns (B, h, w, L, C). Bilinear, 0 outside; differentiable in both. One gather of whole pixels serves all links
    and the four pixels around each place; `map_coordinates` would take 16 gathers of single numbers for each link.
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
