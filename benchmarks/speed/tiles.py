"""A big scene predicted by overlapping tiles, against the same network on tiles laid side by side and on all of it.

The network is a U-Net on ResNet18 with fresh weights, in float32. Times are of a megapixel of the scene. Overlap costs
what it adds in tiles: with a quarter of a tile about 1.8 times; beside tiles without overlap it is shown what the
weighting itself costs. Memory is the greatest of a process of its own, network and libraries included. The scene is a
mapped file, so that what is not asked for is not in memory; the whole image has to be. The scene of 16 bits is a tiled
TIFF of the size of a Sentinel-2 scene, whose bands are rescaled; its memory is what it takes above the imports.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import tifffile
from timing import Line, Work, interleaved, memory, ratios

from skyfold import plugins
from skyfold.data.windows import ArrayWindows
from skyfold.training import backend
from skyfold.training.tiles import Tiling, predict_scene

OPTIONS = {"encoder": "resnet18", "encoder_weights": "none", "decoder_filters": [64, 32, 32, 16, 16]}
CLASSES, BATCH = 4, 4
ONE_PROCESS = """
import json
import sys
from pathlib import Path
import numpy as np
from skyfold import plugins
from skyfold.data.windows import open_windows
from skyfold.training.predict_scenes import strips_on_grid
from skyfold.training.tiles import Tiling, predict_scene
from skyfold.training import backend

file, how, tile = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
classes, batch, options = json.loads(sys.argv[4])
scene = open_windows(file, cache=file.parent)
height, width, bands = scene.shape
seen = (height, width) if how == "whole" else (tile, tile)
backend.start(deterministic=True)
model = plugins.load("models", "unet").PLUGIN(**options).build(input_shape=(*seen, bands), classes=classes)
predict = lambda images: model.predict_on_batch(images.astype(np.float32) / np.float32(255))
if how == "whole":
    predict(scene.read(0, 0, height, width)[np.newaxis])
