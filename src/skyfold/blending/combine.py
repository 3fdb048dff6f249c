"""What several models say together: the mean, geometric mean, mean rank or vote of their predictions.

Nothing is fitted and only one chunk of each model is in memory, so that any number of models can be combined. The mean
of bytes with whole weights, the usual case, is summed in 16 bits, a block at a time that stays in the cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np

from skyfold.blending._pixel_words import LANES, byte_at, sum_of_bytes
from skyfold.compiled import compiled
from skyfold.errors import ConfigError, OofMismatch
from skyfold.store.rows import release_pages

How = Literal["mean", "geometric", "rank", "vote"]
CHUNK_BYTES = 4 << 20
BLOCK = 4 << 10  # values whose sums stay in the nearest cache
LARGEST_SUM = 65535
# A stored 0 stands for any probability below 0.5 / 255. Its middle keeps one model that rounds to 0 from vetoing all.
LOG_OF_STORED = np.log(np.concatenate([[0.25], np.arange(1, 256)]))


def combine(
    arrays: Sequence[np.ndarray],
    *,
    how: How,
    weights: Sequence[float] | None = None,
    rows: np.ndarray | None = None,
    levels: Sequence[Sequence[float]] | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (rows of this chunk, combined values of theirs) until all of `rows` (None: every row) have come.

    arrays: predictions of the same samples, all uint8 (n, ..., K), 255 times a probability, or all float (n, ..., K);
    memory maps are read a chunk at a time. weights: one a model, >= 0, None: equal; only their ratios count. Values
    come in the arrays' dtype, uint8 rounded half to even from float64.

    "mean"        weighted mean
    "geometric"   exp of the weighted mean of logarithms: low where any model is low
    "rank"        weighted mean of the share of the class's values, over `rows`, that lie below (ties count half): only
                  the order within a model counts, so that models of different calibration weigh the same
    "vote"        weighted share of the models whose value is above their own level; levels: (M, K), in the arrays' unit

    ConfigError for wrong weights or levels; OofMismatch for arrays that differ in shape or dtype, or hold NaN.
    """
    weight = _weights(weights, len(arrays))
    _check_arrays(arrays)
    chosen = np.arange(len(arrays[0])) if rows is None else np.asarray(rows)
    if how == "mean":
        if arrays[0].dtype == np.uint8 and (weight % 1 == 0).all() and 255 * weight.sum() <= LARGEST_SUM:
            return _averaged_bytes(arrays, weight, chosen)
        return _averaged(arrays, weight, chosen, [_as_is] * len(arrays), _same)
    if how == "geometric":
        return _averaged(arrays, weight, chosen, [_log] * len(arrays), np.exp)
    if how == "rank":
        return _rank_averaged(arrays, weight, chosen)
    if how == "vote":
        return _averaged(arrays, weight, chosen, _votes(levels, arrays), _same)
    raise ConfigError(f"combine: '{how}' is not known. There are: mean, geometric, rank, vote.")


def _weights(weights: Sequence[float] | None, count: int) -> np.ndarray:
    if not count:
        raise ConfigError("nothing to combine; name at least one run.")
    weight = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != (count,) or not (weight >= 0).all() or not 0 < weight.sum() < np.inf:
        raise ConfigError(f"weights: expected {count} numbers >= 0, not all 0; got {list(weights or [])}.")
    return weight


def _check_arrays(arrays: Sequence[np.ndarray]) -> None:
    first = arrays[0]
    for i, array in enumerate(arrays):
        if array.dtype != np.uint8 and array.dtype.kind != "f":
            raise OofMismatch(f"predictions {i} are {array.dtype}; expected uint8 or float.")
        if array.shape != first.shape or array.dtype != first.dtype:
            raise OofMismatch(
                f"predictions {i} are {array.dtype} {array.shape}, predictions 0 {first.dtype} {first.shape}. Predict "
                "both on the same samples and grid."
            )


