"""Any segmentation data: a folder of images, one of masks with the same names, and a class table in the config.

The id of an image is its file name without suffix. Truth to score against is a folder of masks, or a table with the
columns id_class (`<id>_<class>`) and EncodedPixels; so is a submission.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from skyfold.competition import Competition, Contest, Truth
from skyfold.config.fields import Size, Strict, Text
from skyfold.config.options import one_of
from skyfold.data.images import THREADS, ImageFiles, check_images, image_paths, read_header
from skyfold.data.masks import UNDEFINED, ClassTable, DefinedPixels, MaskFiles
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission, listing
from skyfold.metrics.segmentation import METRICS, named_metric
from skyfold.progress import Progress
from skyfold.submission.formats import RleTable, read_table
from skyfold.types import ArraySequence, IntPair, Samples


class Groups(Strict):
    """Which samples belong together. file: a CSV file in the folder; id, column: its columns of ids and of groups."""

    file: Text
    id: Text
    column: Text


class MaskFolder(Contest):
    """classes: {name: value}; a value is a grey value 0..255, a colour '#rrggbb', or a list of them.

    images, masks, test_images  names of folders in `folder`; without test_images there is no part "test"
    background, ignore_value    values of no class; values of pixels that count in no loss and no score
    metric                      a name in skyfold.metrics.segmentation.METRICS
    grid                        (H, W) of predictions and scores; without it the size that all images share
    """

    classes: Any
    images: Text = "images"
    masks: Text = "masks"
    background: Any = 0
    ignore_value: Any = None
    metric: Annotated[str, one_of(METRICS)] = "mean_dice"
    group: Groups | None = None
    grid: Size | None = None
    test_images: Text | None = None

    _table: ClassTable

    def model_post_init(self, context: Any) -> None:
        self._table = ClassTable.parse(self.classes, background=self.background, ignore_value=self.ignore_value)

    def build(self, folder: Path | None) -> Competition:
        if self.grid is None and folder is None:
            raise ConfigError("data.options.grid: set it, or name the folder of the images, whose size is taken then.")
        size = self.grid or _common_size(Path(str(folder)) / self.images)
        files = Layout(self.images, self.masks, self.test_images, self._table, size, self.group)
        return Competition(
            name="mask_folder",
            task="segmentation",
            classes=tuple(self._table.classes),
            grid=size,
            unit="probability",
            metric=named_metric(self.metric),
            submission=files.submission,
            load=files.load,
            check=files.check,
            read_truth=files.read_truth,
            read_pred=files.read_pred,
            sample_table=lambda folder: None,
            parts=("train",) if self.test_images is None else ("train", "test"),
        )


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
class Layout:
    """Where images, masks and groups lie in the folder, and what masks mean."""

    images: str
    masks: str
    test_images: str | None
    table: ClassTable
    grid: IntPair
    group: Groups | None

    @property
    def submission(self) -> RleTable:
        return RleTable(tuple(self.table.classes), self.grid, key_column="id_class", rle_column="EncodedPixels")

    def load(self, folder: Path, part: str) -> Samples:
        """Looks at names and headers, not at pixels."""
        if part not in ("train", "test"):
            raise ConfigError(f"part '{part}': there are train and test.")
        if part == "test":
            if self.test_images is None:
                raise DataLayoutError(f"{folder}: no test part. Name its folder in data.options.test_images.")
            paths = image_paths(folder / self.test_images)
            return Samples(ids=_stems(paths), inputs=ImageFiles(paths))
        images, masks = image_paths(folder / self.images), image_paths(folder / self.masks)
        problems = _unpaired(images, masks) or _unequal(images, masks)
        if problems:
            raise DataLayoutError(f"{folder}: images and masks do not fit together\n{listing(problems)}")
        ids = _stems(images)
        targets = MaskFiles(masks, self.table, self.grid)
        return Samples(
            ids=ids,
            inputs=ImageFiles(images),
            targets=targets,
            valid=DefinedPixels(targets) if self.table.ignore_value else None,
            groups=None if self.group is None else _groups(folder / self.group.file, self.group, ids),
        )

    def check(self, folder: Path) -> str:
        samples = self.load(folder, "train")
        assert isinstance(samples.inputs, ImageFiles)
        assert isinstance(samples.targets, MaskFiles)
        problems = list(check_images(samples.inputs.paths).values())
        if self.test_images is not None:
            problems += check_images(image_paths(folder / self.test_images), label="checking test images").values()
        shares, found = self._shares(samples.targets.paths)
        problems += found
        if problems:
            count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
            raise DataLayoutError(f"{folder}: {count}\n{listing(problems, limit=20)}")
        defined = 1 - shares[:, -1]
        covers = [
            f"{name} {share.sum() / max(defined.sum(), 1e-9):.1%} of the pixels, empty {(share == 0).mean():.0%}"
            for name, share in zip(self.table.classes, shares.T, strict=False)
        ]
        parts = [f"{len(samples)} images with masks, grid {self.grid[0]}x{self.grid[1]}", *covers]
        if self.table.ignore_value:
            parts.append(f"undefined {1 - defined.mean():.1%}")
        if samples.groups is not None:
            parts.append(f"{len(np.unique(samples.groups))} groups")
        if self.test_images is not None:
            parts.append(f"{len(self.load(folder, 'test'))} test images")
        return "; ".join(parts)

    def read_truth(self, path: Path) -> Truth:
        """A folder of masks, of any size, or a table on the grid."""
        if not path.is_dir():
            ids, masks = self.submission.read_masks(path)
            return Truth(ids=ids, targets=masks)
        paths = image_paths(path)
        targets = MaskFiles(paths, self.table, self.grid)
        valid = DefinedPixels(targets) if self.table.ignore_value else None
        return Truth(ids=_stems(paths), targets=targets, valid=valid)

    def read_pred(self, path: Path, ids: np.ndarray) -> ArraySequence:
        """A folder of masks on the grid, or a table. Masks of one class may also be plain 0 and 255.

        A prediction cannot be undefined: such values count as no class. Masks of other ids are left aside.
        """
        if not path.is_dir():
            return self.submission.read_masks(path, ids)[1]
        by_id = {file.stem: file for file in image_paths(path)}
        problems = [f"no mask for '{name}'" for name in ids if name not in by_id]
        for name in ids:
            if name in by_id and (size := read_header(by_id[name]).size) != self.grid:
                expected = f"{self.grid[0]}x{self.grid[1]}"
                problems.append(f"{by_id[name].name}: {size[0]}x{size[1]} pixels, expected {expected}, the grid")
        if problems:
            raise InvalidSubmission(f"{path}: masks are missing or unfit\n{listing(problems)}")
        return MaskFiles([by_id[name] for name in ids], _answering(self.table), self.grid)

    def _shares(self, masks: Sequence[Path]) -> tuple[np.ndarray, list[str]]:
        """The share of each class, and of undefined pixels, in each mask, float64 (n, K + 1); and broken masks."""

        def count(path: Path) -> np.ndarray | str:
            try:
                meaning = self.table.read(path)
            except DataLayoutError as error:
                return str(error)
            wanted = [*range(len(self.table.classes)), UNDEFINED]
            return np.bincount(meaning.ravel(), minlength=256)[wanted] / meaning.size

        shares: list[np.ndarray] = []
        problems: list[str] = []
        with Progress("checking masks", len(masks)) as progress, ThreadPoolExecutor(THREADS) as pool:
            for outcome in pool.map(count, masks):
                progress.advance()
                if isinstance(outcome, str):
                    problems.append(outcome)
                else:
                    shares.append(outcome)
        return np.array(shares).reshape(-1, len(self.table.classes) + 1), problems


def _stems(paths: Sequence[Path]) -> np.ndarray:
    return np.array([path.stem for path in paths])


def _unpaired(images: Sequence[Path], masks: Sequence[Path]) -> list[str]:
    have_image, have_mask = {path.stem for path in images}, {path.stem for path in masks}
    if {name.casefold() for name in have_image} == {name.casefold() for name in have_mask} and have_image != have_mask:
        image = next(path for path in images if path.stem not in have_mask)
        mask = next(path for path in masks if path.stem.casefold() == image.stem.casefold())
        return [f"{image} and {mask}: names that differ in capitals alone. Name masks exactly as their images."]
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
    try:
        table = read_table(path, (group.id, group.column))
    except InvalidSubmission as error:
        raise DataLayoutError(str(error)) from None
    keys = table[group.id].tolist()
    listed = Counter(keys)
    group_of = dict(zip(keys, table[group.column].tolist(), strict=True))
    problems = [
        f"id '{name}' is listed {listed[name]} times; keep one row" for name in ids.tolist() if listed[name] > 1
    ]
    problems += [f"no group for image '{name}'" for name in ids.tolist() if not group_of.get(name)]
    if problems:
        raise DataLayoutError(f"{path}: every image needs one group\n{listing(problems)}")
    return np.array([group_of[name] for name in ids.tolist()])


def _answering(table: ClassTable) -> ClassTable:
    """How predicted masks are read: undefined is no class, and with one class alone 0 and 255 are understood."""
    codes = {code for values in table.classes.values() for code in values}
    nothing = {*table.background, *table.ignore_value}
    classes = dict(table.classes)
    if len(classes) == 1:
        white, name = 0xFFFFFF if table.colours else 255, next(iter(classes))
        nothing |= {0} - codes
        if white not in nothing:
            classes[name] = tuple({*classes[name], white})
    return replace(table, classes=classes, background=tuple(sorted(nothing)), ignore_value=())
