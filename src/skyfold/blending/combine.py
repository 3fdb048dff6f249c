"""Combine the predictions of several members: mean, geometric mean, mean rank or vote.

Nothing is fitted, and only one chunk of each member is in memory, so that any number of members can be combined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

from skyfold.compiled import compiled
from skyfold.errors import ConfigError, OofMismatch
from skyfold.store.rows import release_pages

How = Literal["mean", "geometric", "rank", "vote"]
Scale = Callable[[np.ndarray], np.ndarray]  # values of one member, or their mean, on another scale
CHUNK_BYTES = 2 << 20  # of one member
MAX_PARTS = 65535 // 255  # whole parts of weight whose sum of bytes still fits into 16 bits
# A stored 0 stands for any probability below 0.5 / 255. Its middle keeps one member that rounds to 0 from vetoing all.
LOG_OF_STORED = np.log(np.concatenate([[0.25], np.arange(1, 256)]))


def combine(
    arrays: Sequence[np.ndarray],
    *,
    how: How,
    weights: Sequence[float] | None = None,
    rows: np.ndarray | None = None,
    thresholds: Sequence[Sequence[float]] | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (rows of the chunk, their combined values), chunk by chunk, for all of `rows` (None: every row).

    arrays: predictions of the same samples, one array a member: all uint8 (n, ..., K), 255 times a probability, or all
    float (n, ..., K); memory maps are read a chunk at a time. weights: one a member, >= 0, None: equal; only their
    ratios count. Values are returned in the arrays' dtype, uint8 rounded half to even.

    "mean"        weighted mean
    "geometric"   exp of the weighted mean of logarithms: low where any member is low
    "rank"        weighted mean of the fraction of the class's values, over `rows`, that lie below (ties count half):
                  only the order within a member counts, so that differently calibrated members weigh the same
    "vote"        weighted fraction of the members whose value is above their own threshold; thresholds: (M, K), in the
                  arrays' unit

    Raises ConfigError for wrong weights or thresholds, OofMismatch for arrays that differ in shape or dtype, or hold
    NaN.
    """
    weight = _weights(weights, len(arrays))
    check_arrays(arrays)
    chosen = np.arange(len(arrays[0])) if rows is None else np.asarray(rows)
    stored = arrays[0].dtype == np.uint8
    full = 255.0 if stored else 1.0
    if how == "mean":
        if stored and (weight % 1 == 0).all() and weight.sum() <= MAX_PARTS:
            return _mean_of_bytes(arrays, weight.astype(np.uint16), chosen)
        return _averaged(arrays, weight, chosen, [np.asarray] * len(arrays), np.asarray)
    if how == "geometric":
        return _averaged(arrays, weight, chosen, [_log] * len(arrays), np.exp)
    if how == "rank":
        # Ranks stay whole numbers until the end, so that the order of the members cannot change how a tie is rounded.
        ranks = [(_rank_of_bytes if stored else _rank_of_floats)(array, chosen, i) for i, array in enumerate(arrays)]
        per_class = max(1, len(chosen) * int(np.prod(arrays[0].shape[1:-1])))
        return _averaged(arrays, weight, chosen, ranks, lambda twice: full * twice / (2 * per_class))
    if how == "vote":
        return _averaged(arrays, weight, chosen, _votes(thresholds, arrays, full), np.asarray)
    raise ConfigError(f"combine: '{how}' is not known. There are: mean, geometric, rank, vote.")