else:
    strips = predict_scene(scene, predict, Tiling(seen, tile // 4), batch_size=batch)
    strips_on_grid(strips, height, (height // 8, width // 8))
"""
DEEP_SCENE = """
import json
import sys
from pathlib import Path
import numpy as np
from skyfold import plugins
from skyfold.data.rescale import Rescale
from skyfold.data.windows import open_windows
from skyfold.training.predict import sigmoid
from skyfold.training.predict_scenes import strips_on_grid
from skyfold.training.tiles import Tiling, predict_scene
from skyfold.training import backend

import keras

def peak():
    return int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])

file, tile = Path(sys.argv[1]), int(sys.argv[2])
classes, batch, options = json.loads(sys.argv[3])
bare = peak()
scene = open_windows(file, cache=file.parent, bands=4)
height, width, bands = scene.shape
backend.start(deterministic=True)
model = plugins.load("models", "unet").PLUGIN(**options).build(input_shape=(tile, tile, bands), classes=classes)
rescale = Rescale((0.0,), (10000.0,), str(scene.dtype))
predict = lambda images: sigmoid(model.predict_on_batch(rescale(images)))
strips = predict_scene(scene, predict, Tiling((tile, tile), tile // 4), batch_size=batch)
strips_on_grid(strips, height, (height // 8, width // 8))
print(peak() - bare)
"""


def lines(*, quick: bool) -> list[Line]:
    tile, size, rounds = (64, (192, 128), 1) if quick else (256, (1536, 1280), 5)
    sides = (96, 192) if quick else (1500, 6000)
    found = [*_memory(sides, tile)]  # first: a child's memory begins at its parent's, which is small yet
    found.append(_deep_memory(160 if quick else 10_980, tile))
    backend.start(deterministic=True)
    build = partial(plugins.load("models", "unet").PLUGIN(**OPTIONS).build, classes=CLASSES)
    of_tiles, of_whole = build(input_shape=(tile, tile, 3)), build(input_shape=(*size, 3))
    of_whole.set_weights(of_tiles.get_weights())
    image = made_scene(size)
    off = np.abs(tiled(of_tiles, image, tile, overlap=0) - pasted(of_tiles, image, tile)).max()
    assert off < 1e-4, off  # tiles are batched otherwise
    megapixels = max(1, round(size[0] * size[1] / 1e6))
    path = f"scene of {size[0]} x {size[1]} by tiles of {tile}"
    beside = Work(lambda: pasted(of_tiles, image, tile), megapixels)
    at_once = Work(lambda: predicted(of_whole, image[np.newaxis]), megapixels)
    overlapping = Work(lambda: tiled(of_tiles, image, tile, overlap=tile // 4), megapixels)
    found += ratios(
        f"{path} that overlap by a quarter",
        overlapping,
        {"tiles side by side, NumPy": (beside, None), "the whole image at once": (at_once, None)},
        rounds=rounds,
    )
    plain = Work(lambda: tiled(of_tiles, image, tile, overlap=0), megapixels)
    found += ratios(f"{path} that do not overlap", plain, {"the same, NumPy": (beside, None)}, rounds=rounds)
    speeds = [size[0] * size[1] / 1e6 / megapixels / each for each in interleaved({"": overlapping}, rounds=rounds)[""]]
    found.append(Line(f"{path} that overlap by a quarter", "", median(speeds), min(speeds), max(speeds), "MP/s"))
    return found


def tiled(model: object, image: np.ndarray, tile: int, *, overlap: int) -> np.ndarray:
    strips = predict_scene(
        ArrayWindows(image, 3), partial(predicted, model), Tiling((tile, tile), overlap), batch_size=BATCH
    )
    return np.concatenate(list(strips))


def pasted(model: object, image: np.ndarray, tile: int) -> np.ndarray:
    """As it is mostly done: tiles side by side, predicted in batches, put together."""
    places = [(top, left) for top in range(0, image.shape[0], tile) for left in range(0, image.shape[1], tile)]
    result = np.empty((*image.shape[:2], CLASSES), dtype=np.float32)
    for start in range(0, len(places), BATCH):
        chosen = places[start : start + BATCH]
        parts = np.stack([image[top : top + tile, left : left + tile] for top, left in chosen])
        filled = np.concatenate([parts, np.repeat(parts[:1], BATCH - len(chosen), axis=0)])
        for (top, left), values in zip(chosen, predicted(model, filled), strict=False):
            result[top : top + tile, left : left + tile] = values
    return result


def predicted(model: object, images: np.ndarray) -> np.ndarray:
    found: np.ndarray = model.predict_on_batch(images.astype(np.float32) / np.float32(255))  # type: ignore[attr-defined]
    return found


def made_scene(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def _deep_memory(side: int, tile: int) -> Line:
    """The greatest memory (MB) that the prediction of a scene of side x side x 4 in 16 bits adds to the imports."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "deep.tif"
        part = np.random.default_rng(0).integers(0, 10_000, (512, 512, 4), dtype=np.uint16)
        tiles = (part for _ in range((-(-side // 512)) ** 2))
        shape = (side, side, 4)
        tifffile.imwrite(file, tiles, shape=shape, dtype=np.uint16, photometric="rgb", tile=(512, 512), compression=8)
        command = [sys.executable, "-c", DEEP_SCENE, str(file), str(tile), json.dumps([CLASSES, BATCH, OPTIONS])]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    megabytes = int(said.split()[-1]) / 1024
    path = f"memory above the imports: TIFF of {side} x {side} x 4, uint16, by tiles of {tile}"
    wanted = 700.0 if side > 1000 else None
    note = f"the image alone {side * side * 8 / 2**20:.0f} MB"
    return Line(path, "", megabytes, megabytes, megabytes, "MB", wanted, note)


def _memory(sides: tuple[int, int], tile: int) -> list[Line]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for side in sides:
            file = Path(folder) / f"{side}.npy"
            np.save(file, made_scene((side, side * 11 // 12)))
            for how in ("tiles", "whole") if side == sides[0] else ("tiles",):
                label = f"by tiles of {tile}" if how == "tiles" else "at once"
                path = f"memory: scene of {side} x {side * 11 // 12} {label}"
                note = f"the image alone {side * (side * 11 // 12) * 3 / 2**20:.0f} MB"
                given = [str(file), how, str(tile), json.dumps([CLASSES, BATCH, OPTIONS])]
                found.append(memory(path, ONE_PROCESS, given, wanted=None, note=note))
    return found
