"""Which sequences show the same radar frame, so that they belong to one rain event and into one fold.

The contest's windows are cut from longer sequences and their names say nothing of it. A window that holds a frame of
another one gives its target away. Three image rows of each frame are compared, where they show enough rain to be unlike
those of any other frame; so much is read of a file as three pages of memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from skyfold.competitions.hydro_rain.radar_files import read_array
from skyfold.errors import DataLayoutError
from skyfold.progress import Progress

LEAST_DIFFERENT = 12  # values in a probe; with fewer, frames of little rain might be alike by chance


def shared_frame_groups(paths: Sequence[Path]) -> np.ndarray:
    """The group of each file, int64 (n,): files are in one where a chain of shared frames joins them.

    paths: `.npy` files (H, W, frames). Groups are numbered by their first file. DataLayoutError as `read_array`.
    """
    parent = np.arange(len(paths))

    def root(file: int) -> int:
        while parent[file] != file:
            parent[file] = parent[parent[file]]
            file = parent[file]
        return file

    first_with: dict[bytes, int] = {}
    with Progress("looking for shared frames", len(paths), "files") as progress:
        for file, path in enumerate(paths):
            for probe in _probes(path):
                first, own = root(first_with.setdefault(probe, file)), root(file)
                parent[max(first, own)] = min(first, own)
            progress.advance()
    return np.array([root(file) for file in range(len(paths))], dtype=np.int64)


def _probes(path: Path) -> Iterator[bytes]:
    """What tells each frame of the file from others, left out where there is too little rain."""
    frames = read_array(path, map_it=True)
    if frames.ndim != 3:
        raise DataLayoutError(f"{path}: shape {frames.shape}, expected rows, columns, frames. Get it again.")
    height = len(frames)
    rows = np.stack([frames[height * k // 4] for k in (1, 2, 3)])
    for frame in np.moveaxis(rows, -1, 0):
        if len(np.unique(frame)) >= LEAST_DIFFERENT:
            yield np.ascontiguousarray(frame).tobytes()