def chunks(arrays: Sequence[np.ndarray], rows: np.ndarray) -> Iterator[np.ndarray]:
    """Split `rows` into pieces of at most `CHUNK_BYTES` of any array, at least one row; release memory maps after each.

    arrays: (N, ...) each.
    """
    row_bytes = max(1, *(int(np.prod(array.shape[1:])) * array.dtype.itemsize for array in arrays))
    size = max(1, CHUNK_BYTES // row_bytes)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
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


def _weights(weights: Sequence[float] | None, count: int) -> np.ndarray:
    if not count:
        raise ConfigError("nothing to combine; name at least one run.")
    weight = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != (count,) or not (weight >= 0).all() or not 0 < weight.sum() < np.inf:
        raise ConfigError(f"weights: expected {count} numbers >= 0, not all 0; got {list(weights or [])}.")
    return weight


def _mean_of_bytes(
    arrays: Sequence[np.ndarray], parts: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Weighted mean of uint8 arrays; parts: uint16, at most MAX_PARTS in all, so that the sums are exact in 16 bits.

    Float32 is enough to round the quotient right: it holds every half exactly, and no other quotient lies too near one.
    """
    for chunk in chunks(arrays, rows):
        contiguous = bool((np.diff(chunk) == 1).all())
        index = slice(int(chunk[0]), int(chunk[-1]) + 1) if contiguous else chunk  # a slice is read without a copy
        sums = np.zeros((len(chunk), *arrays[0].shape[1:]), dtype=np.uint16)
        for array, part in zip(arrays, parts, strict=True):
            if part:
                add_bytes(sums.reshape(-1), np.ascontiguousarray(array[index]).reshape(-1), part)
        yield chunk, np.rint(sums / np.float32(parts.sum())).astype(np.uint8)


def _averaged(
    arrays: Sequence[np.ndarray], weight: np.ndarray, rows: np.ndarray, into: Sequence[Scale], back: Scale
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """back(weighted mean of into[i](values of array i)), in float64."""
    dtype = arrays[0].dtype
    for chunk in chunks(arrays, rows):
        total = np.zeros((len(chunk), *arrays[0].shape[1:]))
        for i, array in enumerate(arrays):
            values = array[chunk]
            _refuse_nan(values, i, chunk)
            if weight[i]:  # 0 times the logarithm of 0 would be NaN
                total += weight[i] * into[i](values)
        mean = back(total / weight.sum())
        yield chunk, np.rint(mean).astype(np.uint8) if dtype == np.uint8 else mean.astype(dtype)


def _log(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return np.asarray(LOG_OF_STORED[values])
    with np.errstate(divide="ignore"):  # the logarithm of 0 is -inf, and the geometric mean 0
        return np.asarray(np.log(values.astype(np.float64)))


def _votes(thresholds: Sequence[Sequence[float]] | None, arrays: Sequence[np.ndarray], full: float) -> list[Scale]:
    expected = (len(arrays), arrays[0].shape[-1])
    own = np.asarray([] if thresholds is None else thresholds, dtype=np.float64)
    if own.shape != expected or not np.isfinite(own).all():
        raise ConfigError(f"combine: vote needs finite thresholds {expected}, one a run and class; got {own.shape}.")

    def vote_at(threshold: np.ndarray) -> Scale:
        return lambda values: np.where(values > threshold, full, 0.0)

    return [vote_at(threshold) for threshold in own]


def _rank_of_bytes(array: np.ndarray, rows: np.ndarray, _index: int) -> Scale:
    """Twice the rank of a value within its class: the number of values below, plus the number at or below."""
    classes = np.arange(array.shape[-1])
    counts = np.zeros((len(classes), 256), dtype=np.int64)
    for chunk in chunks([array], rows):
        for k in classes:
            counts[k] += np.bincount(array[chunk][..., k].reshape(-1), minlength=256)
    twice_rank = (2 * np.cumsum(counts, axis=1) - counts).astype(np.float64)
    return lambda values: twice_rank[classes, values]


def _rank_of_floats(array: np.ndarray, rows: np.ndarray, index: int) -> Scale:
    """As `_rank_of_bytes`, by sorting: for arrays small enough for memory, such as (n, K)."""
    values = array[rows]
    _refuse_nan(values, index, rows)
    ascending = np.sort(values.reshape(-1, values.shape[-1]), axis=0).T

    def twice_rank(values: np.ndarray) -> np.ndarray:
        below, up_to = (
            [np.searchsorted(column, values[..., k], side) for k, column in enumerate(ascending)]
            for side in ("left", "right")
        )
        return np.stack(below, axis=-1) + np.stack(up_to, axis=-1)

    return twice_rank


def _refuse_nan(values: np.ndarray, index: int, rows: np.ndarray) -> None:
    if values.dtype.kind == "f" and np.isnan(values).any():
        bad = rows[np.isnan(values).reshape(len(values), -1).any(axis=1)][0]
        raise OofMismatch(f"predictions {index}, row {bad}: NaN. Predict this sample again.")
