"""Ground truth as soft labels: mask images of fractions, or of several annotators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.competitions.mask_folder.truth import TruthFiles
from skyfold.data.file_patterns import FilePattern, find_files
from skyfold.data.images import SUFFIXES, Header, read_header
from skyfold.data.masks import ClassTable
from skyfold.data.segmentation_files import spelled
from skyfold.data.soft_masks import DECIDED_AT, DefinedFractions, SoftMasks, read_fractions
from skyfold.errors import Problems
from skyfold.types import Grid, IntPair


@dataclass(frozen=True)
class SoftImages(TruthFiles):
    """The item of an image is its files, one an annotator, or one of fractions.

    names: of the classes; table: what values mean; None: fractions; files: path below a folder of masks, with
    {annotator} in it where there are `annotators`.
    """

    names: tuple[str, ...]
    table: ClassTable | None
    files: str
    annotators: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        return self.names

    def find(self, folder: Path, beside: str, images: Mapping[str, Path], problems: Problems) -> dict[str, Any]:
        found = find_files(folder / beside, self._pattern, problems, expected="masks")
        annotators = self.annotators or ("",)
        missing = [
            f"{images[name]}: no mask '{self._pattern.example(name, annotator)}' for this image"
            for name in images
            for annotator in annotators
            if annotator not in found.get(name, {})
        ]
        problems.add("images without a mask", *missing)
        spare = [path for name, own in found.items() if name not in images for path in own.values()]
        problems.add("masks without an image", *(f"{path}: no image for this mask" for path in spare))
        whole = [name for name in images if len(found.get(name, {})) == len(annotators)]
        return {name: tuple(found[name][annotator] for annotator in annotators) for name in whole}

    def open(self, items: Sequence[Any], sizes: Sequence[IntPair], grid: Grid) -> dict[str, Any]:
        targets = SoftMasks(items, self.table, len(self.names), grid)
        return {"targets": targets, "valid": DefinedFractions(targets)}

    def fractions(self, item: Any, size: IntPair) -> np.ndarray:
        fractions, defined = read_fractions(item, self.table, len(self.names))
        masks = (fractions > DECIDED_AT) & defined[..., np.newaxis]
        return np.append(masks.mean(axis=(0, 1)), 1 - defined.mean())

    def named(self, place: int) -> str:
        if self.table is None:
            return f"more than {DECIDED_AT}"
        return " or ".join(map(self.table.spelled, list(self.table.classes.values())[place]))

    def taken(self, folder: Path, beside: str) -> dict[str, Path]:
        found = find_files(folder / beside, self._pattern, Problems())
        return {f"{name} {annotator}": path for name, own in found.items() for annotator, path in own.items()}

    def folders(self, beside: str) -> dict[str, int]:
        return {beside: self._pattern.depth}

    def misfit(self, item: Any, image: Header, turn: bool) -> str:
        size, mask = image.size if turn else image.stored_size, read_header(item[0])
        return "" if size == mask.size else f"{spelled(size)} pixels, its mask {spelled(mask.size)}"

    @property
    def _pattern(self) -> FilePattern:
        return FilePattern(self.files, SUFFIXES, self.annotators, placeholder="{annotator}")
