"""Map stored values of any type to 0..1, with limits from the training rows of one fit.

Values beyond the limits are clipped; a band whose limits are equal becomes 0. Augmentation and normalization follow.
Statistics are exact and do not depend on how the pixels come in pieces: memory holds one piece and counts of 65,536
values a band.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np

from skyfold.compiled import compiled
from skyfold.config.data import RescaleConfig
from skyfold.errors import ConfigError, DataLayoutError

AT_ONCE = 1 << 18  # pixels, which float64 and counting make several times as large
DIGITS = 1 << 16  # values of 16 bits, of which a key has one or two
Pieces = Callable[[], Iterator[np.ndarray]]  # each (m, C); may be gone through several times


@runtime_checkable
class StoredPixels(Protocol):
    """Samples whose pixels can be gone through as they are stored."""

    @property
    def dtype(self) -> np.dtype:
        """Type of the pixels."""
        ...

    def pixels(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """The defined pixels of the samples `rows`, (m, C), piece by piece, the same whenever it is called."""
        ...


@dataclass(frozen=True)
class Rescale:
    """low, high: the stored values that become 0 and 1, one of each band, or one of all bands together; dtype: name of
    the type of the images that they were taken from."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    dtype: str

    def __call__(self, images: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """images (..., C) as stored, C a multiple of the bands of the limits. Returns float32 of this shape, 0..1.

        out: contiguous float32 of this shape to write into. DataLayoutError where the images have another type.
        """
        if images.dtype.name != self.dtype:
            raise DataLayoutError(
                f"image.rescale: expected images of {self.dtype}, as in training, got {images.dtype}. Write all images "
                "of a data set with one type."
            )
        row = math.prod(images.shape[-2:])  # as one axis, which is compiled to faster code than one of a few bands
        values = np.empty(images.shape, dtype=np.float32) if out is None else out
        rows, written = np.asarray(images).reshape(-1, row), values.reshape(-1, row)
        _scale(rows, *_limits(self.low, self.high, row), written)
        return values


@lru_cache(maxsize=8)
def _limits(low: tuple[float, ...], high: tuple[float, ...], row: int) -> tuple[np.ndarray, np.ndarray]:
    """`low` and 1 / (high - low), 0 where they are equal: float32 (row,) each, the bands in turn."""
    least, greatest = (np.tile(limits, row // len(limits)) for limits in (low, high))
    scale = np.divide(1, greatest - least, out=np.zeros_like(least), where=greatest > least)
    return least.astype(np.float32), scale.astype(np.float32)


@compiled
def _scale(rows: np.ndarray, low: np.ndarray, scale: np.ndarray, values: np.ndarray) -> None:
    """values = (rows - low) x scale within 0..1, in one pass; rows and values (n, m), low and scale (m,).

    What is not greater than 0 becomes 0, so that no overflow of the filling of undefined pixels matters.
    """
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            value = (np.float32(rows[i, j]) - low[j]) * scale[j]
            values[i, j] = min(value, np.float32(1)) if value > np.float32(0) else np.float32(0)


def fit_rescale(config: RescaleConfig, arrays: StoredPixels, rows: np.ndarray) -> Rescale:
    """The limits that `config` asks for, from the defined pixels of the samples `rows`, each counted once.

    ConfigError where `limits` are of another number of bands, DataLayoutError where no pixel is defined.
    """
    rows = np.unique(rows)
    first = next(arrays.pixels(rows))
    if config.kind == "fixed":
        if len(config.pairs) not in (1, first.shape[1]):
            raise ConfigError(
                f"image.rescale.limits: {len(config.pairs)} pairs, the images have {first.shape[1]} bands. Give one "
                "pair, or one of each band."
            )
        low, high = zip(*config.pairs, strict=True)
        return Rescale(low, high, first.dtype.name)

    def pieces() -> Iterator[np.ndarray]:
        for image in arrays.pixels(rows):
            pixels = image.reshape(-1, 1) if config.per == "all" else image
            yield from (pixels[start : start + AT_ONCE] for start in range(0, len(pixels), AT_ONCE))

    if config.kind == "mean_std":
        mean, std = mean_and_std(pieces)
        least, greatest = mean - config.deviations * std, mean + config.deviations * std
    else:
        least, greatest = percentiles(pieces, (0, 100) if config.kind == "minmax" else config.percentiles)
    return Rescale(tuple(least.tolist()), tuple(greatest.tolist()), first.dtype.name)


def mean_and_std(pieces: Pieces) -> tuple[np.ndarray, np.ndarray]:
    """Mean and (population) standard deviation of each band, float64 (C,), merged piece by piece.

    T. F. Chan, G. H. Golub, R. J. LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample
    variances". DataLayoutError where there is no pixel.
    """
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for piece in pieces():
        if not len(piece):
            continue
        values = piece.astype(np.float64)
        own = values.mean(axis=0)
        step, total = own - mean, count + len(values)
        squares = squares + ((values - own) ** 2).sum(axis=0) + step**2 * (count * len(values) / total)
        mean, count = mean + step * (len(values) / total), total
    _require(count)
    return mean, np.sqrt(squares / count)


def percentiles(pieces: Pieces, wanted: tuple[float, float]) -> np.ndarray:
    """The `wanted` percentiles of each band, float64 (2, C): the least values that are not exceeded by this fraction.

    As numpy.percentile with method="inverted_cdf". 8 and 16 bits are counted value by value, in one pass; float32 by
    its upper 16 bits, and in a second pass by the lower ones of the values that share the upper bits of the result.
    DataLayoutError where there is no pixel.
    """
    counts, dtype = _counts(pieces, lambda keys, _: keys if keys.dtype == np.uint16 else keys >> 16)
    number = int(counts[0].sum())
    _require(number)
    ranks = [min(max(math.ceil(fraction * number / 100) - 1, 0), number - 1) for fraction in wanted]
    upper = np.array([[_place(band, rank)[0] for band in counts] for rank in ranks])
    if dtype.itemsize < 4:
        return _values(upper.astype(np.uint16), dtype)
    keys = np.empty(upper.shape, dtype=np.uint32)
    for limit, rank in enumerate(ranks):

        def lower(own: np.ndarray, band: int, limit: int = limit) -> np.ndarray:
            return own[own >> 16 == upper[limit, band]] & 0xFFFF

        within, _ = _counts(pieces, lower)
        for band, (first, second) in enumerate(zip(counts, within, strict=True)):
            keys[limit, band] = upper[limit, band] << 16 | _place(second, _place(first, rank)[1])[0]
    return _values(keys, dtype)


def _require(count: int) -> None:
    if not count:
        raise DataLayoutError(
            "image.rescale: no pixel of the training rows is defined, so that there is nothing to take limits from. "
            "Check the nodata value of the images."
        )


def _counts(pieces: Pieces, digits: Callable[[np.ndarray, int], np.ndarray]) -> tuple[np.ndarray, np.dtype]:
    """How often each value 0..65,535 is among `digits(keys, band)`, int64 (C, 65536), and the type of the pixels."""
    counts, dtype = np.zeros((1, DIGITS), dtype=np.int64), np.dtype(np.uint8)
    for piece in pieces():
        dtype = piece.dtype
        own = [np.bincount(digits(_keys(piece[:, band]), band), minlength=DIGITS) for band in range(piece.shape[1])]
        counts = counts + np.array(own)
    return counts, dtype


def _place(counts: np.ndarray, rank: int) -> tuple[int, int]:
    """The value of the number `rank` in order, counted from 0, and its rank among those of its value."""
    ends = np.cumsum(counts)
    value = int(np.searchsorted(ends, rank, side="right"))
    return value, rank - int(ends[value] - counts[value])


def _keys(values: np.ndarray) -> np.ndarray:
    """Whole numbers in the order of `values`: uint16, of float32 uint32 (the sign bit turned, of negatives all)."""
    if values.dtype == np.float32:
        bits = np.ascontiguousarray(values).view(np.uint32)
        return np.where(bits >> 31 == 1, ~bits, bits | np.uint32(1 << 31))
    return values.astype(np.uint16) ^ np.uint16(0x8000 if values.dtype == np.int16 else 0)


def _values(keys: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Inverse of `_keys` for values of `dtype`, as float64."""
    if dtype == np.float32:
        bits = np.where(keys >> 31 == 1, keys & np.uint32(0x7FFFFFFF), ~keys)
        return bits.astype(np.uint32).view(np.float32).astype(np.float64)
    plain = keys ^ np.uint16(0x8000) if dtype == np.int16 else keys
    return plain.astype(np.uint16).astype(dtype).astype(np.float64)
