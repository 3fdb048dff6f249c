"""Any segmentation data: a folder of images, one of masks with the same names, and a class table in the config.

The id of an image is its file name without suffix. Truth to score against is a folder of masks, or a table with the
columns id_class (`<id>_<class>`) and EncodedPixels; so is a submission.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from skyfold.competition import Competition, Contest, Truth
from skyfold.competitions._segmentation_files import SegmentationFiles, read_each, spelled
from skyfold.config.fields import Size, Strict, Text
from skyfold.config.options import one_of
from skyfold.data.check_images import check_images, note_turned
from skyfold.data.folder import file_id, note_others, unread
from skyfold.data.images import SUFFIXES, ImageFiles, image_paths, read_header
from skyfold.data.masks import UNDEFINED, ClassTable, DefinedPixels, MaskFiles
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission, Problems, listing, shortened
from skyfold.metrics.segmentation import METRICS, named_metric
from skyfold.progress import note
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

        ConfigError where neither is known. Images that differ in size, where no grid is set, are refused when the files
        are read.
        """
        if self.grid is None and folder is None:
            raise ConfigError("data.options.grid: set it, or name the folder of the images, whose size is taken then.")
        size, unfit = (self.grid, "") if self.grid or folder is None else _common_size(folder / "images")
        submission = RleTable(tuple(self._table.classes), size or (1, 1), key_column="id_class")
        files = ImagesAndMasks(submission, self._table, test_images=self.test_images, group=self.group, unfit=unfit)
        parts = ("train",) if self.test_images is None else ("train", "test")
        return files.competition("mask_folder", named_metric(self.metric), parts=parts)


PLUGIN = MaskFolder


def _common_size(folder: Path) -> tuple[IntPair | None, str]:
    """(H, W) of the first image whose header can be read, None where there is none; and why it is not that of all."""
    sizes: dict[Path, IntPair] = {}
    for path in image_paths(folder, Problems()):
        with suppress(DataLayoutError):  # `ImagesAndMasks.check` names the file
            sizes[path] = read_header(path).size
    if not sizes:
        return None, f"{folder}: no image whose size could be that of the grid. Set data.options.grid: [rows, columns]."
    first, size = next(iter(sizes.items()))
    for path, found in sizes.items():
        if found != size:
            return size, (
                f"{first} has {spelled(size)} pixels, {path} {spelled(found)}. Set grid: [rows, columns] in "
                "data.options; images and masks are brought to it."
            )
    return size, ""


