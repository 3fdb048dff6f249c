"""Open a data set: its competition, samples and folds, read once and passed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from skyfold.competition import Competition, Truth, build
from skyfold.config.data import DataConfig
from skyfold.data.cache import with_packed_masks
from skyfold.data.contents import FileChecksums, contents_of
from skyfold.data.valid_pixels import with_defined_inputs
from skyfold.errors import ConfigError
from skyfold.store.contents import Contents
from skyfold.store.folds import Folds, load_folds
from skyfold.types import IntPair, LazyArrays, Samples
from skyfold.workspace import Workspace


@dataclass(frozen=True)
class Dataset:
    """samples: by part, "train" and, where the competition has one, "test"; folds: of the training samples; contents:
    what the samples hold, to compare with what a run or blend was made from."""

    competition: Competition
    samples: Mapping[str, Samples]
    folds: Folds
    contents: Contents

    @property
    def train(self) -> Samples:
        return self.samples["train"]

    @property
    def test(self) -> Samples | None:
        return self.samples.get("test")

    def truth(self) -> Truth:
        """Ground truth of the training samples that are scored, masks as bool."""
        rows, targets, valid = self.folds.scored, self.train.targets, self.train.valid
        assert targets is not None
        return Truth(
            self.train.ids[rows],
            LazyArrays(len(rows), lambda i: targets[rows[i]].astype(bool)),
            None if valid is None else LazyArrays(len(rows), lambda i: valid[rows[i]]),
        )

    def eval_rows(self, years: IntPair | None) -> np.ndarray:
        """Training samples that a fold validates, of the first to the last of `years`; None: of all.

        ConfigError where samples have no dates, or the folds validate other years.
        """
        rows = np.flatnonzero(self.folds.fold >= 0)
        if years is None:
            return rows
        if self.train.times is None:
            raise ConfigError("eval_years: names years, but the samples of these data have no dates. Remove it.")
        year_of = self.train.times.astype("datetime64[Y]").astype(np.int64) + 1970
        rows = rows[(year_of[rows] >= years[0]) & (year_of[rows] <= years[1])]
        if not len(rows):
            raise ConfigError(f"eval_years: no fold validates a date of {years}. See data.folds.")
        found = int(year_of[rows].min()), int(year_of[rows].max())
        if found != years:
            raise ConfigError(
                f"eval_years: {list(years)}, but the folds validate only {found[0]} to {found[1]}. Set eval_years to "
                "those, or change data.folds."
            )
        return rows


def open_dataset(data: DataConfig, workspace: Workspace, *, parts: Sequence[str] | None = None) -> Dataset:
    """The samples of `parts` (None: all there are) and the folds.

    DataLayoutError where files are missing or broken, or folds.csv is of other samples or settings.
    """
    folder = workspace.existing_data(data.folder)
    competition = build(data.competition, data.options, folder)
    samples = {part: competition.load(folder, part) for part in parts or competition.parts}
    folds = load_folds(data, samples["train"], workspace)
    checksums = FileChecksums(workspace.cache(data.folder) / "checksums.json", verify=workspace.verify)
    contents = contents_of(samples, checksums)
    samples = {part: with_defined_inputs(some, competition.grid) for part, some in samples.items()}
    return Dataset(competition, samples, folds, contents)


def open_masks(data: DataConfig, workspace: Workspace) -> Dataset:
    """As `open_dataset`, masks decoded once into bits in the cache, for stages that read them often."""
    return with_masks_packed(open_dataset(data, workspace), data, workspace)


def with_masks_packed(dataset: Dataset, data: DataConfig, workspace: Workspace) -> Dataset:
    """`dataset`, opened with the config `data`, as `open_masks` opens it."""
    folder = workspace.cache(data.folder) / "grid"
    packed = with_packed_masks(dataset.train, folder, fingerprint=dataset.competition.source)
    return replace(dataset, samples={**dataset.samples, "train": packed})
