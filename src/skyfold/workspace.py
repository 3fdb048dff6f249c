"""Where things lie: data, caches, out-of-fold predictions and submissions of one working folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """The folder a job works in; the current one unless told otherwise.

    root       holds `data/`, `oof/` and `submissions/`
    data_from  where the contest's files lie (`--data`); None: `$SKYFOLD_DATA/<name>`, else `data/<name>`
    """

    root: Path = field(default_factory=Path.cwd)
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
