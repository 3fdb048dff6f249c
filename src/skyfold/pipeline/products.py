"""Products of predicted scenes: a map of the classes, the fraction of each, and a quality grade."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from skyfold.competition import Colour, build
from skyfold.config.blend import BlendConfig
from skyfold.data.images import ImageFiles, read_header
from skyfold.errors import ConfigError
from skyfold.files import write_atomic, write_text
from skyfold.progress import Progress
from skyfold.store.folds import read_folds
from skyfold.store.locks import held
from skyfold.store.runs import read_run
from skyfold.types import IntPair
from skyfold.workspace import Workspace

TABLE = "shares.csv"
CLEAR = "background"  # the class that hides nothing
# Grade of a scene of which at most this fraction is anything but clear. Assumed: no competition defines one.
GRADES = (("A", 0.1), ("B", 0.3), ("C", 0.6), ("D", 1.0))


def write_blend_products(config: BlendConfig, workspace: Workspace) -> Path:
    """Products of the test scenes, from a blend's probabilities: the class with the largest, at each scene's own size.

    Returns their folder, `submissions/<data>/<blend>_products`, as `write_products`. ConfigError where the classes of
    the competition may overlap, or it has no test part.
    """
    name = config.data.folder
    target = workspace.submissions(name) / f"{config.name}_products"
    with held(writes=[target], reads=[workspace.run(name, config.name)]):
        _write_into(target, config, workspace)
    return target


def _write_into(target: Path, config: BlendConfig, workspace: Workspace) -> None:
    name = config.data.folder
    folder = workspace.data(name)
    competition = build(config.data.competition, config.data.options, folder)
    if competition.colours is None:
        raise ConfigError(
            f"competition '{competition.name}': its classes may overlap, so that one map cannot show them."
        )
    run = read_run(workspace.run(name, config.name), read_folds(workspace.folds(name)))
    if run.test is None:
        raise ConfigError(f"data set '{name}' has no test part; there is nothing to make products of.")
    samples = competition.load(folder, "test")
    assert isinstance(samples.inputs, ImageFiles), "classes without overlap are drawn on image files"
    paths = dict(zip(samples.ids.tolist(), samples.inputs.paths, strict=True))
    sized = ((scene, read_header(paths[scene]).size) for scene in run.test.ids.tolist())
    values = run.test.values
    maps = ((scene, class_map(values[row], size)) for row, (scene, size) in enumerate(sized))
    write_products(target, maps, competition.colours, count=len(values))


def write_products(
    folder: Path, maps: Iterable[tuple[str, np.ndarray]], colours: Mapping[str, Colour], *, count: int
) -> None:
    """Write `<id>.png` of each scene, indexed, in the colours of the classes; then `shares.csv`.

    maps: the id of a scene and, uint8 (H, W), the place of each pixel's class in `colours`; one is held at a time.
    count: number of scenes. The table has a row for each: its id, the fraction of each class, the covered fraction (all
    but CLEAR), and the grade.
    """
    classes, table = list(colours), []
    with Progress("writing products", count, "scenes") as progress:
        for name, places in maps:
            _write_indexed(folder / f"{name}.png", places, colours)
            fractions = dict(zip(classes, class_shares(places, len(classes)), strict=True))
            covered = 1.0 - fractions.get(CLEAR, 0.0)
            table.append({"id": name, **fractions, "covered": covered, "grade": quality_grade(covered)})
            progress.advance()
    columns = ["id", *classes, "covered", "grade"]
    write_text(folder / TABLE, pd.DataFrame(table, columns=columns).to_csv(index=False, float_format="%.4f"))


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


def class_shares(places: np.ndarray, classes: int) -> list[float]:
    """Fraction of each class in a map (H, W) of class indices; fractions sum to 1.

    >>> class_shares(np.array([[0, 0], [0, 2]], dtype=np.uint8), 3)
    [0.75, 0.0, 0.25]
    """
    fractions: list[float] = (np.bincount(places.ravel(), minlength=classes) / places.size).tolist()
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
