"""What is stored of one entry of the leaderboard, read for its page and its row on the board."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np

from skyfold.config.merging import dotted
from skyfold.errors import SkyfoldError
from skyfold.files import read_json, write_json
from skyfold.postprocess.evaluate import SampleScores
from skyfold.reports.site.pages import Section
from skyfold.store.fits import WEIGHTS, read_fits
from skyfold.store.rows import RowStore
from skyfold.store.runs import RunInfo, read_info, read_made_blend
from skyfold.types import JsonDict

ENTRIES = "entries"  # of the site


@dataclass(frozen=True)
class StoredEntry:
    """The records of a run, blend or forecast.

    fits: `FitRecord`s by the stem of their files; blend: `blend.json`, None: it is no blend.
    """

    folder: Path
    info: RunInfo
    fits: Mapping[str, JsonDict]
    blend: JsonDict | None

    @property
    def page(self) -> str:
        """Address of its page, from the site's folder."""
        return f"{ENTRIES}/{self.folder.name}.html"

    @cached_property
    def flat_config(self) -> JsonDict:
        """Its config, keys dotted."""
        return dotted(self.info.config)

    @cached_property
    def oof(self) -> RowStore:
        """Its out-of-fold rows, opened once: a store checks its ids when it is opened."""
        return RowStore.open(self.folder / "oof")

    def has_rows_of(self, ids: np.ndarray) -> bool:
        """Whether out-of-fold rows of just these samples are stored."""
        return (self.folder / "oof" / "rows.json").is_file() and np.array_equal(self.oof.ids, ids)

    @property
    def train_seconds(self) -> float | None:
        """Time of all fits together."""
        return sum(fit["seconds"] for fit in self.fits.values()) if self.fits else None

    @property
    def size(self) -> int | None:
        """Bytes of the weights of all fits."""
        return sum((self.folder / "models" / f"{stem}{WEIGHTS}").stat().st_size for stem in self.fits) or None

    @property
    def versions(self) -> str:
        """Of Keras and its backend, in words; '' where the fits recorded none."""
        found = set()
        for environment in filter(None, (fit.get("environment") for fit in self.fits.values())):
            versions, backend = environment["versions"], environment["backend"]
            names = dict.fromkeys(["keras", backend])
            found.add(", ".join(f"{name} {versions[name]}" for name in names if name in versions))
        return "; ".join(sorted(found))

    @property
    def made(self) -> datetime:
        """When its last fit began; where that is not recorded, when its record was written."""
        begun = [datetime.fromisoformat(fit["started"]) for fit in self.fits.values() if fit.get("started")]
        if begun:
            return max(begun).astimezone(UTC)
        record = self.folder / ("run.json" if self.blend is None else "blend.json")
        return datetime.fromtimestamp(record.stat().st_mtime, UTC)

    def fold_scores(self, scores: SampleScores | None) -> tuple[float, ...]:
        """Cross-fitted score of each fold, or, where it is not scored yet, of each fold that is trained."""
        if scores is None or "fold" not in scores.rows or scores.rows["fold"].nunique() < 2:
            return tuple(self.info.fold_scores.values())
        fold = scores.rows["fold"].to_numpy()
        return tuple(float(scores.metric.score(scores.stats[fold == one])) for one in np.unique(fold))


def read_entry(folder: Path) -> StoredEntry:
    """The records of the entry in `folder`. DamagedFile where one was edited or cut off."""
    info, blend = read_info(folder), None
    if (folder / "blend.json").is_file():
        blend = read_made_blend(folder)
    return StoredEntry(folder, info, read_fits(folder / "models"), blend)


def section(title: str, make: Callable[[], Section]) -> Section:
    """What `make` returns; where a file that it reads is damaged, a section that says so."""
    try:
        return make()
    except SkyfoldError as error:
        return Section(title, problem=str(error))


def once(path: Path, compute: Callable[[], JsonDict]) -> JsonDict:
    """What `compute` returns, kept in the file at `path`; it is computed again where that was cut off."""
    with suppress(SkyfoldError, FileNotFoundError):
        return dict(read_json(path))
    found = json.loads(json.dumps(compute()))
    write_json(path, found)
    return dict(found)
