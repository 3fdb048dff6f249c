"""A fit half-way, in one file that is the old one or the new one whenever the process is killed."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.files import write_atomic


@dataclass(frozen=True)
class Checkpoint:
    """What a fit goes on from.

    stamp: what is being fitted; epoch: epochs done; history: a row an epoch; state: of the network; best: the weights
    with the best validation score so far.
    """

    stamp: str
    epoch: int
    history: list[dict[str, float]]
    state: dict[str, np.ndarray]
    best: list[np.ndarray]


def write(path: Path, checkpoint: Checkpoint) -> None:
    about = {"stamp": checkpoint.stamp, "epoch": checkpoint.epoch, "history": checkpoint.history}
    arrays: dict[str, Any] = {f"state.{name}": value for name, value in checkpoint.state.items()}
    arrays |= {f"best.{i}": value for i, value in enumerate(checkpoint.best)}
    text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    write_atomic(path, lambda beside: np.savez(beside, about=text, **arrays))


def read(path: Path, *, stamp: str) -> Checkpoint | None:
    """The checkpoint at `path`; None where there is none of this `stamp`, or its disk damaged it: then begin afresh."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(stored["about"].tobytes())
            if about["stamp"] != stamp:
                return None
            state = {name[6:]: stored[name] for name in stored.files if name.startswith("state.")}
            best = [stored[f"best.{i}"] for i in range(sum(name.startswith("best.") for name in stored.files))]
    except (FileNotFoundError, zipfile.BadZipFile, ValueError, KeyError):
        return None
    return Checkpoint(stamp=stamp, epoch=about["epoch"], history=about["history"], state=state, best=best)
