"""Training U-Nets on a CPU, against the same network in PyTorch.

Batches of 4 images of 256 x 256, prepared before the clock starts; loss is cross-entropy and Dice, optimizer Adam. Of
PyTorch eager and compiled are timed, with the layout of maps that is fastest there; the better one counts. Memory is
the greatest of a process of its own while it trains, above that once its library is imported.
"""

from __future__ import annotations

from timing import Line

from speed._beside_torch import Compared, beside_torch

FAMILIES = ("efficientnetlite0", "resnet18")
PEERS = {
    "float32": (("torch eager channels_last float32", 4), ("torch compiled float32", 4)),
    "bfloat16": (("torch eager channels_last bfloat16", 4), ("torch compiled bfloat16", 4)),
}
SIZE, BATCH = (256, 256), 4
MEMORY = 1.25  # times that of PyTorch, at most


def lines(*, quick: bool) -> list[Line]:
    size, batch = ((64, 96), 4) if quick else (SIZE, BATCH)
    return [
        line
        for precision, peers in PEERS.items()
        for family in FAMILIES
        for line in beside_torch(
            Compared("train", family, precision, ours=batch, peers=peers, memory=MEMORY),
            size=size,
            rounds=1 if quick else 5,
            quick=quick,
        )
    ]
