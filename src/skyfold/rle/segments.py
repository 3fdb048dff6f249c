"""Segments of masks: where each stretch of mask pixels begins and ends, in flat arrays for many masks at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from skyfold.types import IntPair

LARGEST_INT32 = 2**31 - 1


@dataclass(frozen=True)
class Segments:
    """Segments of n masks of `shape` (H, W): those of mask i are starts[offsets[i] : offsets[i + 1]], ends alike.

    starts, ends: int32 (int64 for masks of 2^31 pixels or more), counted from 0, end excluded; those of one mask are
    sorted and disjoint, but may touch. offsets: int64 (n + 1,), from 0 on. order: how pixels are counted, "column" (top
    to bottom, then left to right) or "row" (left to right, then top to bottom).

    ValueError for segments that are empty or outside their mask: compiled loops rely on these bounds.
    """

    starts: np.ndarray
    ends: np.ndarray
    offsets: np.ndarray
    shape: IntPair
    order: str = "column"

    def __post_init__(self) -> None:
        n, size = len(self.starts), self.shape[0] * self.shape[1]
        if n and not (self.starts.min() >= 0 and self.ends.max() <= size and (self.starts < self.ends).all()):
            raise ValueError(f"segments: expected 0 <= start < end <= {size}, the pixels of {self.shape}")
        if self.offsets[0] != 0 or self.offsets[-1] != n or (self.offsets[1:] < self.offsets[:-1]).any():
            raise ValueError(f"segments: expected offsets that grow from 0 to {n}, the number of segments")

    @classmethod
    def from_masks(cls, masks: np.ndarray, order: str = "column") -> Segments:
        """Segments of masks (n, H, W) or (n, H, W, K), bool; the K masks of an image follow each other.

        TypeError for other arrays.
        """
        from skyfold.rle import _kernels

        require_masks(masks, "(n, H, W)", "(n, H, W, K)")
        planes = masks if masks.ndim == 4 else masks[..., np.newaxis]
        shape, dtype = (planes.shape[1], planes.shape[2]), position_dtype(planes.shape[1:3])
        if not masks.size:
            nothing = np.empty(0, dtype)
            return cls(nothing, nothing, np.zeros(planes.shape[0] * planes.shape[3] + 1, np.int64), shape, order)
        borders, offsets = _kernels.find_borders(np.ascontiguousarray(planes).view(np.uint8), order == "column")
        return cls(borders[0::2].astype(dtype), borders[1::2].astype(dtype), offsets // 2, shape, order)

    def to_masks(self, planes: int = 1, *, out: np.ndarray | None = None) -> np.ndarray:
        """Masks, bool (n / planes, H, W, planes).

        out: C-ordered bool of that shape, filled and returned; new memory where None, which takes longer to allocate
        than the masks to decode.
        """
        from skyfold.rle import _kernels

        shape = (len(self) // planes, *self.shape, planes)
        if out is None:
            out = np.empty(shape, np.bool_)
        if out.shape != shape or out.dtype != np.bool_ or not out.flags.c_contiguous:
            raise ValueError(f"out: expected C-ordered bool {shape}, got {out.dtype} {out.shape}")
        out.fill(False)
        draw = _kernels.draw_columns if self.order == "column" else _kernels.draw_rows
        draw(self.starts, self.ends, self.offsets, out.view(np.uint8))
        return out

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def areas(self) -> np.ndarray:
        """Pixels of each mask, int64 (n,)."""
        lengths = np.append(self.ends - self.starts, 0)
        areas: np.ndarray = np.add.reduceat(lengths, self.offsets[:-1], dtype=np.int64)
        areas[np.diff(self.offsets) == 0] = 0  # where reduceat gives the next mask's first length
        return areas

    def take(self, masks: np.ndarray) -> Segments:
        """Segments of the masks with these numbers (m,), in this order; a mask may be taken more than once."""
        counts = self.offsets[masks + 1] - self.offsets[masks]
        offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[masks] - offsets[:-1], counts)
        return Segments(self.starts[places], self.ends[places], offsets, self.shape, self.order)

    def union(self, group: np.ndarray, groups: int) -> Segments:
        """Pixels in any mask of each group, for each of so many `groups`; group: int (n,), that of each mask."""
        stride = self.shape[0] * self.shape[1] + 1  # masks one after the other on a line, none touching the next
        shift = np.repeat(np.asarray(group, dtype=np.int64) * stride, np.diff(self.offsets))
        order = np.argsort(self.starts + shift, kind="stable")
        starts, ends = (self.starts + shift)[order], np.maximum.accumulate((self.ends + shift)[order])
        apart = starts[1:] > ends[:-1]
        first, last = (np.ones(len(starts), bool) for _ in range(2))
        first[1:], last[:-1] = apart, apart
        starts, ends = starts[first], ends[last]
        offsets = np.searchsorted(starts, stride * np.arange(groups + 1))
        dtype = self.starts.dtype
        return Segments((starts % stride).astype(dtype), (ends % stride).astype(dtype), offsets, self.shape, self.order)

    def intersection(self, other: Segments) -> Segments:
        """Pixels in mask i of both, for each i. ValueError for another number of masks, another shape or order."""
        from skyfold.rle import _kernels

        ours, theirs = (f"{len(masks)} masks of {masks.shape} by {masks.order}" for masks in (self, other))
        if ours != theirs:
            raise ValueError(f"expected {ours}, got {theirs}")
        starts, ends, offsets = _kernels.intersect(
            self.starts, self.ends, self.offsets, other.starts, other.ends, other.offsets
        )
        return Segments(starts, ends, offsets, self.shape, self.order)


@dataclass(frozen=True)
class SegmentMasks:
    """Masks of n images as an ArraySequence: `masks[i]` is bool (H, W, K), drawn when indexed.

    segments: of n * K masks, those of one image together, in the order of the classes.
    """

    segments: Segments
    classes: int

    def __len__(self) -> int:
        return len(self.segments) // self.classes

    def __getitem__(self, index: int) -> np.ndarray:
        image = range(len(self))[index]
        return self.of_images(range(image, image + 1)).to_masks(self.classes)[0]

    def of_images(self, images: range) -> Segments:
        """Segments of the masks of consecutive images, without a copy."""
        masks, all_masks = slice(images.start * self.classes, images.stop * self.classes + 1), self.segments
        offsets = all_masks.offsets[masks]
        some = slice(offsets[0], offsets[-1])
        return replace(
            all_masks, starts=all_masks.starts[some], ends=all_masks.ends[some], offsets=offsets - offsets[0]
        )


@dataclass(frozen=True)
class MasksOfSizes:
    """Masks of images of several sizes as an ArraySequence: `masks[i]` is bool (H, W, K) of its own size.

    parts: the masks of each size; place: (part, index in it) of each image.
    """

    parts: Sequence[SegmentMasks]
    place: Sequence[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, index: int) -> np.ndarray:
        part, own = self.place[index]
        return self.parts[part][own]


def require_masks(masks: np.ndarray, *shapes: str) -> None:
    """TypeError for an array that is not bool or has other axes than one of `shapes`, written as "(n, H, W)"."""
    if masks.dtype != np.bool_ or masks.ndim not in [shape.count(",") + 1 for shape in shapes]:
        raise TypeError(
            f"expected a bool mask {' or '.join(shapes)}, got {masks.dtype} {masks.shape}; compare with a threshold "
            "first"
        )


def position_dtype(shape: IntPair) -> np.dtype[np.signedinteger]:
    """What holds every position in a mask of `shape`, its end included."""
    return np.dtype(np.int32 if shape[0] * shape[1] <= LARGEST_INT32 else np.int64)
