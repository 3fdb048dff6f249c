"""Any segmentation data: a folder of images, one of masks with the same names, and a class table in the config.

The id of an image is its file name without suffix. Truth to score against is a folder of masks, or a table with the
columns id_class (`<id>_<class>`) and EncodedPixels; so is a submission.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from skyfold.competition import Competition, Contest, Truth
from skyfold.competitions._segmentation_files import SegmentationFiles, read_each, refuse, spelled
from skyfold.config.fields import Size, Strict, Text
from skyfold.config.options import one_of
from skyfold.data.images import ImageFiles, check_images, image_paths, read_header
from skyfold.data.masks import TRUTH_RESAMPLING, UNDEFINED, ClassTable, DefinedPixels, MaskFiles
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission, listing
from skyfold.metrics.segmentation import METRICS, named_metric
from skyfold.submission.formats import RleTable, read_table
from skyfold.types import ArraySequence, IntPair, Samples


class Groups(Strict):
    """Which samples belong together. file: a CSV file in the folder; id, column: its columns of ids and of groups."""

    file: Text
    id: Text
    column: Text


class MaskFolder(Contest):
    """classes: {name: value}; a value is a grey value 0..255, a colour '#rrggbb', or a list of them.

    background    values of no class
    ignore_value  values of pixels that count in no loss and no score
    metric        a name in `skyfold.metrics.segmentation.METRICS`
    group         images of one group never fall into different folds
    grid          (H, W) of predictions and scores; by default the size that all images share
    test_images   name of the folder of images to predict; without it there is no part "test"
    """

    classes: Any
    background: Any = 0
    ignore_value: Any = None
    metric: Annotated[str, one_of(METRICS)] = "mean_dice"
    group: Groups | None = None
    grid: Size | None = None
    test_images: Text | None = None

    _table: ClassTable

    def model_post_init(self, context: Any) -> None:
        """ConfigError where a value is of no known kind, or belongs to two of classes, background, ignore_value."""
        self._table = ClassTable.parse(self.classes, background=self.background, ignore_value=self.ignore_value)

    def build(self, folder: Path | None) -> Competition:
        """The competition on `grid`, or on the common size (H, W) of the images in `folder`.

        ConfigError where neither is known, or where the images differ in size and no grid is set.
        """
        if self.grid is None and folder is None:
            raise ConfigError("data.options.grid: set it, or name the folder of the images, whose size is taken then.")
        size = self.grid or _common_size(Path(str(folder)) / "images")
        submission = RleTable(tuple(self._table.classes), size, key_column="id_class")
        files = ImagesAndMasks(submission, self._table, test_images=self.test_images, group=self.group)
        parts = ("train",) if self.test_images is None else ("train", "test")
        return files.competition("mask_folder", named_metric(self.metric), parts=parts)


PLUGIN = MaskFolder


def _common_size(folder: Path) -> IntPair:
    first, *others = image_paths(folder)
    size = read_header(first).size
    for path in others:
        if (other := read_header(path).size) != size:
            raise ConfigError(
                f"{first} has {size[0]}x{size[1]} pixels, {path} {other[0]}x{other[1]}. Set grid: [rows, columns] in "
                "data.options; images and masks are brought to it."
            )
    return size


@dataclass(frozen=True)
class ImagesAndMasks(SegmentationFiles):
    """Folders of images and of masks with the same names.

    table        what the values of masks mean
    folders      pairs of an image and a mask folder, whose samples are trained on
    test_images  the folder of images to predict; None: there are none
    group        the table of groups; None: every image its own
    resampling   how masks are brought to the grid, as in `MaskFiles`
    """

    table: ClassTable
    folders: tuple[tuple[str, str], ...] = (("images", "masks"),)
    test_images: str | None = None
    group: Groups | None = None
    resampling: int = TRUTH_RESAMPLING

    def load(self, folder: Path, part: str) -> Samples:
        """Samples by file name: inputs uint8 (H, W, 3) of any size, targets uint8 0/1 (H, W, K) on the grid.

        The id is the file name without suffix. DataLayoutError lists images and masks without each other, of unequal
        sizes, or of one id; and images without a group, where a table of groups is set.
        """
        if part == "test":
            paths = self._test_paths(folder)
            return Samples(ids=_stems(paths), inputs=ImageFiles(paths))
        images, masks, problems = self._train_paths(folder)
        refuse(folder, problems)
        ids = _stems(images)
        groups = None if self.group is None else _groups(folder / self.group.file, self.group, ids)
        return Samples(ids=ids, inputs=ImageFiles(images), groups=groups, **self._targets(masks))

    def _test_paths(self, folder: Path) -> list[Path]:
        if self.test_images is None:
            raise DataLayoutError(f"{folder}: no test part. Name its folder in data.options.test_images.")
        return image_paths(folder / self.test_images)

    def _train_paths(self, folder: Path) -> tuple[list[Path], list[Path], list[str]]:
        """Images, their masks in the same order, and what is wrong with them."""
        images: list[Path] = []
        masks: list[Path] = []
        problems: list[str] = []
        for image_folder, mask_folder in self.folders:
            try:
                some, theirs = image_paths(folder / image_folder), image_paths(folder / mask_folder)
                problems += _unpaired(some, theirs) or _unequal(some, theirs)
            except DataLayoutError as error:
                problems.append(str(error))
                continue
            images, masks = images + some, masks + theirs
        counts = Counter(path.stem for path in images)
        problems += [f"id '{name}' is in {count} folders; rename it" for name, count in counts.items() if count > 1]
        return images, masks, problems

    def _targets(self, masks: Sequence[Path]) -> dict[str, Any]:
        """Arguments `targets` and `valid` of `Samples` and `Truth`."""
        targets = MaskFiles(masks, self.table, self.submission.shape, self.resampling)
        return {"targets": targets, "valid": DefinedPixels(targets) if self.table.ignore_value else None}

    def check(self, folder: Path) -> str:
        """Read every image and mask; returns counts, and fractions of the classes over all defined pixels.

        DataLayoutError lists, besides the problems of `load`, broken images and mask values of no class.
        """
        images, masks, problems = self._train_paths(folder)
        tests: list[Path] = []
        if self.test_images is not None:
            try:
                tests = self._test_paths(folder)
            except DataLayoutError as error:
                problems.append(str(error))
        problems += check_images([*images, *tests]).values()
        covers, broken = read_each("checking masks", self._fractions, masks)
        refuse(folder, problems + broken)
        samples = self.load(folder, "train")
        fractions = np.array(list(covers.values()))
        defined = 1 - fractions[:, -1]
        parts = [f"{len(samples)} images with masks, grid {spelled(self.submission.shape)}"]
        for name, cover in zip(self.table.classes, fractions.T, strict=False):
            pixels = cover.sum() / max(defined.sum(), 1e-9)
            parts.append(f"{name} {pixels:.1%} of the pixels, empty {(cover == 0).mean():.0%}")
        if self.table.ignore_value:
            parts.append(f"undefined {1 - defined.mean():.1%}")
        if samples.groups is not None:
            parts.append(f"{len(np.unique(samples.groups))} groups")
        if self.test_images is not None:
            parts.append(f"{len(tests)} test images")
        return "; ".join(parts)

    def _fractions(self, mask: Path) -> np.ndarray:
        """Fractions of the pixels of each class, and of ignored ones, float64 (K + 1,)."""
        meaning = self.table.read(mask)
        counted = [*range(len(self.table.classes)), UNDEFINED]
        return np.bincount(meaning.ravel(), minlength=256)[counted] / meaning.size

    def read_truth(self, path: Path) -> Truth:
        """A folder of masks, of any size, or a table on the grid."""
        if not path.is_dir():
            return super().read_truth(path)
        paths = image_paths(path)
        return Truth(ids=_stems(paths), **self._targets(paths))

    def read_pred(self, path: Path, ids: np.ndarray) -> ArraySequence:
        """A folder of masks, or a table. Masks of one class may also be plain 0 and 255.

        A prediction cannot be undefined: such values count as no class. Masks of other ids are ignored.
        InvalidSubmission lists masks that are missing or of another size than `_predicted_size`.
        """
        if not path.is_dir():
            return super().read_pred(path, ids)
        by_id = {file.stem: file for file in image_paths(path)}
        problems = [f"no mask for '{name}'" for name in ids if name not in by_id]
        for name in sorted(set(ids.tolist()) & set(by_id)):
            size, expected = read_header(by_id[name]).size, self._predicted_size(name)
            if expected and size != expected:
                problems.append(f"{by_id[name].name}: {spelled(size)} pixels, expected {spelled(expected)}")
        if problems:
            raise InvalidSubmission(f"{path}: masks are missing or unfit\n{listing(problems)}")
        masks = [by_id[name] for name in ids]
        return MaskFiles(masks, _of_predictions(self.table), self.submission.shape, self.resampling)

    def _predicted_size(self, name: str) -> IntPair | None:
        """(H, W) of a predicted mask of the image `name`; None: any."""
        return self.submission.shape


def _stems(paths: Sequence[Path]) -> np.ndarray:
    return np.array([path.stem for path in paths])


def _unpaired(images: Sequence[Path], masks: Sequence[Path]) -> list[str]:
    have_image, have_mask = {path.stem for path in images}, {path.stem for path in masks}
    if {name.casefold() for name in have_image} == {name.casefold() for name in have_mask} and have_image != have_mask:
        image = next(path for path in images if path.stem not in have_mask)
        mask = next(path for path in masks if path.stem.casefold() == image.stem.casefold())
        return [f"{image} and {mask}: names that differ only in capitals. Name masks exactly as their images."]
    problems = [f"{path}: no mask '{path.stem}.png' for this image" for path in images if path.stem not in have_mask]
    return problems + [f"{path}: no image for this mask" for path in masks if path.stem not in have_image]


def _unequal(images: Sequence[Path], masks: Sequence[Path]) -> list[str]:
    problems = []
    mask_of = {path.stem: path for path in masks}
    for image in images:
        header, mask = read_header(image), read_header(mask_of[image.stem])
        if header.size != mask.size or mask.turned:
            sizes = f"{header.size[0]}x{header.size[1]} pixels, its mask {mask.size[0]}x{mask.size[1]}"
            turned = " (an EXIF tag turns it; turn both or none)" if header.turned or mask.turned else ""
            problems.append(f"{image}: {sizes}{turned}")
    return problems


def _groups(path: Path, group: Groups, ids: np.ndarray) -> np.ndarray:
    """Group of each of `ids` in the table at `path`; DataLayoutError where an id has none or several."""
    table = read_table(path, (group.id, group.column), refuse=DataLayoutError)
    rows = Counter(table[group.id])
    group_of = dict(zip(table[group.id], table[group.column], strict=True))
    problems = [f"id '{name}' is listed {rows[name]} times; keep one row" for name in ids if rows[name] > 1]
    problems += [f"no group for image '{name}'" for name in ids if not group_of.get(name)]
    if problems:
        raise DataLayoutError(f"{path}: every image needs one group\n{listing(problems)}")
    return np.array([group_of[name] for name in ids])


def _of_predictions(table: ClassTable) -> ClassTable:
    """How predicted masks are read: ignored values are no class, and with a single class 0 and 255 are understood."""
    classes, nothing = dict(table.classes), {*table.background, *table.ignore_value}
    if len(classes) == 1:
        [(name, codes)] = classes.items()
        white = 0xFFFFFF if table.colours else 255
        nothing |= {0} - set(codes)
        classes[name] = tuple({*codes, white} - nothing)
    return replace(table, classes=classes, background=tuple(sorted(nothing)), ignore_value=())
