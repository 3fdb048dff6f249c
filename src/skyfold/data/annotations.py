"""Shapes of annotation files, COCO, LabelMe and GeoJSON, and the masks that they draw."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import from_json

from skyfold.data.images import TIFF_SUFFIXES, files_stamp
from skyfold.data.labels import LabelTable
from skyfold.data.masks import RESAMPLING, resample
from skyfold.data.polygons import draw_polygon
from skyfold.data.tiff import read_map_transform
from skyfold.errors import DataLayoutError, InvalidSubmission
from skyfold.files import digest, read_bytes
from skyfold.memory import too_large
from skyfold.rle.coco import decode_coco
from skyfold.tables import plain
from skyfold.types import Grid, IntPair, JsonDict

BYTES_A_BYTE = 10  # in memory for one of a JSON file
BYTES_A_PIXEL = 4  # while a shape is drawn
FARTHEST = 1e8  # pixels, or metres of a map
CORNERS = 2  # points that tell a rectangle of LabelMe


@dataclass(frozen=True)
class Shape:
    """One annotation. label: its class; polygons: rings (n, 2) of x, y each, see `draw_polygon`; counts: run-length
    counts of COCO in the place of polygons."""

    label: str
    polygons: tuple[tuple[np.ndarray, ...], ...] = ()
    counts: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class PolygonFile:
    """A LabelMe or GeoJSON file of one image; label: the property of GeoJSON features that names the class.

    GeoJSON has map coordinates where `image` is a TIFF that tells where it lies, in its own reference system, and
    pixels elsewhere.
    """

    path: Path
    label: str
    image: Path

    @property
    def source(self) -> Path:
        """What tells whether the shapes changed."""
        return self.path

    def shapes(self, size: IntPair) -> list[Shape]:
        """The shapes of an image of `size`; DataLayoutError names what is damaged or of another kind or size."""
        content = _read_json(self.path)
        if isinstance(content, dict) and isinstance(content.get("shapes"), list):
            return _of_labelme(self.path, content, size)
        if isinstance(content, dict) and content.get("type") == "FeatureCollection":
            to_pixels = read_map_transform(self.image) if self.image.suffix.lower() in TIFF_SUFFIXES else None
            return _of_geojson(self.path, content, self.label, size, to_pixels)
        raise DataLayoutError(f"{self.path}: neither LabelMe (shapes) nor GeoJSON (a FeatureCollection). Convert it.")


@dataclass(frozen=True)
class CocoImage:
    """Annotations of one image in the COCO file `path`; name: of the image; size: (H, W), as the file says."""

    path: Path
    name: str
    size: IntPair
    annotations: tuple[JsonDict, ...]

    @property
    def source(self) -> str:
        """What tells whether the shapes changed."""
        return json.dumps([self.size, self.annotations], sort_keys=True)

    def shapes(self, size: IntPair) -> list[Shape]:
        """As `PolygonFile.shapes`."""
        if self.size != size:
            raise DataLayoutError(
                f"{self.path}: image '{self.name}' has height and width {self.size}, its file {size}. Bring both to "
                "one size."
            )
        return [self._shape(annotation) for annotation in self.annotations]

    def _shape(self, annotation: JsonDict) -> Shape:
        where, drawn = f"{self.path}: image '{self.name}'", annotation.get("segmentation")
        if isinstance(drawn, dict):
            if drawn.get("size") != list(self.size):
                raise DataLayoutError(f"{where}: counts of size {drawn.get('size')!r}, expected {list(self.size)}.")
            return Shape(annotation["label"], counts=drawn)
        if not isinstance(drawn, list) or not all(isinstance(ring, list) and len(ring) % 2 == 0 for ring in drawn):
            raise DataLayoutError(f"{where}: an annotation without segmentation (polygons or counts): {drawn!r:.60}.")
        rings = [_ring(where, list(zip(ring[::2], ring[1::2], strict=True))) for ring in drawn]
        return Shape(annotation["label"], polygons=tuple((ring,) for ring in rings))


Drawing = PolygonFile | CocoImage


@dataclass(frozen=True)
class AnnotationMasks:
    """Masks of shapes as an ArraySequence: `masks[i]` is uint8 0/1 (H, W, K) on `grid`.

    sizes: (H, W) of the images, at which shapes are drawn; touched: as `draw_polygon`. DataLayoutError names a file
    that is damaged, and a label of no class.
    """

    drawings: Sequence[Drawing]
    labels: LabelTable
    sizes: Sequence[IntPair]
    grid: Grid
    touched: bool = False

    def __len__(self) -> int:
        return len(self.drawings)

    def __getitem__(self, index: int) -> np.ndarray:
        masks = draw_shapes(self.drawings[index], self.labels, self.sizes[index], touched=self.touched)
        return resample(masks.view(np.uint8), self.grid)

    def sources(self, index: int) -> tuple[Path | str, str]:
        """The file or the annotations, and how they are drawn."""
        return self.drawings[index].source, repr((self.sizes[index], self._reading))

    def fingerprint(self) -> str:
        """Changes with the shapes, the labels and how they are drawn."""
        sources = [drawing.source for drawing in self.drawings]
        files = files_stamp([source for source in sources if isinstance(source, Path)])
        texts = [source for source in sources if isinstance(source, str)]
        return digest(files, *texts, repr((tuple(self.sizes), self._reading)), RESAMPLING)

    @property
    def _reading(self) -> tuple[object, ...]:
        return self.labels.classes, tuple(self.labels.places.items()), self.grid, self.touched


def draw_shapes(drawing: Drawing, labels: LabelTable, size: IntPair, *, touched: bool) -> np.ndarray:
    """Masks of the shapes of an image, bool (H, W, K) of `size`; shapes of one class are joined."""
    if shortage := too_large(size[0] * size[1] * (len(labels.classes) + BYTES_A_PIXEL)):
        raise DataLayoutError(f"{drawing.path}: an image of {size[0]}x{size[1]}; {shortage}. Is its size right?")
    masks = np.zeros((*size, len(labels.classes)), bool)
    for shape in drawing.shapes(size):
        place = labels.places.get(shape.label)
        if place is None:
            if shape.label in labels.left_out:
                continue
            known = ", ".join(labels.places)
            raise DataLayoutError(
                f"{drawing.path}: '{shape.label}' is no label of classes: {known}. Add it there, or to background."
            )
        try:
            for rings in shape.polygons:
                masks[..., place] |= draw_polygon(rings, size, touched=touched)
            if shape.counts is not None:
                masks[..., place] |= decode_coco(shape.counts, row=shape.label)
        except (DataLayoutError, InvalidSubmission) as error:
            raise DataLayoutError(f"{drawing.path}: {error}") from None
    return masks


def read_coco(path: Path) -> dict[str, CocoImage]:
    """Images of a COCO file by the names of their files; DataLayoutError where it is damaged or not COCO.

    The label of an annotation is the name of its category, or its number as text where it has no name.
    """
    content = _read_json(path)
    tables = content if isinstance(content, dict) else {}
    parts: list[list[JsonDict]] = [tables.get(key, []) for key in ("images", "annotations", "categories")]
    if not tables or not all(isinstance(part, list) and all(isinstance(one, dict) for one in part) for part in parts):
        raise DataLayoutError(f"{path}: expected COCO, with lists of images, annotations and categories. Convert it.")
    images, annotations, categories = parts
    try:
        names = {category["id"]: str(category.get("name", category["id"])) for category in categories}
        of_image: dict[Any, list[JsonDict]] = {image["id"]: [] for image in images}
        for annotation in annotations:
            kept = {"label": names[annotation["category_id"]], "segmentation": annotation.get("segmentation")}
            of_image[annotation["image_id"]].append(kept)
        found: dict[str, CocoImage] = {}
        for image in images:
            name = plain(str(image["file_name"]).replace("\\", "/").rpartition("/")[2])
            if name in found:
                raise DataLayoutError(f"{path}: image '{name}' is there twice. Keep one.")
            size = _whole(image["height"]), _whole(image["width"])
            found[name] = CocoImage(path, name, size, tuple(of_image[image["id"]]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataLayoutError(f"{path}: an image, annotation or category without {error}. Write it again.") from None
    return found


def _of_labelme(path: Path, content: JsonDict, size: IntPair) -> list[Shape]:
    stated = content.get("imageHeight"), content.get("imageWidth")
    if None not in stated and stated != size:
        drawn = f"drawn on an image of {stated[0]}x{stated[1]}"
        raise DataLayoutError(f"{path}: {drawn}, the file has {size[0]}x{size[1]}. Bring both to one size.")
    found = []
    for shape in content["shapes"]:
        kind = shape.get("shape_type") or "polygon" if isinstance(shape, dict) else None
        if kind not in ("polygon", "rectangle") or not isinstance(shape.get("label"), str | int):
            raise DataLayoutError(f"{path}: a shape of type {kind!r}, expected a polygon or rectangle with a label.")
        ring = _ring(str(path), shape.get("points"), least=CORNERS if kind == "rectangle" else 3)
        if kind == "rectangle":
            (left, top), (right, bottom) = ring.min(axis=0), ring.max(axis=0)
            ring = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        found.append(Shape(str(shape["label"]), polygons=((ring,),)))
    return found


def _of_geojson(path: Path, content: JsonDict, label: str, size: IntPair, to_pixels: np.ndarray | None) -> list[Shape]:
    """to_pixels (2, 3): of map coordinates x, y, 1; None: coordinates are pixels."""
    if not isinstance(content.get("features"), list):
        raise DataLayoutError(f"{path}: a FeatureCollection without a list of features. Write it again.")
    found = [_of_feature(path, feature, label) for feature in content["features"]]
    if to_pixels is not None:
        found = [
            replace(shape, polygons=tuple(tuple(_moved(ring, to_pixels) for ring in part) for part in shape.polygons))
            for shape in found
        ]
    rings = [ring for shape in found for part in shape.polygons for ring in part]
    if rings and not any((ring.max(axis=0) > 0).all() and (ring.min(axis=0) < size[::-1]).all() for ring in rings):
        meant = "pixels" if to_pixels is None else "coordinates in the reference system of the image"
        raise DataLayoutError(f"{path}: no polygon meets the image. Give {meant}, or the polygons of this image.")
    return found


def _of_feature(path: Path, feature: Any, label: str) -> Shape:
    feature = feature if isinstance(feature, dict) else {}
    geometry, properties = feature.get("geometry"), feature.get("properties")
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in ("Polygon", "MultiPolygon") or not isinstance(geometry.get("coordinates"), list):
        raise DataLayoutError(f"{path}: a feature of type {kind!r}, expected Polygon or MultiPolygon. Remove it.")
    named = properties.get(label) if isinstance(properties, dict) else None
    if not isinstance(named, str | int):
        raise DataLayoutError(f"{path}: a feature without the property '{label}'. Set truth.label to its name.")
    parts = [geometry["coordinates"]] if kind == "Polygon" else geometry["coordinates"]
    if not all(isinstance(part, list) and part for part in parts):
        raise DataLayoutError(f"{path}: a polygon without rings. Write it again.")
    return Shape(str(named), polygons=tuple(tuple(_ring(str(path), ring) for ring in part) for part in parts))


def _moved(ring: np.ndarray, transform: np.ndarray) -> np.ndarray:
    return np.asarray(ring @ transform[:, :2].T + transform[:, 2])


def _ring(where: str, points: Any, *, least: int = 3) -> np.ndarray:
    """float64 (n, 2) of a list of points; further coordinates are left out."""
    try:
        ring = np.array([[float(point[0]), float(point[1])] for point in points], np.float64)
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        ring = np.empty((0, 2))
    if len(ring) < least or not (np.abs(ring) <= FARTHEST).all():
        raise DataLayoutError(f"{where}: expected {least} points of two numbers or more, got {points!r:.60}. Mend it.")
    return ring


def _whole(number: Any) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError(f"whole numbers as height and width, but {number!r:.20}")
    return number


def _read_json(path: Path) -> Any:
    data = read_bytes(path, "a JSON file")
    if shortage := too_large(len(data) * BYTES_A_BYTE):
        raise DataLayoutError(f"{path}: {shortage}. Free memory, or leave out images that are stored in it.")
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise DataLayoutError(f"{path}: not whole JSON ({error}). Write it again.") from None