@dataclass(frozen=True)
class ImagesAndMasks(SegmentationFiles):
    """Folders of images and of masks with the same names.

    table        what the values of masks mean
    folders      pairs of an image and a mask folder, whose samples are trained on
    test_images  the folder of images to predict; None: there are none
    group        the table of groups; None: every image its own
    unfit        why the grid does not fit all images; they cannot be used then
    """

    table: ClassTable
    folders: tuple[tuple[str, str], ...] = (("images", "masks"),)
    test_images: str | None = None
    group: Groups | None = None
    unfit: str = ""

    def load(self, folder: Path, part: str) -> Samples:
        """Samples by file name: inputs uint8 (H, W, 3) of any size, targets uint8 0/1 (H, W, K) on the grid.

        The id is the file name without suffix. DataLayoutError lists images and masks without each other, of unequal
        sizes, or of one id; and images without a group, where a table of groups is set.
        """
        problems = Problems()
        if part == "test":
            paths = self._test_paths(folder, problems)
            problems.refuse(folder)
            return Samples(ids=_ids(paths), inputs=ImageFiles(paths))
        images, masks = self._train_paths(folder, problems)
        _add_unequal(zip(images, masks, strict=True), problems)
        groups = self._groups(folder, images, problems)
        problems.refuse(folder)
        return Samples(ids=_ids(images), inputs=ImageFiles(images), groups=groups, **self._targets(masks))

    def _test_paths(self, folder: Path, problems: Problems) -> list[Path]:
        if self.test_images is None:
            raise DataLayoutError(f"{folder}: no test part. Name its folder in data.options.test_images.")
        return image_paths(folder / self.test_images, problems)

    def _train_paths(self, folder: Path, problems: Problems) -> tuple[list[Path], list[Path]]:
        """Images and their masks, in the same order; what is wrong with them is added to `problems`."""
        pairs: dict[Path, Path] = {}
        if self.unfit:
            problems.add("images that give no grid", self.unfit)
        for image_folder, mask_folder in self.folders:
            some, theirs = (image_paths(folder / name, problems) for name in (image_folder, mask_folder))
            if some and theirs:
                pairs |= _paired(some, theirs, problems)
        counts = Counter(map(file_id, pairs))
        twice = [f"id '{name}' is in {count} folders; rename it" for name, count in counts.items() if count > 1]
        problems.add("files of one id", *twice)
        return list(pairs), list(pairs.values())

    def _groups(self, folder: Path, images: Sequence[Path], problems: Problems) -> np.ndarray | None:
        """Group of each image in the table of groups; None where there is none."""
        if self.group is None:
            return None
        path = folder / self.group.file
        try:
            table = read_table(path, (self.group.id, self.group.column), refuse=DataLayoutError)
        except DataLayoutError as error:
            problems.add("tables that cannot be read", str(error))
            return None
        names = list(map(file_id, images))
        rows = Counter(table[self.group.id])
        group_of = dict(zip(table[self.group.id], table[self.group.column], strict=True))
        found = [f"id '{name}' is listed {rows[name]} times; keep one row" for name in names if rows[name] > 1]
        found += [f"no group for image '{name}'. Add one" for name in names if not group_of.get(name)]
        problems.add(f"rows of {path}, where every image needs one group", *found)
        return np.array([group_of.get(name, "") for name in names])

    def _targets(self, masks: Sequence[Path]) -> dict[str, Any]:
        """Arguments `targets` and `valid` of `Samples` and `Truth`."""
        targets = MaskFiles(masks, self.table, self.submission.shape)
        return {"targets": targets, "valid": DefinedPixels(targets) if self.table.ignore_value else None}

    def check(self, folder: Path) -> str:
        """Read every image and mask; returns counts, and fractions of the classes over all defined pixels.

        DataLayoutError lists, besides the problems of `load`, broken images and mask values of no class.
        """
        problems = Problems()
        images, masks = self._train_paths(folder, problems)
        groups = self._groups(folder, images, problems)
        tests = [] if self.test_images is None else self._test_paths(folder, problems)
        whole = check_images([*images, *tests], problems)
        note_turned(whole)
        covers = read_each("checking masks", self._fractions, masks, problems)
        pairs = [pair for pair in zip(images, masks, strict=True) if pair[0] in whole and pair[1] in covers]
        _add_unequal(pairs, problems)
        for name in [*(name for pair in self.folders for name in pair), self.test_images]:
            if name is not None:
                note_others(folder / name, SUFFIXES)
        self._note_sizes([path for path in tests if path in whole])
        problems.refuse(folder)
        fractions = np.array(list(covers.values()))
        defined = 1 - fractions[:, -1]
        parts = [f"{len(images)} images with masks, grid {spelled(self.submission.shape)}"]
        for name, cover in zip(self.table.classes, fractions.T, strict=False):
            pixels = cover.sum() / max(defined.sum(), 1e-9)
            parts.append(f"{name} {pixels:.1%} of the pixels, empty {(cover == 0).mean():.0%}")
        if self.table.ignore_value:
            parts.append(f"undefined {1 - defined.mean():.1%}")
        if groups is not None:
            parts.append(f"{len(np.unique(groups))} groups")
        if self.test_images is not None:
            parts.append(f"{len(tests)} test images")
        for name, cover in zip(self.table.classes, fractions.T, strict=False):
            if not cover.any():
                values = " or ".join(map(self.table.spelled, self.table.classes[name]))
                note(f"{folder}: no mask has a pixel of class '{name}' (value {values}). Is it the right value?")
        return "; ".join(parts)

    def _note_sizes(self, tests: Sequence[Path]) -> None:
        """Say which test images have another size than most: their masks are on the grid like all others."""
        sizes = {path: read_header(path).size for path in tests}
        usual = max(Counter(sizes.values()).items(), key=lambda item: item[1], default=((0, 0), 0))[0]
        if odd := [f"{path.name} ({spelled(size)})" for path, size in sizes.items() if size != usual]:
            note(
                f"{tests[0].parent}: {len(odd)} of {len(tests)} test images are not {spelled(usual)} like most: "
                f"{shortened(odd)}. Their masks are submitted on the grid of {spelled(self.submission.shape)}, too."
            )

    def _fractions(self, mask: Path) -> np.ndarray:
        """Fractions of the pixels of each class, and of ignored ones, float64 (K + 1,)."""
        meaning = self.table.read(mask)
        counted = [*range(len(self.table.classes)), UNDEFINED]
        return np.bincount(meaning.ravel(), minlength=256)[counted] / meaning.size

    def read_truth(self, path: Path) -> Truth:
        """A folder of masks, of any size, or a table on the grid."""
        if self.unfit:
            raise ConfigError(self.unfit)
        if not path.is_dir():
            return super().read_truth(path)
        paths = image_paths(path)
        note_others(path, SUFFIXES, expected="masks")
        return Truth(ids=_ids(paths), **self._targets(paths))

    def read_pred(self, path: Path, ids: np.ndarray) -> ArraySequence:
        """A folder of masks, or a table. Masks of one class may also be plain 0 and 255.

        A prediction cannot be undefined: such values count as no class. Masks of other ids are ignored.
        InvalidSubmission lists masks that are missing or of another size than `_predicted_size`.
        """
        if not path.is_dir():
            return super().read_pred(path, ids)
        by_id = {file_id(file): file for file in image_paths(path)}
        problems = [f"no mask for '{name}'{unread(path, name)}" for name in ids if name not in by_id]
        for name in sorted(set(ids.tolist()) & set(by_id)):
            size, expected = read_header(by_id[name]).size, self._predicted_size(name)
            if expected and size != expected:
                problems.append(f"{by_id[name].name}: {spelled(size)} pixels, expected {spelled(expected)}")
        if problems:
            raise InvalidSubmission(f"{path}: masks are missing or unfit\n{listing(problems)}")
        masks = [by_id[name] for name in ids]
        return MaskFiles(masks, _of_predictions(self.table), self.submission.shape)

    def _predicted_size(self, name: str) -> IntPair | None:
        """(H, W) of a predicted mask of the image `name`; None: any."""
        return self.submission.shape