def _averaged(
    arrays: Sequence[np.ndarray],
    weight: np.ndarray,
    rows: np.ndarray,
    into: Sequence[Callable[[np.ndarray, np.ndarray], np.ndarray]],
    back: Callable[[np.ndarray], np.ndarray],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """back(weighted mean of into[i](values of array i, their positions in `rows`))."""
    for positions, chunk in _chunks(arrays, rows):
        total = np.zeros((len(chunk), *arrays[0].shape[1:]))
        for i, array in enumerate(arrays):
            values = array[chunk]
            _refuse_nan(values, i, chunk)
            if weight[i]:  # 0 times the logarithm of 0 would be NaN
                total += weight[i] * into[i](values, positions)
        yield chunk, _stored(back(total / weight.sum()), arrays[0].dtype)


def _chunks(arrays: Sequence[np.ndarray], rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions in `rows` and the rows there; what was read of memory maps for a chunk is let go after it."""
    row_bytes = max(1, int(np.prod(arrays[0].shape[1:])) * arrays[0].dtype.itemsize)
    size = max(1, CHUNK_BYTES // row_bytes)
    for start in range(0, len(rows), size):
        positions = np.arange(start, min(start + size, len(rows)))
        yield positions, rows[positions]
        for array in arrays:
            release_pages(array)


def _averaged_bytes(
    arrays: Sequence[np.ndarray], weight: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The weighted mean of uint8 arrays; weight: whole numbers whose sums of bytes fit into 16 bits."""
    counted = [i for i in range(len(arrays)) if weight[i]]
    parts, total = weight[counted].astype(np.uint16), np.float32(weight.sum())
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        for _, chunk in _chunks(arrays, rows):
            together = bool(chunk[-1] - chunk[0] == len(chunk) - 1 and (np.diff(chunk) == 1).all())
            index = slice(int(chunk[0]), int(chunk[-1]) + 1) if together else chunk  # a slice is read where it lies
            values = [np.ascontiguousarray(arrays[i][index]) for i in counted]
            addresses = np.array([own.ctypes.data for own in values])
            mean = np.empty((len(chunk), *arrays[0].shape[1:]), dtype=np.uint8)
            flat = mean.reshape(-1)
            share = max(BLOCK, -(-len(flat) // (threads * BLOCK)) * BLOCK)  # whole blocks, as many for each thread
            starts = range(0, len(flat), share)
            jobs = [
                pool.submit(_mean_of_bytes, addresses + start, parts, total, flat[start : start + share])
                for start in starts
            ]
            for job in jobs:
                job.result()
            yield chunk, mean


@compiled
def _mean_of_bytes(addresses, parts, total, mean):  # type: ignore[no-untyped-def]
    """addresses: (M,) where the models' bytes begin, as many as `mean` has; parts: (M,) uint16.

    Rounded half to even: 24 bits hold every half exactly, and no quotient of whole numbers lies too near to one.
    """
    sums = np.empty(BLOCK, dtype=np.uint16)
    for begin in range(0, len(mean), BLOCK):
        size = min(BLOCK, len(mean) - begin)
        words = size // LANES
        for w in range(words):
            sum_of_bytes(
                addresses.ctypes.data,
                begin + LANES * w,
                parts.ctypes.data,
                len(addresses),
                sums.ctypes.data + 2 * LANES * w,
            )
        sums[words * LANES : size] = 0
        for m in range(len(addresses)):
            for j in range(words * LANES, size):
                sums[j] = np.uint16(sums[j] + np.uint16(parts[m] * np.uint16(byte_at(addresses[m] + begin + j))))
        out = mean[begin : begin + size]
        for j in range(size):
            out[j] = np.uint8(np.rint(np.float32(sums[j]) / total))


def _votes(
    levels: Sequence[Sequence[float]] | None, arrays: Sequence[np.ndarray]
) -> list[Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    expected = (len(arrays), arrays[0].shape[-1])
    own = np.asarray([] if levels is None else levels, dtype=np.float64)
    if own.shape != expected or not np.isfinite(own).all():
        raise ConfigError(f"combine: vote needs finite levels {expected}, one a model and class; got {own.shape}.")
    full = 255.0 if arrays[0].dtype == np.uint8 else 1.0

    def vote_at(level: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        return lambda values, positions: np.where(values > level, full, 0.0)

    return [vote_at(level) for level in own]


def _as_is(values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    return values.astype(np.float64)


def _same(values: np.ndarray) -> np.ndarray:
    return values


def _log(values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return np.asarray(LOG_OF_STORED[values])
    with np.errstate(divide="ignore"):  # the logarithm of 0 is -inf, and the geometric mean 0
        return np.asarray(np.log(values.astype(np.float64)))


def _rank_averaged(
    arrays: Sequence[np.ndarray], weight: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ranks stay whole numbers until the end, so that the order of the models cannot change how a tie is rounded."""
    per_class = max(1, len(rows) * int(np.prod(arrays[0].shape[1:-1])))
    if arrays[0].dtype == np.uint8:
        stored = [_StoredRanks(array, rows) for array in arrays]
        return _averaged(arrays, weight, rows, stored, lambda twice: 255.0 * twice / (2 * per_class))
    sorted_ = [_SortedRanks(array, rows, i) for i, array in enumerate(arrays)]
    return _averaged(arrays, weight, rows, sorted_, lambda twice: twice / (2 * per_class))


class _StoredRanks:
    """How many of a class's stored values lie below a value, plus how many at or below: from one histogram."""

    def __init__(self, array: np.ndarray, rows: np.ndarray) -> None:
        classes = array.shape[-1]
        counts = np.zeros((classes, 256), dtype=np.int64)
        for row in rows:
            values = array[row].reshape(-1, classes)
            for k in range(classes):
                counts[k] += np.bincount(values[:, k], minlength=256)
            release_pages(array)
        up_to = np.cumsum(counts, axis=1)
        self.twice_rank = (2 * up_to - counts).astype(np.float64)

    def __call__(self, values: np.ndarray, positions: np.ndarray) -> np.ndarray:
        ranks = np.empty(values.shape)
        for k, twice_rank in enumerate(self.twice_rank):
            ranks[..., k] = twice_rank[values[..., k]]
        return ranks


class _SortedRanks:
    """The same for float values, by sorting: for arrays small enough to be held, (n, K) say."""

    def __init__(self, array: np.ndarray, rows: np.ndarray, index: int) -> None:
        values = array[rows]
        _refuse_nan(values, index, rows)
        self.twice_rank = np.empty(values.shape)
        for k in range(values.shape[-1]):
            ascending = np.sort(values[..., k], axis=None)
            below, up_to = (np.searchsorted(ascending, values[..., k], side=side) for side in ("left", "right"))
            self.twice_rank[..., k] = below + up_to

    def __call__(self, values: np.ndarray, positions: np.ndarray) -> np.ndarray:
        return np.asarray(self.twice_rank[positions])


def _refuse_nan(values: np.ndarray, index: int, rows: np.ndarray) -> None:
    if values.dtype.kind == "f" and np.isnan(values).any():
        bad = rows[np.isnan(values).reshape(len(values), -1).any(axis=1)][0]
        raise OofMismatch(f"predictions {index}, row {bad}: NaN. Predict this sample again.")


def _stored(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.rint(values).astype(np.uint8) if dtype == np.uint8 else values.astype(dtype)
