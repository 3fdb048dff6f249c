"""Checkpoints of a fit: one file that is the old or the new one whenever the process is killed."""

from __future__ import annotations

import errno
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.files import write_atomic
from skyfold.store.fits import COLUMNS, HistoryRow, reason_of

SECONDS = 10.0  # between two checkpoints at least; 0: write one after every epoch
FRACTION = 0.05  # of the time that may go into writing checkpoints


@dataclass(frozen=True)
class Checkpoint:
    """What a fit is resumed from.

    history  one row per epoch done
    state    of the network, `Network.state`
    kept     weights of one or more epochs, of which the weights of the fit are made
    started  when the fit was begun, in UTC, ISO 8601
    """

    history: list[HistoryRow]
    state: dict[str, np.ndarray]
    kept: list[list[np.ndarray]]
    started: str


class CheckpointFile:
    """The checkpoint of one fit at `path`, written at most every SECONDS, and less often where a write takes long.

    key: digest of what is fitted and how it is scored; a file with another one is ignored.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key
        self._due = time.monotonic() + SECONDS

    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    def write(self, checkpoint: Checkpoint) -> None:
        started = time.monotonic()
        about = {
            "fingerprint": self._key,
            "epoch": len(checkpoint.history),
            "history": checkpoint.history,
            "kept": [len(weights) for weights in checkpoint.kept],
            "started": checkpoint.started,
        }
        arrays: dict[str, Any] = {f"state.{name}": value for name, value in checkpoint.state.items()}
        for j, weights in enumerate(checkpoint.kept):
            arrays |= {f"kept.{j}.{i}": value for i, value in enumerate(weights)}
        text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
        write_atomic(self._path, lambda beside: np.savez(beside, about=text, **arrays))
        ended = time.monotonic()
        self._due = ended + (max(SECONDS, (ended - started) / FRACTION) if SECONDS else 0.0)

    def read(self) -> Checkpoint | None:
        """None where there is no file, where it is of another fit, and, with a line for people, where it is damaged."""
        if not self._path.is_file():
            return None
        try:
            with np.load(self._path, allow_pickle=False) as stored:
                about = json.loads(stored["about"].tobytes())
                if about["fingerprint"] != self._key:
                    return None
                state = {name[6:]: stored[name] for name in stored.files if name.startswith("state.")}
                kept = [[stored[f"kept.{j}.{i}"] for i in range(count)] for j, count in enumerate(about["kept"])]
            started = str(about["started"])
            history = [{name: float(row[name]) for name in COLUMNS} for row in about["history"]]
        except Exception as error:  # zipfile and numpy raise whatever they meet
            if (
                isinstance(error, OSError) and error.errno != errno.EINVAL
            ):  # not read; a place before the file is damage
                raise
            print(f"{self._path}: damaged ({reason_of(error)}); the fit begins anew.", file=sys.stderr)
            return None
        return Checkpoint(history, state, kept, started)


def read_epochs(path: Path) -> list[HistoryRow]:
    """The epochs done by the checkpoint at `path`, without its arrays; none where it is damaged or was just removed."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return [dict(row) for row in json.loads(stored["about"].tobytes())["history"]]
    except Exception:  # zipfile and numpy raise whatever they meet
        return []
