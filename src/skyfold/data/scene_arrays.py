"""What a run on big scenes learns from and predicts: scenes of any size, of which every epoch sees crops."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from skyfold.data.batches import Rows
from skyfold.data.crops import CropPlan, EpochCrops, Scene, open_scenes
from skyfold.data.images import ImageFiles
from skyfold.data.masks import MaskFiles
from skyfold.data.windows import Windows, for_each, kept_array, open_windows
from skyfold.errors import ConfigError
from skyfold.files import digest
from skyfold.types import Samples

VALIDATION_SEED = 0
READ_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class SceneArrays:
    """Scenes in the place of `TrainingArrays`; nothing of them is in memory but the windows that are asked for.

    ids      (n,) str
    images   n of them, to be predicted
    scenes   n of them, with labels, to be learned from; None where there are no labels
    plan     how crops are drawn
    classes  K
    content  a digest of what the files hold and of what the labels mean, the same wherever and whenever they lie
    """

    ids: np.ndarray
    images: Sequence[Windows]
    scenes: Sequence[Scene] | None
    plan: CropPlan
    classes: int
    checksum: str

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(h, w, C) that the network sees."""
        return *self.plan.size, self.images[0].shape[2]

    def epoch_rows(self, rows: np.ndarray, *, seed: int, epoch: int) -> tuple[Rows, np.ndarray]:
        """All crops of the scenes `rows`; a scene that is listed twice is cropped twice, in different places."""
        crops = self.crops(rows, self.plan, seed=seed, epoch=epoch)
        return crops, np.arange(len(crops))

    def validation_rows(self, rows: np.ndarray) -> tuple[Rows, np.ndarray]:
        """The same crops in every epoch, anywhere in their scenes, at the scale of the scenes."""
        plan = replace(self.plan, scales=(1.0, 1.0), balanced=0.0)
        crops = self.crops(rows, plan, seed=VALIDATION_SEED, epoch=0)
        return crops, np.arange(len(crops))

    def crops(self, rows: np.ndarray, plan: CropPlan, *, seed: int, epoch: int) -> EpochCrops:
        assert self.scenes is not None, "nothing is learned from scenes without labels"
        return EpochCrops([self.scenes[row] for row in rows], plan, self.classes, seed, epoch)


def scene_arrays(samples: Samples, plan: CropPlan, *, cache: Path) -> SceneArrays:
    """Open every scene of `samples`; what cannot be read by windows is decoded into `cache`, two scenes at a time.

    ConfigError where the samples are no image files with label images of the same size, DataLayoutError where a file
    is broken.
    """
    images, labels = samples.inputs, samples.targets
    if not isinstance(images, ImageFiles) or not (labels is None or isinstance(labels, MaskFiles)):
        raise ConfigError(
            "image.crop: crops are cut from image files with label images of their size, which these data are not. "
            "Leave image.crop off."
        )
    paths = [*images.paths, *(labels.paths if labels else [])]
    checksums = for_each("reading scenes", "files", partial(_checksum, cache=cache), paths)
    if labels is None:
        opened = partial(open_windows, cache=cache, bands=images.bands)
        windows = for_each("opening scenes", "scenes", opened, paths)
        return SceneArrays(samples.ids, windows, None, plan, 0, digest(*checksums))
    scenes = open_scenes(images.paths, labels.paths, labels.table, cache=cache, bands=images.bands)
    checksum = digest(*checksums, repr(labels.table))
    return SceneArrays(
        samples.ids, [scene.image for scene in scenes], scenes, plan, len(labels.table.classes), checksum
    )


def _checksum(path: Path, cache: Path) -> str:
    """CRC-32 of a file, computed once."""

    def read() -> np.ndarray:
        crc = 0
        with open(path, "rb") as file:
            while part := file.read(READ_AT_ONCE):
                crc = zlib.crc32(part, crc)
        return np.array([crc], dtype=np.uint32)

    return f"{int(kept_array(path, cache, 'checksum', read)[0]):08x}"
