"""Which images are copies of each other, or nearly: they must share a fold, or validation sees what was trained on."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from skyfold.data.images import THREADS, Resizable
from skyfold.progress import Progress

HASH_SIDE = 16  # 16 x 16 comparisons: 256 bits
STEP = 1.0  # grey levels between two cells; a smaller one is noise, or none
FEWEST_STEPS = 64  # an image with fewer is mostly of one colour: its hash says next to nothing
BLOCK = 256  # rows compared with all others at a time: 256 x 5,546 x 32 bytes = 45 MB


def duplicate_groups(files: Resizable, *, bits: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Group of each image, int64 (n,) in 0.., numbered by first occurrence.

    Images share a group where their files are equal byte for byte; where their 256-bit difference hashes differ in at
    most `bits` bits (-1: hashes are left aside); where `groups` puts them together; or by a chain of these. Images that
    are mostly of one colour (all sea, no data) hash alike whatever they show; they are compared byte for byte alone.
    """
    parent = np.arange(len(files))
    _join_equal(parent, np.array(_digests(files)))
    if groups is not None:
        _join_equal(parent, groups)
    if bits >= 0 and len(files):
        hashes, comparable = difference_hashes(files)
        rows = np.flatnonzero(comparable)
        for first, second in near_pairs(hashes[rows], bits):
            _join(parent, int(rows[first]), int(rows[second]))
    roots = np.array([_root(parent, row) for row in range(len(parent))], dtype=np.int64)
    _, first, group = np.unique(roots, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[group].astype(np.int64)


def difference_hashes(files: Resizable) -> tuple[np.ndarray, np.ndarray]:
    """Hashes uint64 (n, 4), is each of 16 x 16 cells brighter than its left neighbour; which tell images apart (n,)."""

    def thumbnail(row: int) -> np.ndarray:
        grey: np.ndarray = files.resized(row, (HASH_SIDE, HASH_SIDE + 1)).mean(axis=-1)
        return grey

    cells = np.empty((len(files), HASH_SIDE, HASH_SIDE + 1))
    with Progress("comparing images", len(files)) as progress, ThreadPoolExecutor(THREADS) as pool:
        for row, grey in enumerate(pool.map(thumbnail, range(len(files)))):
            cells[row] = grey
            progress.advance()
    steps = np.diff(cells, axis=2).reshape(len(files), -1)
    hashes = np.packbits(steps > 0, axis=1).view(np.uint64)
    return hashes, (np.abs(steps) >= STEP).sum(axis=1) >= FEWEST_STEPS


def near_pairs(hashes: np.ndarray, bits: int) -> np.ndarray:
    """Pairs (i, j), i < j, of rows whose hashes (n, words) uint64 differ in at most `bits` bits; int64 (pairs, 2)."""
    found = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, len(hashes), BLOCK):
        block = hashes[start : start + BLOCK]
        later = hashes[start:]
        distance = np.bitwise_count(block[:, np.newaxis] ^ later[np.newaxis]).sum(axis=2, dtype=np.uint16)
        first, second = np.nonzero(distance <= bits)
        keep = first < second
        found.append(np.stack([first[keep], second[keep]], axis=1) + start)
    return np.concatenate(found)


def _digests(files: Resizable) -> list[str]:
    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(digest, files.paths))


def _join_equal(parent: np.ndarray, names: np.ndarray) -> None:
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    for row, other in enumerate(first[inverse]):
        _join(parent, row, int(other))


def _join(parent: np.ndarray, first: int, second: int) -> None:
    one, other = sorted((_root(parent, first), _root(parent, second)))
    parent[other] = one


def _root(parent: np.ndarray, row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]  # halves the path for the next time
        row = int(parent[row])
    return row
