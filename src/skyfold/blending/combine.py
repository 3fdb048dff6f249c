"""Weighted mean of the predictions of several members.

Nothing is fitted, and only one chunk of each member is in memory, so that any number of members can be combined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from skyfold.compiled import compiled
from skyfold.errors import ConfigError, OofMismatch
from skyfold.store.rows import pieces, release_pages, row_shape

CHUNK_BYTES = 2 << 20  # of one member
MAX_PARTS = 65535 // 255  # whole parts of weight whose sum of bytes still fits into 16 bits


def combine(
    arrays: Sequence[np.ndarray], weights: Sequence[float] | None = None, *, rows: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (rows of the chunk, their weighted mean), chunk by chunk, for all of `rows` (None: every row).

    arrays: predictions of the same samples, one array a member: all uint8 (n, ..., K), 255 times a probability, or all
    float (n, ...); memory maps are read a chunk at a time. weights: one a member, >= 0, None: equal; only their ratios
    count. Means are returned in the arrays' dtype, uint8 rounded half to even.

    Raises ConfigError for wrong weights, OofMismatch for arrays that differ in shape or dtype, or hold NaN.
    """
    if not arrays:
        raise ConfigError("nothing to combine; name at least one run.")
    weight = np.ones(len(arrays)) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != (len(arrays),) or not (weight >= 0).all() or not 0 < weight.sum() < np.inf:
        raise ConfigError(f"weights: expected {len(arrays)} numbers >= 0, not all 0; got {list(weights or [])}.")
    check_arrays(arrays)
    chosen = np.arange(len(arrays[0])) if rows is None else np.asarray(rows)
    if arrays[0].dtype == np.uint8 and (weight % 1 == 0).all() and weight.sum() <= MAX_PARTS:
        return _mean_of_bytes(arrays, weight.astype(np.uint16), chosen)
    return _mean(arrays, weight, chosen)


def chunks(arrays: Sequence[np.ndarray], rows: np.ndarray) -> Iterator[np.ndarray]:
    """Split `rows` as `pieces`, at most `CHUNK_BYTES` each; release memory maps after each."""
    for piece in pieces(arrays, rows, CHUNK_BYTES):
        yield piece
        for array in arrays:
            release_pages(array)


def check_arrays(arrays: Sequence[np.ndarray], *, stored: bool = False) -> None:
    """OofMismatch unless all arrays are uint8, or (not with `stored`) float, and of one dtype and shape."""
    first = arrays[0]
    for i, array in enumerate(arrays):
        if array.dtype != np.uint8 and (stored or array.dtype.kind != "f"):
            expected = "uint8, 255 times a probability" if stored else "uint8 or float"
            raise OofMismatch(f"predictions {i} are {array.dtype}; expected {expected}.")
        if array.shape != first.shape or array.dtype != first.dtype:
            raise OofMismatch(
                f"predictions {i} are {array.dtype} {array.shape}, predictions 0 {first.dtype} {first.shape}. Predict "
                "both on the same samples and grid."
            )


@compiled
def add_bytes(sums, values, parts):  # type: ignore[no-untyped-def]
    """Add parts * values to `sums` in place. sums: uint16 (P,); values: uint8 (P,) or longer; parts: uint16."""
    for j in range(len(sums)):
        sums[j] = np.uint16(sums[j] + np.uint16(parts * np.uint16(values[j])))


@compiled
def divide_sums(sums, parts, mean):  # type: ignore[no-untyped-def]
    """Write sums / parts, rounded half to even, into `mean`. sums: uint16 (P,); parts: float32; mean: uint8 (P,)."""
    for j in range(len(sums)):
        mean[j] = np.uint8(np.rint(np.float32(sums[j]) / parts))


def _mean_of_bytes(
    arrays: Sequence[np.ndarray], parts: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Weighted mean of uint8 arrays; parts: uint16, at most MAX_PARTS in all, so that the sums are exact in 16 bits.

    Float32 is enough to round the quotient right: it holds every half exactly, and no other quotient lies too near one.
    """
    for chunk in chunks(arrays, rows):
        contiguous = bool((np.diff(chunk) == 1).all())
        index = slice(int(chunk[0]), int(chunk[-1]) + 1) if contiguous else chunk  # a slice is read without a copy
        sums = np.zeros((len(chunk), *row_shape(arrays[0], chunk[0])), dtype=np.uint16)
        for array, part in zip(arrays, parts, strict=True):
            if part:
                add_bytes(sums.reshape(-1), np.ascontiguousarray(array[index]).reshape(-1), part)
        mean = np.empty(sums.shape, dtype=np.uint8)
        divide_sums(sums.reshape(-1), np.float32(parts.sum()), mean.reshape(-1))
        yield chunk, mean


def _mean(
    arrays: Sequence[np.ndarray], weight: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Weighted mean in float64."""
    dtype = arrays[0].dtype
    for chunk in chunks(arrays, rows):
        total = np.zeros((len(chunk), *row_shape(arrays[0], chunk[0])))
        for i, array in enumerate(arrays):
            values = array[chunk]
            if np.isnan(values).any():
                bad = chunk[np.isnan(values).reshape(len(values), -1).any(axis=1)][0]
                raise OofMismatch(f"predictions {i}, row {bad}: NaN. Predict this sample again.")
            total += weight[i] * values
        mean = total / weight.sum()
        yield chunk, np.rint(mean).astype(np.uint8) if dtype == np.uint8 else mean.astype(dtype)
