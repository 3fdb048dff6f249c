"""Project folder: where data, caches, out-of-fold predictions and submissions are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


def find_root(start: Path) -> Path | None:
    """The project folder: the nearest of `start` and its parents that holds a folder `configs/`."""
    return next((folder for folder in (start, *start.parents) if (folder / "configs").is_dir()), None)


@dataclass(frozen=True)
class Workspace:
    """The folder that a command works in.

    root       holds `data/`, `oof/` and `submissions/`
    data_from  folder of the competition's files (`--data`); None: `$SKYFOLD_DATA/<name>`, else `data/<name>`
    """

    root: Path
    data_from: Path | None = None

    def data(self, name: str) -> Path:
        if self.data_from is not None:
            return self.data_from
        shared = os.environ.get("SKYFOLD_DATA")
        if shared and (Path(shared) / name).is_dir():
            return Path(shared) / name
        return self.root / "data" / name

    def cache(self, name: str) -> Path:
        return self.root / "data" / ".cache" / name

    def oof(self, name: str) -> Path:
        return self.root / "oof" / name

    def run(self, name: str, run: str) -> Path:
        return self.oof(name) / run

    def folds(self, name: str) -> Path:
        return self.oof(name) / "folds.csv"

    def submissions(self, name: str) -> Path:
        return self.root / "submissions" / name
