"""Procedural sample of the Leeds sea-ice files: floes, leads and open water, in light and in radar.

It is no model of the Arctic. Clouds hide the ice from light and are nearly as white; wind roughens
patches of water, which radar then sees as bright as ice. So neither image alone tells where the ice is.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from skyfold.competitions.leeds_sea_ice.vis_sar import submission_table
from skyfold.data.sample_folder import sample_settings, write_whole
from skyfold.data.sample_images import as_image, sample_names, smooth_noise, write_image
from skyfold.progress import map_in_threads

SAR_STEP = 3  # sides of the radar image over those of the visible one
LOOKS = 4  # of the radar: more looks, less speckle
WATER = np.array([14.0, 34.0, 52.0])
ICE = np.array([206.0, 214.0, 222.0])
CLOUD = np.array([212.0, 214.0, 218.0])

# Default and least value of each setting
SETTINGS = {"train": (96, 1), "test": (32, 1), "seed": (0, 0), "side": (96, 32)}


def write_sample(folder: Path, **settings: int) -> None:
    """Write train, test, sample_submission.csv (no ice anywhere), and test_truth.csv, the masks of test.

    settings, see SETTINGS: numbers of samples; side of visible images in pixels; seed. Errors and interruptions as
    `sample_folder.write_whole`; ConfigError for a wrong setting.
    """
    chosen = sample_settings(settings, SETTINGS)
    write_whole(folder, chosen, partial(_write_files, **chosen))


def _write_files(folder: Path, /, train: int, test: int, seed: int, side: int) -> None:
    names = sample_names(seed, train, test, 100_000, "ice_{:05d}")
    for part in ("train", "test"):
        (folder / part).mkdir()

    def write_scene(index: int) -> np.ndarray:
        vis, sar, mask = scene(np.random.default_rng([seed, index]), side)
        images = {"vis": vis, "sar": sar}
        if index < train:
            images["ref"] = mask.astype(np.uint8) * 255
        for kind, image in images.items():
            write_image(folder / ("train" if index < train else "test") / f"{names[index]}_{kind}.tiff", image)
        return mask[..., np.newaxis]

    masks = list(map_in_threads("writing the sample", write_scene, range(train + test), "samples"))
    table = submission_table((side, side))
    truth = table.encode(np.array(names[train:]), masks[train:])
    table.write(folder / "test_truth.csv", truth)
    table.write(folder / "sample_submission.csv", truth.assign(**{table.rle_column: ""}))


def scene(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One sample of `side` S: visible uint8 (S, S, 3) RGB, radar uint8 (3S, 3S), ice mask bool (S, S).

    A pixel of the mask is ice where ice covers more than half of it.
    """
    ice = _ice(rng, SAR_STEP * side)
    cover = cv2.resize(ice, (side, side), interpolation=cv2.INTER_AREA)
    return _seen_by_light(rng, cover), _seen_by_radar(rng, ice), cover > 0.5


def _ice(rng: np.random.Generator, side: int) -> np.ndarray:
    """Ice 0 or 1, float32 (side, side): a pack with a ragged edge, cut by leads, and lone floes around it."""
    cover = float(rng.choice([0.0, 1.0, rng.uniform(0.1, 0.9)], p=[0.08, 0.05, 0.87]))
    field = _clouds(rng, side, cells=3) + 0.35 * _clouds(rng, side, cells=12) + 0.1 * _clouds(rng, side, cells=40)
    ice = (field > np.quantile(field, 1 - cover)).astype(np.float32) if 0 < cover < 1 else np.full_like(field, cover)
    for _ in range(rng.integers(0, 4)):
        ends = rng.uniform(-0.2, 1.2, (4, 2)) * side
        lead = np.round(ends[np.argsort(ends[:, 0])]).astype(np.int32)
        cv2.polylines(ice, [lead], False, 0.0, max(3, int(side * rng.uniform(0.012, 0.04))))
    for _ in range(rng.integers(0, 25) if cover > 0 else 0):
        centre = tuple(int(place) for place in rng.uniform(0, side, 2))
        axes = tuple(max(3, int(side * length)) for length in rng.uniform(0.01, 0.05, 2))
        cv2.ellipse(ice, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    return ice


def _seen_by_light(rng: np.random.Generator, ice: np.ndarray) -> np.ndarray:
    """uint8 (S, S, 3): snow is white, thin ice grey, water dark; clouds cover a part, light differs."""
    side = len(ice)
    thickness = np.clip(0.8 + 0.25 * _clouds(rng, side, cells=5), 0.35, 1.0) * ice
    ground = WATER + (ICE - WATER) * thickness[..., np.newaxis]
    cloud = np.clip(0.9 * _clouds(rng, side, cells=4) + rng.uniform(-1.6, 0.6), 0.0, 0.97)[..., np.newaxis]
    image = (ground * (1 - cloud) + CLOUD * cloud) * rng.uniform(0.6, 1.05)
    image += rng.normal(0, rng.uniform(2, 6), (side, side, 1))
    return as_image(image)


def _seen_by_radar(rng: np.random.Generator, ice: np.ndarray) -> np.ndarray:
    """uint8 (3S, 3S): ice is rough and bright, calm water dark, water in the wind bright, too; all with speckle."""
    side = len(ice)
    wind = np.clip(_clouds(rng, side, cells=3) + rng.uniform(-1.8, 0.2), 0.0, 1.0)
    rough = 118 + 22 * _clouds(rng, side, cells=24)
    power = ice * rough + (1 - ice) * (26 + 95 * wind)
    speckle = rng.gamma(LOOKS, 1 / LOOKS, (side, side))
    return as_image(power * speckle)


def _clouds(rng: np.random.Generator, side: int, cells: int) -> np.ndarray:
    """Smooth noise of mean 0 and deviation about 1, float32 (side, side), with `cells` swells along a side."""
    return smooth_noise(rng, (cells + 2, cells + 2), (side, side))
