"""Training and predicting with a U-Net on ResNet18, against the same network in PyTorch, on the same cores.

Batches of 4 images of 256 x 256, prepared before the clock starts; loss is cross-entropy and Dice, optimizer Adam.
PyTorch runs as it comes (eager, float32), and compiled under bfloat16 with the layout of maps and the Adam that are
fastest there; Keras as `training.mixed_precision` sets it. Each candidate is a process of its own that waits until it
is its
turn. Before anything is timed, the networks are checked to have as many weights. Memory is the greatest of a process
while it trains, libraries included.

PyTorch is taken from the Python that $SKYFOLD_TORCH_PYTHON names, else from this one; where it is missing Keras stands
alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from timing import Line, spoken

from speed._worker import Worker

WORKER = Path(__file__).parent / "_training_worker.py"
OURS = ("keras bfloat16", "keras float32")
PEERS = ("torch compiled bfloat16", "torch eager float32")
WANTED = {("train", "keras bfloat16", "torch compiled bfloat16"): 1.0}


def lines(*, quick: bool) -> list[Line]:
    side, batch, steps, rounds = (64, 2, 1, 1) if quick else (256, 4, 5, 7)
    names = [*OURS, *(PEERS if torch_python() else ())]
    workers = {name: _worker(name, side, batch) for name in names}
    try:
        assert len({worker.weights for worker in workers.values()}) == 1, "these are not the same network"
        seconds: dict[tuple[str, str], list[float]] = {}
        megabytes = {}
        for work in ("train", "predict"):
            for _ in range(rounds):
                for name, worker in workers.items():
                    seconds.setdefault((work, name), []).append(worker.ask(f"{work} {steps}") / (steps * batch))
            if work == "train":
                megabytes = {name: worker.ask("memory") for name, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.end()
    what = f"U-Net ResNet18, {batch} x {side} x {side}"
    found = []
    for work in ("train", "predict"):
        for name in names:
            speeds = [1 / each for each in seconds[work, name]]
            found.append(Line(f"{work} {what}", name, median(speeds), min(speeds), max(speeds), "images/s"))
        for ours, peer in ((ours, peer) for ours in OURS for peer in PEERS if peer in workers):
            own, theirs = seconds[work, ours], seconds[work, peer]
            ratios = [two / one for one, two in zip(own, theirs, strict=True)]
            note = f"{spoken(median(own))} against {spoken(median(theirs))} an image"
            wanted = None if quick else WANTED.get((work, ours, peer))
            found.append(Line(f"{work}, {ours}", peer, median(ratios), min(ratios), max(ratios), "x", wanted, note))
    found += [Line(f"memory of training {what}", name, size, size, size, "MB") for name, size in megabytes.items()]
    return found


def _worker(name: str, side: int, batch: int) -> Worker:
    python = torch_python() if name.startswith("torch") else sys.executable
    assert python is not None
    return Worker([python, str(WORKER), name, "resnet18", str(side), str(side), str(batch)])


def torch_python() -> str | None:
    python = os.environ.get("SKYFOLD_TORCH_PYTHON", sys.executable)
    has_torch = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 0
    return python if has_torch else None
