"""Open a data set: its competition, samples and folds, read once and passed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from skyfold.competition import Competition, build
from skyfold.config.data import DataConfig
from skyfold.data.cache import with_packed_masks
from skyfold.store.fold_files import load_folds
from skyfold.store.folds import Folds
from skyfold.types import Samples
from skyfold.workspace import Workspace


@dataclass(frozen=True)
class Dataset:
    """samples: by part, "train" and, where the competition has one, "test"; folds: of the training samples."""

    competition: Competition
    samples: Mapping[str, Samples]
    folds: Folds

    @property
    def train(self) -> Samples:
        return self.samples["train"]

    @property
    def test(self) -> Samples | None:
        return self.samples.get("test")


def open_dataset(data: DataConfig, workspace: Workspace, *, parts: Sequence[str] | None = None) -> Dataset:
    """The samples of `parts` (None: all there are) and the folds.

    DataLayoutError where files are missing or broken, or folds.csv is of other samples or settings.
    """
    folder = workspace.data(data.folder)
    competition = build(data.competition, data.options, folder)
    samples = {part: competition.load(folder, part) for part in parts or competition.parts}
    return Dataset(competition, samples, load_folds(data, samples["train"].ids, workspace))


def with_masks_in_cache(dataset: Dataset, data: DataConfig, workspace: Workspace) -> Dataset:
    """`dataset` with its training masks decoded once into bits in the cache, for stages that read them often."""
    packed = with_packed_masks(dataset.train, workspace.cache(data.folder) / "grid")
    return replace(dataset, samples={**dataset.samples, "train": packed})
