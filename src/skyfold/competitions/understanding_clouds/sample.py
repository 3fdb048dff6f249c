"""Procedural sample of the Understanding-Clouds files: four cloud patterns over sea, in the contest's layout.

It is no model of the atmosphere. Fish are ribbed streaks, Flower round clouds with clear gaps,
Gravel granular arcs, Sugar a dust of dots; masks are the coarse boxes that volunteers would draw around a pattern,
about half of them empty. Haze, fronts, lone clouds and patches too small to be labelled belong to no class.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from skyfold.data.masks import resample
from skyfold.data.sample_folder import sample_settings, write_whole
from skyfold.data.sample_images import as_image, sample_names, smooth_noise, write_image
from skyfold.errors import ConfigError
from skyfold.progress import map_in_threads
from skyfold.submission.formats import RleTable
from skyfold.types import IntPair

EMPTY_RATES = {"Fish": 0.50, "Flower": 0.57, "Gravel": 0.47, "Sugar": 0.33}  # as in the contest's train.csv
GRID_STEP = 4  # the contest's images are four times its grid
JPEG_QUALITY = 88
DESIGN_HEIGHT = 280  # the height at which lengths below are meant, in pixels

SEA = np.array([30.0, 62.0, 92.0])
CLOUD = np.array([236.0, 240.0, 244.0])

# Default and least value of each setting
SETTINGS = {"train": (240, 1), "test": (200, 1), "seed": (0, 0), "height": (DESIGN_HEIGHT, 64)}


def write_sample(folder: Path, **settings: int) -> None:
    """Write train_images, test_images, train.csv, sample_submission.csv, and test_truth.csv on the grid.

    settings, see SETTINGS: numbers of images; seed; height of the images, which are 3:2. Errors and interruptions as
    `sample_folder.write_whole`; ConfigError for a wrong setting.
    """
    chosen = sample_settings(settings, SETTINGS)
    if chosen["height"] % (2 * GRID_STEP):
        raise ConfigError(f"data.sample.height: expected a multiple of {2 * GRID_STEP}, got {chosen['height']}.")
    write_whole(folder, chosen, partial(_write_files, **chosen))


def _write_files(folder: Path, /, train: int, test: int, seed: int, height: int) -> None:
    names = sample_names(seed, train, test, 16**7, "{:07x}.jpg")
    for name in ("train_images", "test_images"):
        (folder / name).mkdir()

    def write_scene(index: int) -> np.ndarray:
        image, masks = scene(np.random.default_rng([seed, index]), height)
        path = folder / ("train_images" if index < train else "test_images") / names[index]
        write_image(path, image, cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
        return np.moveaxis(masks, 0, -1)

    masks = list(map_in_threads("writing the sample", write_scene, range(train + test), "images"))
    full = RleTable(tuple(EMPTY_RATES), (height, height * 3 // 2))
    full.write(folder / "train.csv", full.encode(np.array(names[:train]), masks[:train]))
    table = RleTable(full.classes, (height // GRID_STEP, full.shape[1] // GRID_STEP))
    on_grid = [resample(mask.view(np.uint8), table.shape).view(bool) for mask in masks[train:]]
    truth = table.encode(np.array(names[train:]), on_grid)
    table.write(folder / "test_truth.csv", truth)
    table.write(folder / "sample_submission.csv", truth.assign(**{table.rle_column: "1 1"}))


def scene(rng: np.random.Generator, height: int) -> tuple[np.ndarray, np.ndarray]:
    """One image, uint8 (H, 1.5 H, 3) RGB, and its masks, bool (4, H, 1.5 H) in the order of EMPTY_RATES.

    Drawn at a height of 280 pixels, then resized to `height`. At least one class is present.
    """
    size = (DESIGN_HEIGHT, DESIGN_HEIGHT * 3 // 2)
    cloud = _haze(rng, size)
    masks = np.zeros((len(EMPTY_RATES), *size), dtype=bool)
    taken = np.zeros(size, dtype=np.float32)
    for place in rng.permutation(_present(rng)):
        region = _free_region(rng, taken)
        taken = taken + region
        pattern = PATTERNS[place](rng, size) * region * rng.uniform(0.45, 1.0)
        cloud = np.maximum(cloud, pattern)
        masks[place] = _boxes_of_volunteers(rng, region)
    for draw, chance in ((_front, 0.35), (_lone_clouds, 0.5), (_unlabelled_patch, 0.5)):
        if rng.random() < chance:
            cloud = np.maximum(cloud, draw(rng, size))
    image = _develop(rng, cloud)
    wanted = (height * 3 // 2, height)
    image = cv2.resize(image, wanted, interpolation=cv2.INTER_AREA if height < size[0] else cv2.INTER_LINEAR)
    masks_wanted = [cv2.resize(mask.view(np.uint8), wanted, interpolation=cv2.INTER_NEAREST) for mask in masks]
    return image, np.array(masks_wanted).astype(bool)


def _present(rng: np.random.Generator) -> np.ndarray:
    """Places of the classes in a scene, at least one."""
    while True:
        present = np.flatnonzero(rng.random(len(EMPTY_RATES)) >= list(EMPTY_RATES.values()))
        if len(present):
            return present


def _free_region(rng: np.random.Generator, taken: np.ndarray) -> np.ndarray:
    """A soft-edged ellipse, float32 0..1, as far from what is taken as 12 tries find."""
    height, width = taken.shape
    best, least = taken, np.inf
    for _ in range(12):
        half = (int(width * rng.uniform(0.17, 0.30)), int(height * rng.uniform(0.22, 0.40)))
        centre = (int(rng.uniform(0.1, 0.9) * width), int(rng.uniform(0.1, 0.9) * height))
        region = np.zeros(taken.shape, dtype=np.float32)
        cv2.ellipse(region, centre, half, rng.uniform(-20, 20), 0, 360, 1.0, -1)
        overlap = float((region * taken).sum() / max(region.sum(), 1.0))
        if overlap < least:
            best, least = region, overlap
    return np.asarray(cv2.GaussianBlur(best, (0, 0), 8))


def _boxes_of_volunteers(rng: np.random.Generator, region: np.ndarray) -> np.ndarray:
    """The union of two to three boxes around a region, each drawn with an unsure hand; bool (H, W)."""
    rows = np.flatnonzero(region.max(axis=1) > 0.4)
    columns = np.flatnonzero(region.max(axis=0) > 0.4)
    mask = np.zeros(region.shape, dtype=bool)
    for _ in range(rng.integers(2, 4)):
        top, bottom = np.array([rows[0], rows[-1] + 1]) + rng.normal(0, 7, 2).astype(int)
        left, right = np.array([columns[0], columns[-1] + 1]) + rng.normal(0, 9, 2).astype(int)
        mask[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    return mask


def _fish(rng: np.random.Generator, size: IntPair) -> np.ndarray:
    """Long bent spines, side by side, with ribs on both sides."""
    canvas = np.zeros((size[1] * 2, size[1] * 2), dtype=np.float32)  # turned at the end, hence larger
    along = np.arange(0, len(canvas), 8)
    offset = 0.0
    while offset < len(canvas):
        offset += rng.uniform(55, 80)
        wave = offset + rng.uniform(8, 16) * np.sin(along / rng.uniform(35, 60) + rng.uniform(0, 6.3))
        thick = int(rng.integers(9, 14))
        for start in range(int(rng.integers(0, 6)), len(along), 30):
            spine = np.stack([along, wave], axis=1)[start : start + int(rng.integers(18, 28))]
            cv2.polylines(canvas, [spine.astype(np.int32)], False, 1.0, thick, cv2.LINE_AA)
            for step, (x, y) in enumerate(spine[2:-2:2]):
                side = 1 if step % 2 else -1
                tip = (int(x + rng.uniform(10, 20)), int(y + side * rng.uniform(18, 30)))
                cv2.line(canvas, (int(x), int(y)), tip, float(rng.uniform(0.6, 1.0)), 6, cv2.LINE_AA)
    return _cut_turned(cv2.GaussianBlur(canvas, (0, 0), 2.0), size, rng.uniform(-40, 40))


def _flower(rng: np.random.Generator, size: IntPair) -> np.ndarray:
    """Compact bright clouds with ragged edges and clear gaps between them."""
    canvas = np.zeros(size, dtype=np.float32)
    for x, y in _jittered_points(rng, size, spacing=rng.uniform(62, 76), jitter=0.16):
        radius = rng.uniform(15, 22)
        for angle in rng.uniform(0, 6.3, 6):
            lobe = (int(x + 0.55 * radius * np.cos(angle)), int(y + 0.55 * radius * np.sin(angle)))
            cv2.circle(canvas, lobe, int(radius * rng.uniform(0.45, 0.75)), 1.0, -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 2.5))


def _gravel(rng: np.random.Generator, size: IntPair) -> np.ndarray:
    """Open rings and arcs of grains."""
    canvas = np.zeros(size, dtype=np.float32)
    for x, y in _jittered_points(rng, size, spacing=rng.uniform(36, 42), jitter=0.22):
        radius, start = rng.uniform(13, 19), rng.uniform(0, 360)
        axes = (int(radius), int(radius * rng.uniform(0.75, 1.0)))
        end = start + rng.uniform(170, 300)
        cv2.ellipse(canvas, (int(x), int(y)), axes, 0, start, end, float(rng.uniform(0.7, 1.0)), 6, cv2.LINE_AA)
    grain = cv2.GaussianBlur(rng.standard_normal(size).astype(np.float32), (0, 0), 2.0)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 1.5) * np.clip(1.0 + 2.5 * grain, 0.3, 1.2))


def _sugar(rng: np.random.Generator, size: IntPair) -> np.ndarray:
    """Many tiny clouds, of no order."""
    canvas = np.zeros(size, dtype=np.float32)
    for x, y in _jittered_points(rng, size, spacing=rng.uniform(13, 16), jitter=0.45):
        if rng.random() < 0.8:
            cv2.circle(canvas, (int(x), int(y)), int(rng.integers(2, 5)), float(rng.uniform(0.5, 1.0)), -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 1.2))


PATTERNS: list[Callable[[np.random.Generator, IntPair], np.ndarray]] = [_fish, _flower, _gravel, _sugar]


def _haze(rng: np.random.Generator, size: IntPair) -> np.ndarray:
    """Thin smooth cloud anywhere, of every strength."""
    return np.asarray(np.clip(smooth_noise(rng, (4, 6), size) * 0.18, 0.0, 1.0) * rng.uniform(0.0, 1.6))


def _front(rng: np.random.Generator, size: IntPair) -> np.ndarray:
    """One broad straight band across the scene."""
    canvas = np.zeros((size[1] * 2, size[1] * 2), dtype=np.float32)
    row = size[1] + int(rng.integers(-90, 90))
    cv2.line(canvas, (0, row), (len(canvas), row), float(rng.uniform(0.4, 0.9)), int(rng.integers(16, 40)))
    return _cut_turned(cv2.GaussianBlur(canvas, (0, 0), 7.0), size, rng.uniform(-80, 80))


def _lone_clouds(rng: np.random.Generator, size: IntPair) -> np.ndarray:
    """Two to six single clouds, too far apart for a pattern."""
    canvas = np.zeros(size, dtype=np.float32)
    for _ in range(rng.integers(2, 7)):
        centre = (int(rng.uniform(0, size[1])), int(rng.uniform(0, size[0])))
        axes = (int(rng.integers(6, 26)), int(rng.integers(5, 16)))
        cv2.ellipse(canvas, centre, axes, rng.uniform(0, 180), 0, 360, float(rng.uniform(0.4, 1.0)), -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 3.0))


def _unlabelled_patch(rng: np.random.Generator, size: IntPair) -> np.ndarray:
    """A pattern in a patch too small for anybody to draw a box around."""
    patch = np.zeros(size, dtype=np.float32)
    centre = (int(rng.uniform(0, size[1])), int(rng.uniform(0, size[0])))
    cv2.ellipse(patch, centre, (int(rng.integers(28, 50)), int(rng.integers(22, 40))), 0, 0, 360, 1.0, -1)
    pattern = PATTERNS[rng.integers(len(PATTERNS))](rng, size)
    return np.asarray(pattern * cv2.GaussianBlur(patch, (0, 0), 6) * rng.uniform(0.4, 0.9))


def _develop(rng: np.random.Generator, cloud: np.ndarray) -> np.ndarray:
    """Cloud cover 0..1 over a sea with uneven light and a sensor with noise; uint8 (H, W, 3)."""
    light = smooth_noise(rng, (3, 4), (cloud.shape[0], cloud.shape[1])) * 0.10 + rng.uniform(0.85, 1.15)
    cover = np.clip(cloud, 0.0, 1.0)[..., np.newaxis]
    image = (SEA * (1 - cover) + CLOUD * cover) * light[..., np.newaxis]
    image += rng.normal(0, rng.uniform(4, 9), cloud.shape)[..., np.newaxis]
    return as_image(image)


def _jittered_points(rng: np.random.Generator, size: IntPair, spacing: float, jitter: float) -> np.ndarray:
    """Points (x, y) about `spacing` apart, every other row shifted by half, each moved by `jitter` spacings or so."""
    x, y = np.meshgrid(np.arange(0, size[1] + spacing, spacing), np.arange(0, size[0] + spacing, spacing * 0.87))
    x = x + (np.arange(len(x)) % 2)[:, np.newaxis] * spacing / 2
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    return points + rng.normal(0, jitter * spacing, points.shape)


def _cut_turned(canvas: np.ndarray, size: IntPair, degrees: float) -> np.ndarray:
    """The middle (H, W) of a canvas turned by an angle."""
    middle = len(canvas) / 2
    turn = cv2.getRotationMatrix2D((middle, middle), degrees, 1.0)
    turn[:, 2] += np.array([size[1], size[0]]) / 2 - middle
    return np.asarray(cv2.warpAffine(canvas, turn, (size[1], size[0])))
