"""Groups of identical and near-identical images, which must share a fold: validation must not see training images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from skyfold.data.contents import FromFiles
from skyfold.data.images import Resizable
from skyfold.files import digest, file_digest
from skyfold.progress import map_in_threads

HASH_SIDE = 16  # 16 x 16 comparisons: 256 bits
STEP = 1.0  # grey levels between two cells; a smaller one is noise, or none
FEWEST_STEPS = 64  # an image with fewer is mostly of one colour: its hash says next to nothing
BLOCK = 256  # rows compared with all others at a time: 256 x 5,546 x 4 bytes = 6 MB


def duplicate_groups(files: Resizable, *, bits: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Group of each image, int64 (n,), numbered from 0 by first occurrence.

    Images share a group where all their files are equal byte for byte; where their 256-bit difference hashes differ in
    at most `bits` bits (-1: hashes are not compared); where `groups` (n,) puts them together; or by a chain of these.
    Images mostly of one colour (all sea, no data) have similar hashes whatever they show; they are compared byte for
    byte only.
    """
    rows = np.arange(len(files))
    digests = list(map_in_threads("reading files", _digest, files_of_samples(files), "samples"))
    edges = []
    for names in (digests, digests if groups is None else groups):
        _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
        edges.append(np.stack([rows, first[inverse]], axis=1))
    if bits >= 0:
        hashes, comparable = difference_hashes(files)
        kept = np.flatnonzero(comparable)
        edges.append(kept[near_pairs(hashes[kept], bits)])
    one, other = np.concatenate(edges).T
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(rows), len(rows)))
    component = connected_components(graph, directed=False)[1]
    _, first, group = np.unique(component, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[group].astype(np.int64)


def files_of_samples(images: Resizable) -> list[tuple[Path, ...]]:
    """The files of each sample; several where bands, for instance, are files of their own."""
    if not isinstance(images, FromFiles):
        return [(path,) for path in images.paths]
    sources = map(images.sources, range(len(images)))
    return [tuple(source for source in some if isinstance(source, Path)) for some in sources]


def identical_samples(files: Sequence[tuple[Path, ...]]) -> list[list[int]]:
    """Places of the samples whose files are all equal byte for byte, those of each group together, groups of two or
    more.

    Only files of samples that share their sizes with another are read.
    """
    by_size: dict[tuple[int, ...], list[int]] = {}
    for place, paths in enumerate(files):
        by_size.setdefault(tuple(path.stat().st_size for path in paths), []).append(place)
    places = [place for some in by_size.values() if len(some) > 1 for place in some]
    found: dict[str, list[int]] = {}
    digests = map_in_threads("looking for copies", _digest, [files[place] for place in places], "samples")
    for place, checksum in zip(places, digests, strict=True):
        found.setdefault(checksum, []).append(place)
    return [some for some in found.values() if len(some) > 1]


def _digest(paths: Sequence[Path]) -> str:
    return digest(*map(file_digest, paths))


def difference_hashes(files: Resizable) -> tuple[np.ndarray, np.ndarray]:
    """Hashes uint64 (n, 4) of whether each of 16 x 16 cells is brighter than its left neighbour; bool (n,) of those
    that tell images apart."""

    def thumbnail(row: int) -> np.ndarray:
        image = files.resized(row, (HASH_SIDE, HASH_SIDE + 1))
        grey: np.ndarray = image.mean(axis=-1)
        return grey if image.dtype == np.uint8 else _as_bytes(grey)

    cells = np.array(list(map_in_threads("comparing images", thumbnail, range(len(files)), "images")))
    steps = np.diff(cells, axis=2).reshape(len(files), -1)
    hashes = np.packbits(steps > 0, axis=1).view(np.uint64)
    return hashes, (np.abs(steps) >= STEP).sum(axis=1) >= FEWEST_STEPS


def _as_bytes(cells: np.ndarray) -> np.ndarray:
    """Cells of images of other types, stretched to 0..255, so that a step means the same; NaN becomes the least."""
    known = cells[np.isfinite(cells)]
    least, span = (known.min(), np.ptp(known)) if len(known) else (0, 0)
    return np.nan_to_num((cells - least) * (255 / (span or 1)))


def near_pairs(hashes: np.ndarray, bits: int) -> np.ndarray:
    """Pairs (i, j), i < j, of rows whose hashes (n, words) uint64 differ in at most `bits` bits; int64 (pairs, 2)."""
    found = [np.empty((0, 2), dtype=np.int64)]
    # With -1 for a bit that is set and 1 for one that is not, a product of hashes is bits alike minus bits that differ.
    signs = 1 - 2 * np.unpackbits(hashes.view(np.uint8), axis=1).astype(np.float32)
    for start in range(0, len(hashes), BLOCK):
        product = signs[start : start + BLOCK] @ signs[start:].T
        pairs = np.argwhere(product >= signs.shape[1] - 2 * bits)
        found.append(pairs[pairs[:, 0] < pairs[:, 1]] + start)
    return np.concatenate(found)
