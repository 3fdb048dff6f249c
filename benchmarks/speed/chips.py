"""Reading chips of four bands in 16 bits, TIFFs of 512 x 512 pixels, into the cache.

The peer reads each file with rasterio and writes it into a memory-mapped NumPy array, in two threads as the cache does;
the cache also checks every file, and keeps a checksum and a flag of each row. Both arrays are compared.
"""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import rasterio
import tifffile
from timing import Line, Work, ratios

from skyfold.data.cache import training_arrays
from skyfold.data.images import ImageFiles
from skyfold.types import Samples

BANDS = 4
CHIPS = {
    "deflate, tiles": {"compression": "zlib", "tile": (256, 256)},
    "deflate, strips": {"compression": "zlib", "rowsperstrip": 64},
    "not compressed": {},
}


def lines(*, quick: bool) -> list[Line]:
    count, side, rounds = (8, 256, 1) if quick else (192, 512, 5)
    found = []
    for how, options in CHIPS.items():
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            paths = [root / f"{i:03d}.tif" for i in range(count)]
            for i, path in enumerate(paths):
                tifffile.imwrite(path, chip(i, side), photometric="minisblack", planarconfig="contig", **options)
            np.testing.assert_array_equal(into_cache(root, paths, side), by_rasterio(root, paths, side))
            ours = Work(lambda root=root, paths=paths: into_cache(root, paths, side), count)  # type: ignore[misc]
            theirs = Work(lambda root=root, paths=paths: by_rasterio(root, paths, side), count)  # type: ignore[misc]
            found += ratios(f"{count} chips, {how}", ours, {"rasterio and NumPy": (theirs, 1.0)}, rounds=rounds)
    return found


def chip(seed: int, side: int) -> np.ndarray:
    """Smooth fields with noise, uint16 (side, side, 4), as reflectances times 10,000."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side
    field = np.sin(9 * rows[..., np.newaxis] + np.arange(BANDS)) * np.cos(7 * columns)[..., np.newaxis]
    return (2000 + 900 * field + 60 * rng.standard_normal((side, side, BANDS))).astype(np.uint16)


def into_cache(root: Path, paths: list[Path], side: int) -> np.ndarray:
    shutil.rmtree(root / "cache", ignore_errors=True)
    ids = np.array([path.stem for path in paths])
    samples = Samples(ids, ImageFiles(paths, bands=BANDS))
    return np.asarray(training_arrays(samples, size=(side, side), folder=root / "cache", fingerprint="").inputs)


def by_rasterio(root: Path, paths: list[Path], side: int) -> np.ndarray:
    path, shape = root / "plain.npy", (len(paths), side, side, BANDS)
    path.unlink(missing_ok=True)
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint16, shape=shape)

    def read(row: int) -> None:
        with rasterio.open(paths[row]) as file:
            rows[row] = np.moveaxis(file.read(), 0, -1)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(read, range(len(paths))))
    rows.flush()
    return rows
