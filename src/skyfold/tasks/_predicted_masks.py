"""Write the masks that a bundle has predicted: a submission, PNG files, probabilities."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from skyfold.files import write_atomic
from skyfold.postprocess.selection import chosen_masks
from skyfold.progress import Progress
from skyfold.reports.mask_plot import draw_masks
from skyfold.reports.scene_maps import colours_of, scene_maps, write_products
from skyfold.submission.formats import RleTable
from skyfold.tasks.predicted import Predicted
from skyfold.types import LazyArrays

SHOWN = 12  # images of a contact sheet


def write_table(made: Predicted, out: Path) -> Path:
    """`submission.csv`; an id without a sample gets an empty mask."""
    samples, competition, masks = made.samples, made.competition, _masks(made)
    table, row_of = competition.submission, {name: row for row, name in enumerate(samples.ids.tolist())}
    if samples.sizes is not None and isinstance(table, RleTable):
        own = zip(samples.ids.tolist(), samples.sizes.tolist(), strict=True)
        table = replace(table, sizes={name: (height, width) for name, (height, width) in own})
    empty = np.zeros((*(competition.grid or (1, 1)), len(competition.classes)), dtype=bool)
    ids = made.ids
    values = LazyArrays(len(ids), lambda i: masks[row_of[ids[i]]] if ids[i] in row_of else empty)
    return made.write_table(out / "submission.csv", values, table)


def write_masks(made: Predicted, out: Path) -> Path:
    """`masks/<id>.png`, with several classes `<id>_<class>.png`: 255 in the mask, else 0."""
    folder, masks, classes = out / "masks", _masks(made), made.competition.classes
    folder.mkdir(exist_ok=True)
    with Progress("writing masks", len(made.samples)) as progress:
        for row, name in enumerate(made.samples.ids.tolist()):
            mask = masks[row]
            for place, label in enumerate(classes):
                path = folder / (f"{name}_{label}.png" if len(classes) > 1 else f"{name}.png")
                picture = Image.fromarray(255 * mask[..., place].astype(np.uint8))
                write_atomic(path, partial(picture.save, format="PNG"))
            progress.advance()
    return folder


def write_scene_maps(made: Predicted, out: Path) -> Path:
    """`products/`: maps in the classes' colours and more, see `scene_maps.write_products`.

    ConfigError where classes may overlap.
    """
    colours, competition, samples = colours_of(made.competition), made.competition, made.samples
    maps = scene_maps(competition, samples, samples.ids, made.values if competition.colours else _masks(made))
    write_products(out / "products", maps, colours, count=len(samples))
    return out / "products"


def draw_preview(made: Predicted, out: Path) -> Path:
    """`preview.png`: a contact sheet of `SHOWN` images, evenly spread, with the outlines of their masks."""
    samples, masks = made.samples, _masks(made)
    rows = np.unique(np.linspace(0, len(samples) - 1, SHOWN).round().astype(int)).tolist()
    draw_masks(
        out / "preview.png",
        images=[samples.inputs[row] for row in rows],
        pred=[masks[row] for row in rows],
        classes=made.competition.classes,
        captions=[str(samples.ids[row]) for row in rows],
        title=f"{made.bundle.manifest['name']}, {len(rows)} of {len(samples)} images",
    )
    return out / "preview.png"


def write_probabilities(made: Predicted, out: Path) -> Path:
    """`probabilities/<id>.npy`: 255 x the probability, uint8 (H, W, K)."""
    folder = out / "probabilities"
    folder.mkdir(exist_ok=True)
    for row, name in enumerate(made.samples.ids.tolist()):
        write_atomic(folder / f"{name}.npy", partial(np.save, arr=np.asarray(made.values[row]), allow_pickle=False))
    return folder


def _masks(made: Predicted) -> LazyArrays:
    return chosen_masks(made.bundle.manifest, "final", made.values, made.gate)
