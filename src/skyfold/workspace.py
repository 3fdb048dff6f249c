"""Project folder: where data, caches, out-of-fold predictions and submissions are."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from skyfold.errors import ConfigError, DataLayoutError

GIT_SECONDS = 3.0  # after which a commit counts as not known


def commit_of(folder: Path) -> str | None:
    """Commit of the git repository that `folder` lies in; None where there is none, or git does not answer."""
    folder = folder.absolute()
    root = next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), None)
    if root is None:
        return None
    command = ["git", "-C", str(root), "rev-parse", "--verify", "HEAD"]
    try:
        found = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=GIT_SECONDS, check=True
        )
    except (OSError, ValueError, subprocess.SubprocessError):  # not installed, stuck, or it refuses
        return None
    return found.stdout.strip() or None


def find_root(start: Path) -> Path | None:
    """The project folder: the nearest of `start` and its parents that holds a folder `configs/`."""
    return next((folder for folder in (start, *start.parents) if (folder / "configs").is_dir()), None)


def project_root(root: Path | None = None) -> Path:
    """The project folder `root`, None: found from the working folder; ConfigError where there is none."""
    found = root or find_root(Path.cwd())
    if found is None:
        raise ConfigError(
            f"{Path.cwd()} and its parents hold no folder configs/, so this is no skyfold project. "
            "Change to the project's folder, or name it: --root DIR."
        )
    if not found.is_dir():
        raise ConfigError(f"--root {found}: no such folder.")
    return found.resolve()


@dataclass(frozen=True)
class Workspace:
    """The folder that a command works in.

    root       holds `data/`, `oof/` and `submissions/`
    data_from  folder of the competition's files (`--data`); None: `$SKYFOLD_DATA/<name>`, else `data/<name>`
    verify     read every byte of the data again, even of files whose sizes and times are as they were (`--verify`)
    """

    root: Path
    data_from: Path | None = None
    verify: bool = False

    def data(self, name: str) -> Path:
        """Folder of the files of data set `name`; ConfigError where $SKYFOLD_DATA is no folder."""
        if self.data_from is not None:
            return self.data_from
        shared = os.environ.get("SKYFOLD_DATA")
        if shared and not Path(shared).is_dir():
            raise ConfigError(f"$SKYFOLD_DATA is {shared}: no such folder. Correct it, or unset it.")
        if shared and (Path(shared) / name).is_dir():
            return Path(shared) / name
        return self.root / "data" / name

    def existing_data(self, name: str) -> Path:
        """As `data`; DataLayoutError where there is no such folder."""
        folder, shared = self.data(name), os.environ.get("SKYFOLD_DATA")
        if not folder.is_dir():
            beside = f" $SKYFOLD_DATA is {shared}, which holds no folder '{name}'."
            raise DataLayoutError(
                f"{folder}: no such folder.{beside if shared and self.data_from is None else ''} Put the competition's "
                "files there, name their folder with --data, or write a small procedural sample: skyfold prepare "
                "CONFIG --sample."
            )
        return folder

    def cache(self, name: str) -> Path:
        """Folder of decoded images and masks; may be deleted at any time."""
        return self.root / "data" / ".cache" / name

    def oof(self, name: str) -> Path:
        """Folder of all results of data set `name`: folds, runs, blends, studies."""
        return self.root / "oof" / name

    def run(self, name: str, run: str) -> Path:
        """Folder of a run, blend or forecast of data set `name`."""
        return self.oof(name) / run

    def folds(self, name: str) -> Path:
        """The file of the folds of data set `name`."""
        return self.oof(name) / "folds.csv"

    def submissions(self, name: str) -> Path:
        """Folder of the submissions of data set `name`."""
        return self.root / "submissions" / name
