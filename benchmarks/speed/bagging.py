"""The mean of twenty models' stored bytes, against `np.mean` of the same predictions loaded as float32.

All arrays are in memory before the clock starts: only the mean is timed. A list of arrays, one a model, is what
notebooks hold; NumPy stacks it first, which a stacked array saves.
The memory line streams the full size from memory maps, 20 models x 5,546 images x 4 classes of 350 x 525, in a separate
process. The files of twenty models would take 82 GB. Here one sparse file of 4 GB, which reads as zeros and takes no
disk space, is mapped twenty times: that shows what stays in memory, not how fast a disk is.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from timing import Line, Work, growth, memory, ratios

from skyfold.blending.combine import combine
from speed.maps import probabilities, truth_masks

MODELS = 20
GRID = (350, 525, 4)
IMAGES = 5546
STREAM = """
import sys
import numpy as np
from skyfold.blending.combine import combine

arrays = [np.load(sys.argv[1], mmap_mode="r", allow_pickle=False) for _ in range(int(sys.argv[2]))]
total = sum(int(values[:, ::50, ::50].sum()) for _, values in combine(arrays))
assert total == 0, total
"""


def lines(*, quick: bool) -> list[Line]:
    count, rounds = (1, 1) if quick else (4, 7)
    streamed = _streamed(8 if quick else IMAGES)  # first: a child's memory begins at its parent's, which is small yet
    stored = _models(count)
    loaded = [array.astype(np.float32) / np.float32(255) for array in stored]
    stacked = np.stack(loaded)
    ours, theirs = _mean(stored), np.mean(loaded, axis=0)
    assert np.abs(ours / 255 - theirs).max() <= 0.5 / 255 + 1e-5, "more than rounding apart"
    found = ratios(
        f"mean of {MODELS} uint8 models, {count} x 4 maps",
        Work(lambda: _mean(stored)),
        {
            "np.mean of loaded float32": (Work(lambda: np.mean(loaded, axis=0)), 1.0),
            "np.mean of float32 stacked before": (Work(lambda: np.mean(stacked, axis=0)), 1.0),
        },
        rounds=rounds,
    )
    found.append(streamed)

    def of_size(size: int) -> Work:
        more = [np.concatenate([array] * size) for array in stored]
        return Work(lambda: _mean(more))

    return [*found, *growth(f"mean of {MODELS} uint8 models", of_size, rounds=rounds)]


def _mean(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([values for _, values in combine(arrays)])


def _models(count: int) -> list[np.ndarray]:
    truth = truth_masks(count, seed=0, classes=GRID[2])
    return [probabilities(truth, seed=1 + m) for m in range(MODELS)]


def _streamed(images: int) -> Line:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "values.npy"
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(images, *GRID)).flush()
        size = MODELS * images * int(np.prod(GRID)) / 1e9
        note = f"{size:.0f} GB through memory maps of a sparse file"
        return memory(
            f"mean of {MODELS} models x {images} x 4 maps, streamed",
            STREAM,
            [str(path), str(MODELS)],
            wanted=1500,
            note=note,
        )
