"""Kaggle "TGS Salt Identification Challenge" (2018): salt in small grey seismic images.

`train/images/<id>.png` and `test/images/<id>.png` of 101 x 101 pixels, masks in `train.csv` with the columns id and
rle_mask, which `sample_submission.csv`, a submission and a truth file have, too; pixels count from 1 down the columns,
an image without salt has an empty cell. The images of masks and depths.csv, which say no more, are not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from skyfold.api import (
    SUFFIXES,
    ArraySequence,
    Competition,
    Contest,
    ImageFiles,
    MaskTables,
    OverlapMetric,
    Problems,
    RleTable,
    as_image,
    check_images,
    file_id,
    files_of,
    image_paths,
    note_others,
    sample_names,
    sample_settings,
    smooth_noise,
    write_image,
    write_whole,
)

GRID = (101, 101)
SETTINGS = {"train": (96, 2), "test": (32, 1), "seed": (0, 0)}  # of a sample: default and least value
WITHOUT_SALT = 0.4  # of the images


@dataclass(frozen=True)
class MeanPrecision(OverlapMetric):
    """Mean over images of the share of IoU thresholds .50, .55, ..., .95 that the IoU exceeds; both empty = 1.

    In whole numbers, since .9 as a fraction of two binary numbers may lie on either side of itself.
    """

    name: str = "mean_precision"

    def of_counts(self, both: np.ndarray, pred: np.ndarray, target: np.ndarray) -> np.ndarray:
        union = pred + target - both
        exceeded = sum((20 * both > twentieths * union).astype(np.float64) for twentieths in range(10, 20))
        return np.where(union == 0, 1.0, exceeded / 10)


class TgsSalt(Contest):
    """No options."""

    def build(self, folder: Path | None) -> Competition:
        """The competition on 101 x 101 pixels."""
        files = _Files(RleTable(("salt",), GRID, "id", "rle_mask", bare_ids=True), "rle_mask")
        kaggle = "tgs-salt-identification-challenge"
        return files.competition("tgs_salt", MeanPrecision(), write_sample=write_sample, kaggle=kaggle)


PLUGIN = TgsSalt


class _Files(MaskTables):
    """Images beside the tables."""

    def inputs(self, folder: Path, part: str, ids: np.ndarray, problems: Problems) -> ArraySequence:
        """uint8 (101, 101, 3), grey repeated."""
        images = folder / part / "images"
        files = {file_id(path): path for path in image_paths(images, problems)}
        return ImageFiles(files_of(ids.tolist(), files, images, problems))

    def check_images(self, folder: Path, problems: Problems) -> None:
        for images in (folder / part / "images" for part in ("train", "test")):
            whole = check_images(image_paths(images, problems), problems)
            sizes = {path: ImageFiles([path])[0].shape[:2] for path in whole}
            odd = [f"{path}: {size}, expected {GRID} pixels" for path, size in sizes.items() if size != GRID]
            problems.add("images of another size", *odd)
            note_others(images, SUFFIXES)


def write_sample(folder: Path, **settings: int) -> None:
    """Write images, the tables and `test_truth.csv`. settings, see SETTINGS: numbers of images; seed."""
    chosen = sample_settings(settings, SETTINGS)
    write_whole(folder, chosen, partial(_write_files, **chosen))


def _write_files(folder: Path, /, train: int, test: int, seed: int) -> None:
    names, masks = sample_names(seed, train, test, 1 << 40, "{:010x}"), []
    for part in ("train", "test"):
        (folder / part / "images").mkdir(parents=True)
    for index, name in enumerate(names):
        image, salt = _scene(np.random.default_rng([seed, index]))
        write_image(folder / ("train" if index < train else "test") / "images" / f"{name}.png", image)
        masks.append(salt[..., np.newaxis])
    table = RleTable(("salt",), GRID, "id", "rle_mask", bare_ids=True)
    truth = table.encode(np.array(names), masks)
    table.write(folder / "train.csv", truth[:train])
    table.write(folder / "test_truth.csv", truth[train:])
    table.write(folder / "sample_submission.csv", truth[train:].assign(rle_mask=""))


def _scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Layers, grey uint8, and a body of salt below a bent top, bool, in which they end."""
    rows = np.arange(GRID[0])[:, np.newaxis]
    bent = rows + 9 * smooth_noise(rng, (3, 4), GRID)
    layers = np.sin(bent * rng.uniform(0.3, 0.7)) + 0.4 * smooth_noise(rng, (40, 40), GRID)
    top = GRID[0] * rng.uniform(0.1, 0.9) + 14 * smooth_noise(rng, (1, 5), GRID)
    salt = (rows > top) & (rng.random() > WITHOUT_SALT)
    rough = 0.5 * smooth_noise(rng, (50, 50), GRID) - 0.8
    return as_image(120 + 45 * np.where(salt, rough, layers)), salt
