"""Epochs as CSV while a fit runs, with config, result and sample predictions beside it; needs no package."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from skyfold.files import write_atomic, write_json
from skyfold.loggers import Fit, Logger
from skyfold.store.fits import COLUMNS, HistoryRow, write_history
from skyfold.types import JsonDict


class Csv(Logger):
    """Writes `logs/csv/fold<f>_seed<s>/`: history.csv, fit.json, samples/<name>.png."""

    _folder: Path
    _about: JsonDict
    _history: list[HistoryRow]

    def start_fit(self, fit: Fit) -> None:
        self._folder, self._history = fit.files("csv"), []
        self._about = {**asdict(fit), "folder": str(fit.folder)}
        shutil.rmtree(self._folder, ignore_errors=True)
        write_json(self._folder / "fit.json", self._about)

    def log_epoch(self, epoch: int, scalars: Mapping[str, float]) -> None:
        self._history.append({**dict.fromkeys(COLUMNS, math.nan), "epoch": epoch, **scalars})
        write_history(self._folder / "history.csv", self._history)

    def end_fit(self, result: JsonDict, samples: Mapping[str, bytes]) -> None:
        write_json(self._folder / "fit.json", {**self._about, "result": result})
        for name, picture in samples.items():
            path = self._folder / "samples" / f"{name}.png"
            write_atomic(path, lambda beside, picture=picture: beside.write_bytes(picture))  # type: ignore[misc]


PLUGIN = Csv