def _ids(paths: Sequence[Path]) -> np.ndarray:
    return np.array(list(map(file_id, paths)))


def _paired(images: Sequence[Path], masks: Sequence[Path], problems: Problems) -> dict[Path, Path]:
    """Images that have a mask, and it; the others are added to `problems`."""
    image_of, mask_of = {file_id(path): path for path in images}, {file_id(path): path for path in masks}
    alone = [name for name in image_of if name not in mask_of]
    left = {name.casefold(): path for name, path in mask_of.items() if name not in image_of}
    if alone and {name.casefold() for name in alone} == set(left):
        image = image_of[alone[0]]
        problems.add(
            "names that differ in capitals",
            f"{image} and {left[alone[0].casefold()]}: names that differ only in capitals. Name masks exactly as their "
            "images.",
        )
    else:
        where = masks[0].parent, images[0].parent
        missing = [f"{image_of[name]}: no mask '{name}.png' for this image{unread(where[0], name)}" for name in alone]
        spare = [name for name in mask_of if name not in image_of]
        problems.add("images without a mask", *missing)
        unused = [f"{mask_of[name]}: no image for this mask{unread(where[1], name)}" for name in spare]
        problems.add("masks without an image", *unused)
    return {path: mask_of[name] for name, path in image_of.items() if name in mask_of}


def _add_unequal(pairs: Iterable[tuple[Path, Path]], problems: Problems) -> None:
    """Add images to `problems` whose size is not that of their mask, and masks that an EXIF tag turns."""
    for image, path in pairs:
        try:
            header, mask = read_header(image), read_header(path)
        except DataLayoutError as error:
            problems.add_error(error)
            continue
        if header.size != mask.size or mask.turned:
            sizes = f"{spelled(header.size)} pixels, its mask {spelled(mask.size)}"
            turned = " (an EXIF tag turns it; turn both or none)" if header.turned or mask.turned else ""
            problems.add("images and masks of unequal size", f"{image}: {sizes}{turned}")


def _of_predictions(table: ClassTable) -> ClassTable:
    """How predicted masks are read: ignored values are no class, and with a single class 0 and 255 are understood."""
    classes, nothing = dict(table.classes), {*table.background, *table.ignore_value}
    if len(classes) == 1:
        [(name, codes)] = classes.items()
        white = 0xFFFFFF if table.colours else 255
        nothing |= {0} - set(codes)
        classes[name] = tuple({*codes, white} - nothing)
    return replace(table, classes=classes, background=tuple(sorted(nothing)), ignore_value=())
