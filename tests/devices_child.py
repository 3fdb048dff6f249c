"""Trains a tiny network with the JAX backend on one and on two of this process's devices: `devices_child.py FOLDER`.

Writes to FOLDER/1.npz and 2.npz its weights before and after three steps, its predictions, and on how many devices its
weights lie.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from conftest import task_of
from skyfold.config.run import RunConfig
from skyfold.training.network import Network


def main(devices: int, result: Path) -> None:
    config = RunConfig.model_validate(
        {
            "name": "divided",
            "data": {"competition": "any"},
            "image": {"size": [16, 16]},
            "model": {"family": "plain_unet", "options": {"filters": [2, 4]}},
            "training": {"batch_size": 4, "ema": 0.5, "devices": devices},
        }
    )
    network = Network(task_of(config), input_shape=(16, 16, 3))
    network.restart(seed=1)
    rng = np.random.default_rng(0)
    images, targets = rng.random((4, 16, 16, 3), dtype=np.float32), rng.random((4, 16, 16, 3)) > 0.5
    start = network.weights()
    network.begin_epoch(0, seed=0)
    losses = [network.train(images, targets.astype(np.uint8), learning_rate=0.01) for _ in range(3)]
    spread = {len(variable.value.sharding.device_set) for variable in network.model.weights}
    arrays = {f"start{i}": value for i, value in enumerate(start)}
    arrays |= {f"end{i}": value for i, value in enumerate(network.averaged_weights())}
    np.savez(result, losses=losses, logits=network.logits(images), spread=sorted(spread), **arrays)


if __name__ == "__main__":
    for count in (1, 2):
        main(count, Path(sys.argv[1], f"{count}.npz"))
