"""Products of predicted scenes: a map of the classes, the fraction of each, and a quality grade.

Where a scene is georeferenced, so is its map, and the fractions are square kilometres, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from skyfold.competition import Colour, Competition
from skyfold.data.contents import FromFiles
from skyfold.data.georeference import (
    NO_DATA,
    Georeference,
    defined_pixels,
    georeference_of,
    polygons_of,
    write_class_map,
)
from skyfold.data.images import read_header
from skyfold.errors import ConfigError
from skyfold.files import write_atomic, write_text
from skyfold.progress import Progress
from skyfold.types import ArraySequence, IntPair, Samples

TABLE = "shares.csv"
CLEAR = "background"  # the class that hides nothing
ONE_CLASS: tuple[Colour, Colour] = ((0, 0, 0), (255, 255, 255))  # outside, and within the masks of a single class
# Grade of a scene of which at most this fraction is anything but clear. Assumed: no competition defines one.
GRADES = (("A", 0.1), ("B", 0.3), ("C", 0.6), ("D", 1.0))


@dataclass(frozen=True)
class SceneMap:
    """places: uint8 (H, W), the index of each pixel's class; where: it lies, None where that is not known."""

    name: str
    places: np.ndarray
    where: Georeference | None = None


def colours_of(competition: Competition) -> Mapping[str, Colour]:
    """Colours of a map of the competition's classes, by name. ConfigError where classes may overlap."""
    if competition.colours is not None:
        return competition.colours
    if len(competition.classes) > 1:
        raise ConfigError(
            f"competition '{competition.name}': its classes may overlap, so that one map cannot show them."
        )
    return dict(zip((CLEAR, *competition.classes), ONE_CLASS, strict=True))


def scene_maps(
    competition: Competition, samples: Samples, ids: np.ndarray, values: ArraySequence
) -> Iterator[SceneMap]:
    """The map of each of the scenes `ids`, one at a time, at its own size.

    values: of each its probabilities, uint8 (h, w, K), where the classes exclude each other; else masks (h, w, 1).
    """
    row_of = {scene: row for row, scene in enumerate(samples.ids.tolist())}
    for place, scene in enumerate(ids.tolist()):
        path = _file_of(samples, row_of[scene])
        where = georeference_of(path)
        size = where.size if where is not None else read_header(path).size
        places = class_map(values[place], size) if competition.colours else within(values[place][..., 0], size)
        if where is not None:
            places[~defined_pixels(path)] = NO_DATA
        yield SceneMap(scene, places, where)


def _file_of(samples: Samples, row: int) -> Path:
    """The first file that a sample is read from."""
    sources = samples.inputs.sources(row) if isinstance(samples.inputs, FromFiles) else ()
    path = next((source for source in sources if isinstance(source, Path)), None)
    if path is None:
        raise ConfigError("products: these samples are not read from image files, so that their maps have no size.")
    return path


def write_products(
    folder: Path, maps: Iterator[SceneMap], colours: Mapping[str, Colour], *, count: int, polygons: bool = False
) -> None:
    """Write `<id>.png` of each scene, indexed, in the colours of the classes; then `shares.csv`.

    maps: one is held at a time; count: number of scenes. Of a georeferenced scene also `geotiff/<id>.tif`, tiled and
    cloud-optimised, and with `polygons` `polygons/<id>.geojson`. The table has a row for each scene: its id, the
    fraction of each class, the covered fraction (all but CLEAR), the grade and, where scenes are georeferenced, the
    square kilometres of each class. Pixels without a measurement count nowhere.
    """
    classes, table = list(colours), []
    with Progress("writing products", count, "scenes") as progress:
        for scene in maps:
            measured = scene.places[scene.places != NO_DATA]
            fractions = dict(zip(classes, class_shares(measured, len(classes)), strict=True))
            covered = 1.0 - fractions.get(CLEAR, 0.0)
            row = {"id": scene.name, **fractions, "covered": covered, "grade": quality_grade(covered)}
            _write_indexed(folder / f"{scene.name}.png", scene.places, colours)
            if scene.where is not None:
                write_class_map(folder / "geotiff" / f"{scene.name}.tif", scene.places, scene.where, colours)
                row |= _square_kilometres(scene.places, scene.where, classes)
                if polygons:
                    shapes = polygons_of(scene.places, scene.where, classes)
                    write_text(folder / "polygons" / f"{scene.name}.geojson", json.dumps(shapes))
            elif polygons:
                raise ConfigError(f"--polygons: '{scene.name}' is not georeferenced. Leave the option off.")
            table.append(row)
            progress.advance()
    columns = ["id", *classes, "covered", "grade"]
    columns += [name for name in dict.fromkeys(key for row in table for key in row) if name not in columns]
    write_text(folder / TABLE, pd.DataFrame(table, columns=columns).to_csv(index=False, float_format="%.4f"))


def _square_kilometres(places: np.ndarray, where: Georeference, classes: list[str]) -> dict[str, float]:
    by_row = where.areas()
    return {f"{name}_km2": float((places == index).sum(axis=1) @ by_row) for index, name in enumerate(classes)}


def class_map(values: np.ndarray, size: IntPair) -> np.ndarray:
    """The place of the largest of values (h, w, K), each plane first brought to `size` (H, W) bilinearly: uint8 (H, W).

    Of equal ones the first. One plane of the full size is held at a time, besides the largest so far.
    """
    best = _enlarged(values[..., 0], size)
    places = np.zeros(size, dtype=np.uint8)
    for place in range(1, values.shape[-1]):
        plane = _enlarged(values[..., place], size)
        places[plane > best] = place
        np.maximum(best, plane, out=best)
    return places


def within(mask: np.ndarray, size: IntPair) -> np.ndarray:
    """A mask, bool (h, w), brought to `size` (H, W) by nearest neighbour: uint8 (H, W), 0 or 1."""
    plane = mask.astype(np.uint8)
    return np.asarray(cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT))


def class_shares(places: np.ndarray, classes: int) -> list[float]:
    """Fraction of each class in class indices of any shape; fractions sum to 1, of no pixels they are 0.

    >>> class_shares(np.array([[0, 0], [0, 2]], dtype=np.uint8), 3)
    [0.75, 0.0, 0.25]
    """
    counts = np.bincount(places.ravel(), minlength=classes)
    fractions: list[float] = (counts / max(places.size, 1)).tolist()
    return fractions


def quality_grade(cloud_fraction: float) -> str:
    """Grade of a scene, A to D, by its covered fraction, 0 to 1.

    >>> [quality_grade(covered) for covered in (0.0, 0.1, 0.11, 1.0)]
    ['A', 'A', 'B', 'D']
    """
    return next(grade for grade, most in GRADES if cloud_fraction <= most + 1e-9)


def _enlarged(plane: np.ndarray, size: IntPair) -> np.ndarray:
    plane = np.ascontiguousarray(plane)
    return np.asarray(cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR))


def _write_indexed(path: Path, places: np.ndarray, colours: Mapping[str, Colour]) -> None:
    image = Image.fromarray(places)
    image.putpalette([channel for colour in colours.values() for channel in colour])
    write_atomic(path, lambda beside: image.save(beside, format="PNG"))
