"""Predicting one image after the other on a CPU, against the same network in PyTorch.

Each computes in one thread, and seconds are those of the processor, so that other work on the machine counts for
neither side. Keras predicts batches of the size that it chooses, with TensorFlow's kernels as they come, which on
processors without instructions for neural networks are Eigen's, and with those of oneDNN. Of PyTorch the layout and
batch that are fastest are timed, eager and compiled. It is taken from where training.py takes it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from statistics import median

from timing import Line, spoken

from speed._worker import Worker
from speed.prediction import SIZE
from speed.training import WORKER, torch_python

COMPARED = (("resnet18", "float32"), ("resnet18", "bfloat16"), ("plain", "float32"))
PEERS = {  # by precision, with their batch; the better one of each counts
    "float32": (("torch eager channels_last float32", 4), ("torch compiled float32", 4)),
    "bfloat16": (("torch compiled bfloat16", 4),),
}
OURS = 2  # images that `Network.predicted_batch_size` gives at this size
IMAGES = 4  # a round
ONEDNN = "TF_ENABLE_ONEDNN_OPTS=1"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}


def lines(*, quick: bool) -> list[Line]:
    found = []
    for family, precision in COMPARED:
        peers = [peer for peer in PEERS[precision] if torch_python() and not (quick and "compiled" in peer[0])]
        found += _beside(family, precision, peers, quick=quick)
    return found


def _beside(family: str, precision: str, peers: Sequence[tuple[str, int]], *, quick: bool) -> list[Line]:
    """A line a peer: the same network on the same images, one thread each, seconds of the processor."""
    height, width = (64, 96) if quick else SIZE
    rounds = 1 if quick else 5
    ours = [f"keras {precision}", f"keras {ONEDNN} {precision}"]
    workers = {}
    try:
        for name, batch in (*((name, OURS) for name in ours), *peers):
            python = torch_python() if name.startswith("torch") else sys.executable
            assert python is not None
            command = [python, str(WORKER), name, family, str(height), str(width), str(batch)]
            own = dict([ONEDNN.split("=")]) if ONEDNN in name else {}
            workers[name] = (Worker(command, {**os.environ, **ONE_THREAD, **own}), batch)
        assert len({worker.weights for worker, _ in workers.values()}) == 1, "these are not the same network"
        seconds: dict[str, list[float]] = {name: [] for name in workers}
        for _ in range(rounds):
            for name, (worker, batch) in workers.items():
                seconds[name].append(worker.ask(f"predict_cpu {IMAGES // batch}") / IMAGES)
    finally:
        for worker, _ in workers.values():
            worker.end()
    theirs = {name: seconds[name] for name, _ in peers}
    better = min(theirs, key=lambda name: median(theirs[name]), default="")
    found = []
    for name in ours:
        own, path = seconds[name], f"predict {family} U-Net, {name}"
        for peer, each in theirs.items():
            ratios = [two / one for one, two in zip(own, each, strict=True)]
            note = f"{spoken(median(own))} against {spoken(median(each))} an image"
            wanted = 1.0 if peer == better and not quick else None
            found.append(Line(path, peer, median(ratios), min(ratios), max(ratios), "x", wanted, note))
        if not theirs:
            speeds = [1 / one for one in own]
            found.append(Line(path, "", median(speeds), min(speeds), max(speeds), "images/s", None, "without PyTorch"))
    return found
