"""Ground truth as shapes: COCO annotations of all images, or polygons in a file each."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.competitions.mask_folder.truth import TruthFiles
from skyfold.data.annotations import AnnotationMasks, PolygonFile, draw_shapes, read_coco
from skyfold.data.file_patterns import FilePattern, find_files
from skyfold.data.folder import file_id
from skyfold.data.labels import LabelTable
from skyfold.errors import DataLayoutError, Problems
from skyfold.types import Grid, IntPair

POLYGON_SUFFIXES = (".json", ".geojson")


@dataclass(frozen=True)
class ShapeTruth(TruthFiles):
    """Shapes; the item of an image is what draws them. touched: as `draw_polygon`."""

    file: str
    labels: LabelTable
    touched: bool = False

    @abstractmethod
    def find(self, folder: Path, beside: str, images: Mapping[str, Path], problems: Problems) -> dict[str, Any]: ...

    @property
    def classes(self) -> tuple[str, ...]:
        return self.labels.classes

    def open(self, items: Sequence[Any], sizes: Sequence[IntPair], grid: Grid) -> dict[str, Any]:
        return {"targets": AnnotationMasks(items, self.labels, sizes, grid, self.touched), "valid": None}

    def fractions(self, item: Any, size: IntPair) -> np.ndarray:
        masks = draw_shapes(item, self.labels, size, touched=self.touched)
        return np.append(masks.mean(axis=(0, 1)), 0.0)

    def named(self, place: int) -> str:
        return self.labels.spelled(place)


@dataclass(frozen=True)
class CocoTruth(ShapeTruth):
    """Annotations in one COCO file; an image without any has empty masks, but must be listed."""

    def find(self, folder: Path, beside: str, images: Mapping[str, Path], problems: Problems) -> dict[str, Any]:
        path = folder / self.file
        try:
            listed = read_coco(path)
        except DataLayoutError as error:
            problems.add("tables that cannot be read", str(error))
            return {}
        found = {file_id(Path(name)): image for name, image in listed.items()}
        missing = [f"{path}: image '{images[name].name}' is not listed" for name in images if name not in found]
        problems.add("images without annotations", *missing)
        spare = [f"{path}: no image '{found[name].name}' in the folder" for name in found if name not in images]
        problems.add("annotations without an image", *spare)
        return {name: found[name] for name in images if name in found}

    def listed_in(self, path: Path) -> dict[str, tuple[Any, IntPair]]:
        if path.suffix.lower() != ".json":
            return {}
        return {file_id(Path(name)): (image, image.size) for name, image in read_coco(path).items()}


@dataclass(frozen=True)
class PolygonTruth(ShapeTruth):
    """A LabelMe or GeoJSON file for each image; label: the property of GeoJSON features that names the class."""

    label: str = "label"

    @property
    def pattern(self) -> FilePattern:
        """Of the files below the folder of the data."""
        return FilePattern(self.file, POLYGON_SUFFIXES)

    def find(self, folder: Path, beside: str, images: Mapping[str, Path], problems: Problems) -> dict[str, Any]:
        files = {name: own[""] for name, own in find_files(folder, self.pattern, problems, expected="polygons").items()}
        missing = [
            f"{images[name]}: no file '{folder / self.pattern.example(name)}' for this image. One without polygons is "
            "needed where it has none"
            for name in images
            if name not in files
        ]
        problems.add("images without polygons", *missing)
        spare = [f"{path}: no image '{name}' in the folder" for name, path in files.items() if name not in images]
        problems.add("polygons without an image", *spare)
        return {name: PolygonFile(files[name], self.label, images[name]) for name in images if name in files}

    def taken(self, folder: Path, beside: str) -> dict[str, Path]:
        return {name: own[""] for name, own in find_files(folder, self.pattern, Problems()).items()}

    def folders(self, beside: str) -> dict[str, int]:
        parts = self.file.split("/")
        fixed = [*itertools.takewhile(lambda part: not set("{*") & set(part), parts[:-1])]
        return {"/".join(fixed): len(parts) - len(fixed)} if fixed else {}
