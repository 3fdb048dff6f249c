"""One network in Keras, as skyfold trains it and predicts with it, and in PyTorch, side by side on a CPU.

Each candidate is a process of its own that computes in one thread and waits until it is its turn. Seconds are those of
the processor, so that other work on the machine counts for neither side. Before anything is timed, the networks are
checked to train as many numbers. PyTorch is taken from the Python that $SKYFOLD_TORCH_PYTHON names, else from this one;
where it is missing Keras stands alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from timing import Line, spoken

from skyfold.training import backend
from speed._worker import Worker

WORKER = Path(__file__).parent / "_unet_worker.py"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
IMAGES = 4  # a round


@dataclass(frozen=True)
class Compared:
    """work: train or predict; family: in `_unet_worker.FAMILIES`; ours, peers: images of a batch of Keras, and of each
    peer; memory: how many times the memory of the better peer is wanted at most."""

    work: str
    family: str
    precision: str
    ours: int
    peers: Sequence[tuple[str, int]]
    memory: float | None = None


def beside_torch(compared: Compared, *, size: tuple[int, int], rounds: int, quick: bool) -> list[Line]:
    """A line a peer, or one of Keras alone; none where the processor has no instructions for the precision. quick:
    without compiled peers, and nothing is wanted."""
    if compared.precision == "bfloat16" and not backend.computes_bfloat16():
        return []
    own = f"keras {compared.precision}"
    peers = [peer for peer in compared.peers if torch_python() and not (quick and "compiled" in peer[0])]
    workers: dict[str, tuple[Worker, int]] = {}
    seconds: dict[str, list[float]] = {}
    megabytes: dict[str, float] = {}
    try:
        for name, batch in ((own, compared.ours), *peers):
            python = torch_python() if name.startswith("torch") else sys.executable
            assert python is not None
            command = [python, str(WORKER), name, compared.family, str(size[0]), str(size[1]), str(batch)]
            workers[name] = (Worker(command, {**os.environ, **ONE_THREAD}), batch)
        assert len({worker.weights for worker, _ in workers.values()}) == 1, "these are not the same network"
        for _ in range(rounds):
            for name, (worker, batch) in workers.items():
                took = worker.ask(f"{compared.work} {IMAGES // batch}") / IMAGES
                seconds.setdefault(name, []).append(took)
        megabytes = {name: worker.ask("memory") for name, (worker, _) in workers.items()}
    finally:
        for worker, _ in workers.values():
            worker.end()
    path = f"{compared.work} {compared.family} U-Net, {own}"
    speeds = [1 / one for one in seconds[own]]
    found = [Line(path, "", median(speeds), min(speeds), max(speeds), "images/s", None, "one thread")]
    best = min((name for name, _ in peers), key=lambda name: median(seconds[name]), default=None)
    for name, _ in peers:
        ratios = [two / one for one, two in zip(seconds[own], seconds[name], strict=True)]
        note = f"{spoken(median(seconds[own]))} against {spoken(median(seconds[name]))} an image"
        wanted = 1.0 if name == best and not quick else None
        found.append(Line(path, name, median(ratios), min(ratios), max(ratios), "x", wanted, note))
    if best is not None and compared.memory is not None:
        used, note = megabytes[own], f"{megabytes[own]:.0f} against {megabytes[best]:.0f} MB"
        wanted = None if quick else compared.memory * megabytes[best]
        found.append(Line(f"memory: {path}", best, used, used, used, "MB", wanted, note))
    return found


def torch_python() -> str | None:
    python = os.environ.get("SKYFOLD_TORCH_PYTHON", sys.executable)
    has_torch = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 0
    return python if has_torch else None
