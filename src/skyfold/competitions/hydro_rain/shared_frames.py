"""Groups of files that show the same radar frame, so that they belong to one rain event and to one fold.

The contest's windows are cut from longer sequences, and file names do not tell which. A window that holds a frame of
another one gives its target away. Three image rows of each frame are compared, where they show enough rain to differ
from those of any other frame; of a file this reads about three pages of memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from skyfold.data.array_files import read_array
from skyfold.errors import DataLayoutError
from skyfold.progress import Progress

LEAST_DIFFERENT = 12  # distinct values in a probe; with fewer, frames with little rain might be alike by chance


def shared_frame_groups(paths: Sequence[Path]) -> np.ndarray:
    """The group of each file, int64 (n,): files are in one where a chain of shared frames joins them.

    paths: `.npy` files (H, W, frames). A group has the number of its first file. DataLayoutError as `read_array`.
    """
    first_with: dict[bytes, int] = {}
    links = [np.empty((0, 2), dtype=np.int64)]
    with Progress("looking for shared frames", len(paths), "files") as progress:
        for file, path in enumerate(paths):
            links += [np.array([[first_with.setdefault(probe, file), file]]) for probe in _probes(path)]
            progress.advance()
    first, second = np.concatenate(links).T
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(len(paths), len(paths)))
    _, labels = connected_components(graph, directed=False)
    return np.unique(labels, return_index=True)[1][labels].astype(np.int64)


def _probes(path: Path) -> Iterator[bytes]:
    """Three image rows of each frame of the file; none of a frame with too little rain."""
    frames = read_array(path, mmap_mode="r")
    if frames.ndim != 3:
        raise DataLayoutError(f"{path}: shape {frames.shape}, expected rows, columns, frames. Get it again.")
    height = len(frames)
    rows = np.stack([frames[height * k // 4] for k in (1, 2, 3)])
    for frame in np.moveaxis(rows, -1, 0):
        if len(np.unique(frame)) >= LEAST_DIFFERENT:
            yield np.ascontiguousarray(frame).tobytes()
