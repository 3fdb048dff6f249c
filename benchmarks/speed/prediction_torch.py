"""Predicting one image after the other on a CPU, against the same network in PyTorch.

Keras predicts batches of the size that it chooses. Of PyTorch the layout and batch that are fastest are timed, eager
and compiled; the better one counts.
"""

from __future__ import annotations

from timing import Line

from speed._beside_torch import Compared, beside_torch
from speed.prediction import SIZE

COMPARED = (("resnet18", "float32"), ("resnet18", "bfloat16"), ("plain", "float32"))
PEERS = {
    "float32": (("torch eager channels_last float32", 4), ("torch compiled float32", 4)),
    "bfloat16": (("torch compiled bfloat16", 4),),
}
OURS = 2  # images that `Network.predicted_batch_size` gives at this size


def lines(*, quick: bool) -> list[Line]:
    size = (64, 96) if quick else SIZE
    return [
        line
        for family, precision in COMPARED
        for line in beside_torch(
            Compared("predict", family, precision, ours=OURS, peers=PEERS[precision]),
            size=size,
            rounds=1 if quick else 5,
            quick=quick,
        )
    ]
