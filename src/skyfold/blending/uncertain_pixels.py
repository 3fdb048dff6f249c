"""The pixels of the members' maps that blend weights can change at all.

A weighted mean lies between its lowest and its highest member. Where all members are at or below the lowest searched
threshold a pixel is in no mask; where all are above the highest threshold it is in every mask, whatever the blend
weights are. Such pixels are counted once. The rest, usually a small part, is kept in memory, so that a search reads
every map once and still gets the counts of whole maps.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from skyfold.blending.combine import check_arrays
from skyfold.compiled import compiled
from skyfold.progress import Progress
from skyfold.store.rows import release_pages
from skyfold.types import ArraySequence

MAX_BYTES = 768 << 20  # of the uncertain values, truth and sums
ROWS_AT_ONCE = 4  # rows that are screened in parallel before their memory maps are released


@dataclass(frozen=True)
class UncertainPixels:
    """Uncertain pixels of one class in n maps, and counts of the other pixels.

    values      n arrays uint8 (M, p), whose number of pixels p differs by map
    truth       n arrays uint8 (p,), 1 in the ground truth
    sure_pred   int64 (n,), other pixels that are in every mask; sure_both: those of them in the ground truth
    target      int64 (n,), all pixels of the ground truth
    """

    values: list[np.ndarray]
    truth: list[np.ndarray]
    sure_pred: np.ndarray
    sure_both: np.ndarray
    target: np.ndarray

    @property
    def count(self) -> int:
        """Number of uncertain pixels in all maps."""
        return sum(map(len, self.truth))


@dataclass(frozen=True)
class ScreenedMaps:
    """Uncertain pixels of every class. rows: (n,) samples they come from, all requested ones where memory allows;
    thresholds: (T,) ascending, mask = rounded mean > threshold."""

    classes: tuple[UncertainPixels, ...]
    rows: np.ndarray
    thresholds: np.ndarray


def screen(
    arrays: Sequence[np.ndarray],
    targets: ArraySequence,
    valid: ArraySequence | None = None,
    *,
    rows: np.ndarray,
    thresholds: np.ndarray,
    seed: int = 0,
) -> ScreenedMaps:
    """Collect the pixels of `rows` that are uncertain between the lowest and the highest of `thresholds`.

    arrays: uint8 (N, H, W, K) for each member, memory-mapped or not, read one row at a time; targets[i]: 0/1 (H, W, K);
    valid[i]: bool (H, W), undefined pixels count nowhere. thresholds: (T,) ascending whole numbers in 0..254.
    Rows are read in random order until all are done or `MAX_BYTES` are used, so that what fits is an unbiased sample.
    Raises OofMismatch for predictions that are not uint8 of one shape.
    """
    check_arrays(arrays, stored=True)
    thresholds = np.asarray(thresholds, dtype=np.int64)
    classes = arrays[0].shape[-1]
    room = MAX_BYTES // (len(arrays) + 3)
    order = np.random.default_rng(seed).permutation(np.asarray(rows, dtype=np.int64))
    kept: list[list[np.ndarray]] = [[] for _ in range(classes)]
    counts: list[list[tuple[int, ...]]] = [[] for _ in range(classes)]

    def screened(row: int) -> list[tuple[np.ndarray, tuple[int, ...]]]:
        maps = [np.ascontiguousarray(array[row]).reshape(-1, classes) for array in arrays]
        truth = np.asarray(targets[row], dtype=bool).reshape(-1, classes)
        known = None if valid is None else np.asarray(valid[row], dtype=bool).reshape(-1)
        return _screen_row(maps, truth, known, int(thresholds[0]), int(thresholds[-1]))

    done = used = 0
    with Progress("screening pixels", len(order), "rows") as progress, ThreadPoolExecutor(os.cpu_count()) as pool:
        while done < len(order) and used <= room:
            chunk = order[done : done + ROWS_AT_ONCE].tolist()
            for by_class in pool.map(screened, chunk):
                for k, (values, counted) in enumerate(by_class):
                    kept[k].append(values)
                    counts[k].append(counted)
                    used += values.shape[1]
            done += len(chunk)
            progress.advance(len(chunk))
            for array in arrays:
                release_pages(array)
    found = []
    for own, counts_of_rows in zip(kept, counts, strict=True):
        sums = np.array(counts_of_rows, dtype=np.int64).reshape(-1, 3).T
        found.append(UncertainPixels([values[:-1] for values in own], [values[-1] for values in own], *sums))
    return ScreenedMaps(tuple(found), order[:done], thresholds)


def _screen_row(
    maps: Sequence[np.ndarray], truth: np.ndarray, known: np.ndarray | None, low: int, high: int
) -> list[tuple[np.ndarray, tuple[int, ...]]]:
    """For each class the values and, last, the truth of its uncertain pixels, uint8 (M + 1, p), and counts of pixels:
    sure to be in the mask, those of them in the truth, all in the truth.

    maps: uint8 (HW, K) for each member; truth: bool (HW, K); known: bool (HW,), None: all.
    """
    lowest, highest = np.array(maps[0]), np.array(maps[0])
    for values in maps[1:]:
        np.minimum(lowest, values, out=lowest)
        np.maximum(highest, values, out=highest)
    sure = lowest > high
    uncertain = (highest > low) & ~sure
    if known is not None:
        truth, sure, uncertain = (mask & known[:, None] for mask in (truth, sure, uncertain))
    sure_both = sure & truth
    screened = []
    for k in range(truth.shape[1]):
        index = (np.flatnonzero(uncertain[:, k]) * truth.shape[1] + k).astype(np.int32)
        kept = np.empty((len(maps) + 1, len(index)), dtype=np.uint8)
        for values, own in zip((*maps, truth), kept, strict=True):
            _take(values.reshape(-1), index, own)
        screened.append((kept, tuple(int(np.count_nonzero(mask[:, k])) for mask in (sure, sure_both, truth))))
    return screened


@compiled
def _take(values, index, taken):  # type: ignore[no-untyped-def]
    """taken = values[index]; half as many bytes of index as NumPy's are read."""
    for j in range(len(index)):
        taken[j] = values[index[j]]
