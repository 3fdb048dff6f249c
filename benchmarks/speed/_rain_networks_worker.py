"""One candidate of rain_networks.py: `_rain_networks_worker.py NETWORK SIDE BATCH FRAMES`, by $KERAS_BACKEND.

Prints how many weights the network has, then answers each `train N` it reads with the seconds of N batches.
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np

WARM_UP = 2  # batches: tracing, compiling


def main(network: str, side: int, batch: int, frames: int) -> None:
    answers = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    from skyfold import plugins
    from skyfold.training import backend
    from skyfold.training.losses.forecasting import FORECAST_LOSSES
    from skyfold.training.losses.named import make_loss

    backend.start(deterministic=True)
    backend.prepare(precision="float32")
    backend.seed(0)
    import keras

    model = plugins.load("models", network).PLUGIN().build(input_shape=(side, side, frames), classes=1)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-4),
        loss=make_loss(FORECAST_LOSSES, "mae", {}, task="forecasting"),
        jit_compile=backend.compiles_whole_steps(),
    )
    inputs = np.random.default_rng(0).random((batch, side, side, frames), dtype=np.float32)
    targets = np.concatenate([inputs[..., :1], np.ones_like(inputs[..., :1])], axis=-1)
    for _ in range(WARM_UP):
        model.train_on_batch(inputs, targets)
    with os.fdopen(answers, "w") as said:
        print(model.count_params(), file=said, flush=True)
        for line in sys.stdin:
            start = time.perf_counter()
            for _ in range(int(line.split()[1])):
                model.train_on_batch(inputs, targets)
            print(time.perf_counter() - start, file=said, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *(int(number) for number in sys.argv[2:]))
