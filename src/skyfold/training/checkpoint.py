"""A fit half-way, in one file that is the old one or the new one whenever the process is killed."""

from __future__ import annotations

import json
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.files import write_atomic

SHARE = 0.05  # of the time, at most, goes into writing checkpoints


class Pause:
    """How long to wait before the next checkpoint: `seconds`, and longer where one takes long to reach the disk.

    seconds: 0 to wait for nothing.
    """

    def __init__(self, seconds: float) -> None:
        self._least = seconds
        self._took = 0.0
        self._since = time.monotonic()

    def is_over(self) -> bool:
        wait = max(self._least, self._took / SHARE) if self._least else 0.0
        return time.monotonic() - self._since >= wait

    def written(self, *, started: float) -> None:
        """A checkpoint, begun at `started` of the monotonic clock, has just been written."""
        self._since = time.monotonic()
        self._took = self._since - started


@dataclass(frozen=True)
class Checkpoint:
    """What a fit goes on from.

    stamp: what is being fitted; epoch: epochs done; history: a row an epoch; state: of the network; kept: weights of
    one epoch or several, of which those that the fit ends with are made.
    """

    fingerprint: str
    epoch: int
    history: list[dict[str, float]]
    state: dict[str, np.ndarray]
    kept: list[list[np.ndarray]]


def write(path: Path, checkpoint: Checkpoint) -> None:
    counts = [len(weights) for weights in checkpoint.kept]
    about = {
        "fingerprint": checkpoint.fingerprint,
        "epoch": checkpoint.epoch,
        "history": checkpoint.history,
        "kept": counts,
    }
    arrays: dict[str, Any] = {f"state.{name}": value for name, value in checkpoint.state.items()}
    arrays |= {f"kept.{j}.{i}": value for j, weights in enumerate(checkpoint.kept) for i, value in enumerate(weights)}
    text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    write_atomic(path, lambda beside: np.savez(beside, about=text, **arrays))


def read(path: Path, *, fingerprint: str) -> Checkpoint | None:
    """The checkpoint at `path`; None where there is none of this `stamp`, or its disk damaged it: then begin afresh."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(stored["about"].tobytes())
            if about["fingerprint"] != fingerprint:
                return None
            state = {name[6:]: stored[name] for name in stored.files if name.startswith("state.")}
            kept = [[stored[f"kept.{j}.{i}"] for i in range(count)] for j, count in enumerate(about["kept"])]
    except (FileNotFoundError, zipfile.BadZipFile, ValueError, KeyError):
        return None
    return Checkpoint(fingerprint=fingerprint, epoch=about["epoch"], history=about["history"], state=state, kept=kept)
