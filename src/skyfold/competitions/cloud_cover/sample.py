"""Procedural sample of big satellite scenes: thick and thin cloud, and its shadow, over land and water.

It is no model of the atmosphere. All lengths are fractions of a scene's side, so that a small scene is a
large one seen from further away. Shadows are those of thick cloud, moved away from the sun.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from skyfold.data.sample_folder import sample_settings, write_whole
from skyfold.data.sample_images import as_image, write_image
from skyfold.progress import map_in_threads
from skyfold.types import IntPair

CLASSES = ("background", "thick_cloud", "thin_cloud", "shadow")
VARYING_SIDE = (0.86, 0.99)  # of the fixed one
WATER, SOIL, WOOD = (22.0, 48.0, 74.0), (142.0, 122.0, 92.0), (58.0, 82.0, 46.0)
CLOUD = (238.0, 241.0, 246.0)
CLEAR_SCENES = 0.15

# Default and least value of each setting
SETTINGS = {"train": (24, 1), "validation": (4, 1), "test": (4, 1), "side": (384, 32), "seed": (0, 0)}


def write_sample(folder: Path, *, colours: Mapping[str, tuple[int, int, int]], **settings: int) -> None:
    """Write `images/<split>/*.png` and, in the `colours` (RGB) of CLASSES, `labels/<split>/*.png`.

    settings, see SETTINGS: numbers of scenes by split; side, the fixed one, in pixels, 6015 in the official data; seed.
    Errors and interruptions as `sample_folder.write_whole`; ConfigError for a wrong setting.
    """
    chosen = sample_settings(settings, SETTINGS)
    palette = np.array([colours[name] for name in CLASSES], dtype=np.uint8)
    write_whole(folder, chosen, partial(_write_files, palette=palette, **chosen))


def _write_files(folder: Path, /, palette: np.ndarray, side: int, seed: int, **counts: int) -> None:
    splits = [split for split, count in counts.items() for _ in range(count)]
    for kind in ("images", "labels"):
        for split in counts:
            (folder / kind / split).mkdir(parents=True)

    def write_scene(index: int) -> None:
        rng = np.random.default_rng([seed, index])
        image, classes = scene(rng, _size(rng, side))
        name = f"{splits[index]}/scene_{index:04d}.png"
        write_image(folder / "images" / name, image)
        write_image(folder / "labels" / name, palette[classes])

    list(map_in_threads("writing the sample", write_scene, range(len(splits)), "scenes"))


def _size(rng: np.random.Generator, side: int) -> IntPair:
    """One side fixed, the other shorter; either may be the height."""
    other = round(side * rng.uniform(*VARYING_SIDE))
    return (side, other) if rng.random() < 0.5 else (other, side)


def scene(rng: np.random.Generator, size: IntPair) -> tuple[np.ndarray, np.ndarray]:
    """One image, uint8 (H, W, 3) RGB, and the index in CLASSES of each pixel, uint8 (H, W), for `size` (H, W).

    Thick cloud covers thin cloud, which covers shadow. Some scenes have no thick cloud.
    """
    image = _surface(rng, size)
    clear = rng.random() < CLEAR_SCENES
    thick = _cover(rng, size, fraction=0.0 if clear else rng.uniform(0.05, 0.4), cells=4, softness=0.12)
    thin = _cover(rng, size, fraction=rng.uniform(0.0, 0.1) if clear else rng.uniform(0.05, 0.3), cells=3, softness=0.5)
    shadow = _moved(thick, rng, size)
    image *= (1 - 0.6 * shadow)[..., np.newaxis]
    for cover, opacity in ((thin, rng.uniform(0.3, 0.55)), (thick, rng.uniform(0.85, 0.97))):
        veil = (opacity * cover)[..., np.newaxis]
        image += veil * (np.array(CLOUD, np.float32) - image)
    image += rng.standard_normal(size, dtype=np.float32)[..., np.newaxis] * np.float32(rng.uniform(2, 5))
    classes = np.zeros(size, dtype=np.uint8)
    for place, cover in ((3, shadow), (2, thin), (1, thick)):  # what lies above is what is seen
        classes[cover > 0.5] = place
    return as_image(image), classes


def _surface(rng: np.random.Generator, size: IntPair) -> np.ndarray:
    """Water, soil and wood, float32 (H, W, 3)."""
    land = _soft_step(_noise(rng, size, cells=3), rng.uniform(-0.9, 0.6), 0.08)[..., np.newaxis]
    wooded = _soft_step(_noise(rng, size, cells=7), rng.uniform(-0.5, 0.5), 0.5)[..., np.newaxis]
    ground = np.array(SOIL, np.float32) * (1 - wooded) + np.array(WOOD, np.float32) * wooded
    ground *= (1 + 0.12 * _noise(rng, size, cells=40))[..., np.newaxis]
    return np.asarray(np.array(WATER, np.float32) * (1 - land) + ground * land, dtype=np.float32)


def _cover(rng: np.random.Generator, size: IntPair, *, fraction: float, cells: int, softness: float) -> np.ndarray:
    """Cloud from 0 to 1, float32 (H, W), above a half on about `fraction` of the scene."""
    noise = _noise(rng, size, cells)
    if fraction == 0:
        return np.zeros(size, dtype=np.float32)
    step = max(1, min(size) // 256)
    return _soft_step(noise, float(np.quantile(noise[::step, ::step], 1 - fraction)), softness)


def _moved(cover: np.ndarray, rng: np.random.Generator, size: IntPair) -> np.ndarray:
    """The cover, a few hundredths of the scene to one side."""
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.05) * min(size)
    move = np.array([[1, 0, distance * np.cos(angle)], [0, 1, distance * np.sin(angle)]], dtype=np.float32)
    return np.asarray(cv2.warpAffine(cover, move, (size[1], size[0])))


def _noise(rng: np.random.Generator, size: IntPair, cells: int) -> np.ndarray:
    """Structures from a `cells`-th of the scene down to a 16th of that, float32 (H, W), of mean 0 and deviation 1."""
    total = np.zeros(size, dtype=np.float32)
    for octave in range(5):
        points = (cells << octave) + 1
        layer = rng.standard_normal((points, points), dtype=np.float32) * np.float32(0.55**octave)
        total += cv2.resize(layer, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return (total - total.mean()) / max(float(total.std()), 1e-6)


def _soft_step(values: np.ndarray, middle: float, width: float) -> np.ndarray:
    """0 well below `middle`, a half there, 1 well above."""
    return np.clip((values - np.float32(middle)) / np.float32(width) + np.float32(0.5), 0, 1)
