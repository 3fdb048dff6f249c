"""Random crops of large scenes for training: one size per epoch, balanced over classes.

Every draw depends on (seed, epoch, row) only, so that an epoch is the same in whatever order its crops are made, and
after an interruption. Only the cropped windows are read.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from skyfold.data.cache import reduce_masks
from skyfold.data.definedness import reduce_defined
from skyfold.data.images import resize
from skyfold.data.masks import UNDEFINED, ClassTable
from skyfold.data.seeding import derived_seed
from skyfold.data.windows import ArrayWindows, FilledWindows, Windows, kept_array, open_labels, open_windows
from skyfold.errors import DataLayoutError
from skyfold.progress import map_in_threads
from skyfold.types import ArraySequence, IntPair, LazyArrays

CELL = 64  # pixels; the side of the squares in which the pixels of a class are counted


@dataclass(frozen=True)
class CropPlan:
    """How crops are drawn.

    size             (h, w) that the network reads; every crop is resized to it
    crops_per_image  crops of each scene in an epoch
    scales           (low, high): the sides of an epoch's crops over `size`, log-uniform between them
    balanced         fraction of crops drawn around a pixel of a class, each class that the scene has being equally
                     likely, however rare it is; the other crops lie anywhere
    """

    size: IntPair
    crops_per_image: int = 1
    scales: tuple[float, float] = (1.0, 1.0)
    balanced: float = 0.5

    def side(self, *, seed: int, epoch: int) -> IntPair:
        """(h, w) that all crops of an epoch have in their scenes."""
        low, high = np.log(self.scales)
        scale = np.exp(np.random.default_rng(derived_seed("crop size", seed, epoch)).uniform(low, high))
        return max(1, round(self.size[0] * scale)), max(1, round(self.size[1] * scale))


class Crop(NamedTuple):
    """A window of a scene, in its pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Scene:
    """An image, the places of its pixels' classes (C = 1, as `ClassTable.read`), and where they are.

    counts: int32 (rows, columns, K), the pixels of each class in each square of CELL pixels; defined: 0 where the image
    has no measurement (C = 1), and labels are UNDEFINED; None: it has one everywhere.
    """

    image: Windows
    labels: Windows
    counts: np.ndarray
    defined: Windows | None = None

    def pixel(self, place: int, number: int) -> IntPair:
        """Row and column of one pixel of class `place`, of which there are `counts[..., place].sum()`; `number` says
        which. Reads one square of labels."""
        ends = np.cumsum(self.counts[..., place])
        cell = int(np.searchsorted(ends, number, side="right"))
        top, left = (CELL * index for index in divmod(cell, self.counts.shape[1]))
        height, width, _ = self.labels.shape
        square = self.labels.read(top, left, min(CELL, height - top), min(CELL, width - left))[..., 0]
        rows, columns = np.nonzero(square == place)
        within = number - (ends[cell] - self.counts[..., place].ravel()[cell])
        return top + int(rows[within]), left + int(columns[within])


@dataclass(frozen=True)
class EpochCrops:
    """The crops of one epoch, drawn when indexed: crops `i * crops_per_image` and on are those of scene i."""

    scenes: Sequence[Scene]
    plan: CropPlan
    classes: int
    seed: int
    epoch: int

    def __len__(self) -> int:
        return len(self.scenes) * self.plan.crops_per_image

    @property
    def inputs(self) -> ArraySequence:
        """(h, w, C) each, of `plan.size`, in the type of the scenes."""
        return LazyArrays(len(self), self._image)

    @property
    def targets(self) -> ArraySequence:
        """uint8 (h, w, K + 1) each: masks, 0 or 1, and last where pixels count."""
        return LazyArrays(len(self), self._target)

    def _image(self, row: int) -> np.ndarray:
        scene = self.scenes[row // self.plan.crops_per_image]
        image, size = scene.image.read(*self.crop(row)), self.plan.size
        if scene.defined is None:
            return resize(image, size)
        return reduce_defined(image, scene.defined.read(*self.crop(row))[..., 0] > 0, size)[0]

    def _target(self, row: int) -> np.ndarray:
        places = self.scenes[row // self.plan.crops_per_image].labels.read(*self.crop(row))
        return reduce_masks(places == np.arange(self.classes), places[..., 0] != UNDEFINED, self.plan.size)

    def crop(self, row: int) -> Crop:
        """The window of crop `row`, the same whenever it is drawn."""
        scene = self.scenes[row // self.plan.crops_per_image]
        rng = np.random.default_rng(derived_seed("crop", self.seed, self.epoch, row))
        return draw_crop(scene, self.plan.side(seed=self.seed, epoch=self.epoch), balanced=self.plan.balanced, rng=rng)


def open_scenes(
    images: Sequence[Path],
    labels: Sequence[Path],
    table: ClassTable,
    *,
    cache: Path,
    bands: int = 3,
    defined: Sequence[ArrayWindows | None] | None = None,
) -> list[Scene]:
    """Scenes to draw crops from; what must be decoded as a whole is, two scenes at a time, and stays in `cache`.

    defined: of each scene 0 where it has no measurement (C = 1), None: it has everywhere; labels are undefined there,
    too. DataLayoutError names a file that is damaged, or a label of another size than its image.
    """

    def opened(path: Path, label: Path, known: ArrayWindows | None) -> Scene:
        image = open_windows(path, cache=cache, bands=bands)
        places: Windows = open_labels(label, table, cache=cache)
        (height, width, _), own = image.shape, places.shape
        if (height, width) != own[:2]:
            raise DataLayoutError(f"{path}: {height}x{width} pixels, its label {own[0]}x{own[1]}.")
        what = f"counts {CELL} {table!r}"
        if known is not None:
            places, what = FilledWindows(places, known, UNDEFINED), f"{what} {zlib.crc32(known.array.data)}"
        count = partial(count_classes, places, len(table.classes))
        return Scene(image, places, kept_array(label, cache, what, count), known)

    known = [None] * len(images) if defined is None else defined
    return list(map_in_threads("opening scenes", opened, images, "scenes", labels, known))


def count_classes(labels: Windows, classes: int) -> np.ndarray:
    """Pixels of each class in each square of CELL pixels, int32 (rows, columns, K). Reads a row of squares at once."""
    height, width, _ = labels.shape
    starts = np.arange(0, width, CELL)
    rows = []
    for top in range(0, height, CELL):
        strip = labels.read(top, 0, min(CELL, height - top), width)[..., 0]
        rows.append([np.add.reduceat((strip == place).sum(axis=0), starts) for place in range(classes)])
    return np.moveaxis(np.array(rows, dtype=np.int32), 1, -1)


def draw_crop(scene: Scene, side: IntPair, *, balanced: float, rng: np.random.Generator) -> Crop:
    """A crop of `side` (h, w), reduced in proportion where the scene is smaller; see `CropPlan` for `balanced`."""
    height, width, _ = scene.image.shape
    shrink = min(1.0, height / side[0], width / side[1])
    h, w = min(height, max(1, round(side[0] * shrink))), min(width, max(1, round(side[1] * shrink)))
    totals = scene.counts.sum(axis=(0, 1), dtype=np.int64)
    if rng.random() >= balanced or not totals.any():
        return Crop(int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w)
    place = int(rng.choice(np.flatnonzero(totals)))
    row, column = scene.pixel(place, int(rng.integers(totals[place])))
    # The pixel lies anywhere in the crop, so that classes are not always seen in its middle.
    top = np.clip(row - rng.integers(h), 0, height - h)
    left = np.clip(column - rng.integers(w), 0, width - w)
    return Crop(int(top), int(left), h, w)
