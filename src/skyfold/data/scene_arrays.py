"""Scenes of any size as training and prediction data; every epoch reads crops of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from skyfold.data.batches import Rows
from skyfold.data.crops import CropPlan, EpochCrops, Scene, open_scenes
from skyfold.data.definedness import defined_in, has_undefined
from skyfold.data.images import ImageFiles
from skyfold.data.masks import MaskFiles
from skyfold.data.windows import ArrayWindows, FilledWindows, Windows, kept_array, open_windows
from skyfold.errors import ConfigError, DataLayoutError
from skyfold.files import crc32, digest, remove_unfinished
from skyfold.progress import map_in_threads
from skyfold.types import Samples

VALIDATION_SEED = 0
READ_AT_ONCE = 1 << 20
STRIP_ROWS = 512  # read at once to take limits from: a row of the tiles that most scenes have


@dataclass(frozen=True)
class SceneArrays:
    """Scenes in the place of `TrainingArrays`; only the windows that are read are in memory.

    ids       (n,) str
    images    n of them, to predict
    scenes    n of them, with labels, to train on; None where there are no labels
    plan      how crops are drawn
    classes   K
    checksum  a digest of the contents of the files and of the class table, whatever their names and times
    sizes     as `Samples.sizes`
    """

    ids: np.ndarray
    images: Sequence[Windows]
    scenes: Sequence[Scene] | None
    plan: CropPlan
    classes: int
    checksum: str
    sizes: np.ndarray | None = None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(h, w, C) that the network sees."""
        return *self.plan.size, self.images[0].shape[2]

    @property
    def dtype(self) -> np.dtype:
        """Type of the scenes."""
        return self.images[0].dtype

    def pixels(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """The defined pixels of the scenes `rows` as they are stored, (m, C), strip by strip."""
        assert self.scenes is not None, "limits are taken from scenes to train on"
        for scene in (self.scenes[row] for row in rows):
            height, width, _ = scene.image.shape
            for top in range(0, height, STRIP_ROWS):
                strip = top, 0, min(STRIP_ROWS, height - top), width
                image = scene.image.read(*strip)
                counted = slice(None) if scene.defined is None else scene.defined.read(*strip)[..., 0] > 0
                yield image[counted].reshape(-1, image.shape[-1])

    def epoch_rows(self, rows: np.ndarray, *, seed: int, epoch: int) -> tuple[Rows, np.ndarray]:
        """All crops of the scenes `rows`; a scene that is listed twice is cropped twice, in different places."""
        return self._crops(rows, self.plan, seed=seed, epoch=epoch)

    def validation_rows(self, rows: np.ndarray) -> tuple[Rows, np.ndarray]:
        """The same crops in every epoch, anywhere in their scenes, at the scale of the scenes."""
        return self._crops(rows, replace(self.plan, scales=(1.0, 1.0), balanced=0.0), seed=VALIDATION_SEED, epoch=0)

    def _crops(self, rows: np.ndarray, plan: CropPlan, *, seed: int, epoch: int) -> tuple[Rows, np.ndarray]:
        assert self.scenes is not None, "nothing is learned from scenes without labels"
        crops = EpochCrops([self.scenes[row] for row in rows], plan, self.classes, seed, epoch)
        return crops, np.arange(len(crops))


def scene_arrays(samples: Samples, plan: CropPlan, *, cache: Path) -> SceneArrays:
    """Open every scene of `samples`; what cannot be read by windows is decoded into `cache`, two scenes at a time.

    ConfigError where the samples are no image files with label images of the same size, DataLayoutError where a file
    is broken or of another type than the first.
    """
    images, labels = samples.inputs, samples.targets
    if not isinstance(images, ImageFiles) or not (labels is None or isinstance(labels, MaskFiles)):
        raise ConfigError(
            "image.crop: crops are cut from image files with label images of their size, which these data are not. "
            "Leave image.crop off."
        )
    remove_unfinished(cache)
    paths = [*images.paths, *(labels.paths if labels else [])]
    checksums = map_in_threads("reading scenes", partial(_checksum, cache=cache), paths, "files")
    known = [_definedness(images, row, cache) for row in range(len(images))] if has_undefined(images) else None
    reading = [images.sources(row)[1] for row in range(len(images))] if known else []
    if labels is None:
        content = digest(*checksums, *reading)
        opened = partial(open_windows, cache=cache, bands=images.bands)
        windows = list(map_in_threads("opening scenes", opened, paths, "scenes"))
        scenes, classes = None, 0
    else:
        content = digest(*checksums, repr(labels.table), *reading)
        scenes = open_scenes(images.paths, labels.paths, labels.table, cache=cache, bands=images.bands, defined=known)
        windows, classes = [scene.image for scene in scenes], len(labels.table.classes)
    for path, window in zip(images.paths, windows, strict=True):
        if window.dtype != windows[0].dtype:
            raise DataLayoutError(
                f"{path}: {window.dtype}, {images.paths[0]} {windows[0].dtype}. Write all images with one type."
            )
    if known is not None:
        pairs = zip(windows, known, strict=True)
        windows = [window if defined is None else FilledWindows(window, defined) for window, defined in pairs]
    return SceneArrays(samples.ids, windows, scenes, plan, classes, content, samples.sizes)


def _definedness(images: ImageFiles, row: int, cache: Path) -> ArrayWindows | None:
    """1 where a scene has measurements and else 0 (C = 1), kept in `cache`; None where it has everywhere."""

    def read() -> np.ndarray:
        defined = defined_in(images, row)
        return np.ones(1, np.uint8) if defined is None else defined.astype(np.uint8)

    kept = kept_array(images.paths[row], cache, f"defined {images.sources(row)[1]}", read)
    return None if kept.ndim == 1 else ArrayWindows(kept, 1, images.paths[row])


def _checksum(path: Path, cache: Path) -> str:
    """CRC-32 of a file, computed once."""

    def read() -> np.ndarray:
        crc = 0
        with open(path, "rb") as file:
            while part := file.read(READ_AT_ONCE):
                crc = crc32(part, crc)
        return np.array([crc], dtype=np.uint32)

    return f"{int(kept_array(path, cache, 'checksum', read)[0]):08x}"
