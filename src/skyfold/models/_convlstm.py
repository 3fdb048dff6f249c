"""The recurrent layer of ConvLSTM (Shi et al. 2015): an LSTM at each pixel that reads the pixels around it."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from skyfold.models._frames import each


@keras.saving.register_keras_serializable(package="skyfold")
class ConvLSTM(keras.layers.Layer):
    """Input (B, T, h, w, C), or with `steps` None; initial_state [H, C], (B, h, w, units) each, or None for 0.

    Returns all outputs H (B, T, h, w, units) and the last state [H, C]. Without the paper's links from the cell to the
    gates, whose weights would belong to places:

        I = sigmoid(Wx_i * X + Wh_i * H + b_i)          F, O alike; F begins with b_f + 1, so that much is kept
        C = F C + I tanh(Wx_c * X + Wh_c * H + b_c)     H = O tanh(C)
    """

    def __init__(self, units: int, *, kernel: int = 3, steps: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.kernel, self.steps = units, kernel, steps
        self.of_output = keras.layers.Conv2D(4 * units, kernel, padding="same", name="of_output")
        reads = steps is None  # without frames there is nothing to read
        self.of_frame = keras.layers.Conv2D(4 * units, kernel, padding="same", use_bias=False) if reads else None

    def call(self, frames: Any, initial_state: Any = None) -> Any:
        if initial_state is None:
            nothing = ops.zeros((ops.shape(frames)[0], *frames.shape[2:4], self.units), dtype=self.compute_dtype)
            initial_state = [nothing, nothing]
        if self.steps is None:
            of_frames = each(self.of_frame, frames)
            read = [of_frames[:, step] for step in range(frames.shape[1])]
        else:
            read = [0.0] * self.steps
        output, cell = initial_state
        outputs = []
        for of_frame in read:
            keep, write, log, new = ops.split(of_frame + self.of_output(output), 4, axis=-1)
            cell = ops.sigmoid(keep + 1.0) * cell + ops.sigmoid(write) * ops.tanh(new)
            output = ops.sigmoid(log) * ops.tanh(cell)
            outputs.append(output)
        return ops.stack(outputs, axis=1), [output, cell]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "kernel": self.kernel, "steps": self.steps}
