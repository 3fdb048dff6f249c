"""Ground truth of images: found by id, and opened as masks on the grid."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.data.file_patterns import FilePattern, find_files
from skyfold.data.folder import unread
from skyfold.data.images import SUFFIXES, Header, read_header
from skyfold.data.masks import UNDEFINED, ClassTable, DefinedPixels, MaskFiles
from skyfold.data.segmentation_files import spelled
from skyfold.errors import Problems
from skyfold.types import Grid, IntPair


class TruthFiles(ABC):
    """Where the masks of images come from. What tells those of one image, its item, is a path, text or shapes."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the last axis of targets."""

    @abstractmethod
    def find(self, folder: Path, beside: str, images: Mapping[str, Path], problems: Problems) -> dict[str, Any]:
        """The item of each of `images`, by id; what is missing or left over is added to `problems`.

        folder: of the data; beside: name of the folder of masks that belongs to the images.
        """

    @abstractmethod
    def open(self, items: Sequence[Any], sizes: Sequence[IntPair], grid: Grid) -> dict[str, Any]:
        """Arguments `targets` and `valid` of `Samples`, uint8 0/1 (H, W, K) and bool (H, W) on `grid`.

        sizes: (H, W) of the images, which masks have where there is no grid.
        """

    @abstractmethod
    def fractions(self, item: Any, size: IntPair) -> np.ndarray:
        """Fractions of the pixels of each class, and of ignored ones, float64 (K + 1,); DataLayoutError where the item
        is damaged or of another size."""

    @abstractmethod
    def named(self, place: int) -> str:
        """Value of the class `place`, as in the config."""

    def taken(self, folder: Path, beside: str) -> dict[str, Path]:
        """Files of masks in `folder`/`beside`, by id; they are no images."""
        return {}

    def folders(self, beside: str) -> dict[str, int]:
        """Folders that `taken` files lie in, below that of the data, and down to how many levels."""
        return {}

    def listed_in(self, path: Path) -> dict[str, tuple[Any, IntPair]]:
        """Items and sizes (H, W) of images by id, of a file to score against that tells both; {} where it does not."""
        return {}

    def note_oddities(self, items: Sequence[Any], sizes: Sequence[IntPair]) -> None:
        """Say what is no error, but nobody should have to find out."""
        return

    def misfit(self, item: Any, image: Header, turn: bool) -> str:
        """How the item does not fit the image, '' where it does, or only `fractions` could tell."""
        return ""


@dataclass(frozen=True)
class MaskImages(TruthFiles):
    """Mask images; the item is a path. table: what their values mean; files: their path below a folder of masks."""

    table: ClassTable
    files: str = "{id}"

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.table.classes)

    @property
    def pattern(self) -> FilePattern:
        """Of mask files below their folder."""
        return FilePattern(self.files, SUFFIXES)

    def find(self, folder: Path, beside: str, images: Mapping[str, Path], problems: Problems) -> dict[str, Any]:
        own = folder / beside
        masks = {name: files[""] for name, files in find_files(own, self.pattern, problems, expected="masks").items()}
        if not masks or not images:
            return {}
        alone = [name for name in images if name not in masks]
        left = {name.casefold(): path for name, path in masks.items() if name not in images}
        if alone and {name.casefold() for name in alone} == set(left):
            problems.add(
                "names that differ in capitals",
                f"{images[alone[0]]} and {left[alone[0].casefold()]}: names that differ only in capitals. Name masks "
                "exactly as their images.",
            )
        else:
            missing = [
                f"{images[name]}: no mask '{self.pattern.example(name)}' for this image{unread(own, name)}"
                for name in alone
            ]
            problems.add("images without a mask", *missing)
            near = next(iter(images.values())).parent
            spare = [path for name, path in masks.items() if name not in images]
            unused = [f"{path}: no image for this mask{unread(near, path.stem)}" for path in spare]
            problems.add("masks without an image", *unused)
        return {name: masks[name] for name in images if name in masks}

    def open(self, items: Sequence[Any], sizes: Sequence[IntPair], grid: Grid) -> dict[str, Any]:
        targets = MaskFiles(items, self.table, grid)
        return {"targets": targets, "valid": DefinedPixels(targets) if self.table.ignore_value else None}

    def fractions(self, item: Any, size: IntPair) -> np.ndarray:
        meaning = self.table.read(item)
        counted = [*range(len(self.table.classes)), UNDEFINED]
        return np.bincount(meaning.ravel(), minlength=256)[counted] / meaning.size

    def named(self, place: int) -> str:
        return " or ".join(map(self.table.spelled, list(self.table.classes.values())[place]))

    def taken(self, folder: Path, beside: str) -> dict[str, Path]:
        masks = find_files(folder / beside, self.pattern, Problems())
        return {name: files[""] for name, files in masks.items()}

    def folders(self, beside: str) -> dict[str, int]:
        return {beside: self.pattern.depth}

    def misfit(self, item: Any, image: Header, turn: bool) -> str:
        mask = read_header(item)
        size = image.size if turn else image.stored_size
        if size == mask.stored_size and not (turn and mask.turned):
            return ""
        turned = " (an EXIF tag turns it; turn both or none)" if image.turned or mask.turned else ""
        return f"{spelled(size)} pixels, its mask {spelled(mask.size)}{turned}"

    def of_predictions(self) -> MaskImages:
        """As predicted masks are read: ignored values are no class, and with a single class 0 and 255 are known."""
        table = self.table
        classes, nothing = dict(table.classes), {*table.background, *table.ignore_value}
        if len(classes) == 1:
            [(name, codes)] = classes.items()
            white = 0xFFFFFF if table.colours else 255
            nothing |= {0} - set(codes)
            classes[name] = tuple({*codes, white} - nothing)
        return MaskImages(replace(table, classes=classes, background=tuple(sorted(nothing)), ignore_value=()))
