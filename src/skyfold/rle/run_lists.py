"""The runs of many masks as three flat arrays: what a submission is once its text has been read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skyfold.types import IntPair

LARGEST_INT32 = 2**31 - 1


@dataclass(frozen=True)
class RunLists:
    """Runs of n masks of `shape` (H, W): those of mask i are starts[offsets[i]:offsets[i + 1]], `ends` alike.

    starts, ends: int32 (int64 for masks of 2^31 pixels or more), from 0, end excluded, each mask's in order and without
    overlap, though they may touch; offsets: int64 (n + 1,). order: "column" or "row", as the pixels were counted.
    """

    starts: np.ndarray
    ends: np.ndarray
    offsets: np.ndarray
    shape: IntPair
    order: str = "column"

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def runs(self, mask: int) -> tuple[np.ndarray, np.ndarray]:
        """Starts and ends of one mask; views."""
        here = slice(self.offsets[mask], self.offsets[mask + 1])
        return self.starts[here], self.ends[here]

    def areas(self) -> np.ndarray:
        """Pixels in each mask, int64 (n,)."""
        before = np.concatenate([[0], np.cumsum(self.ends - self.starts, dtype=np.int64)])
        areas: np.ndarray = np.diff(before[self.offsets])
        return areas

    def take(self, masks: np.ndarray) -> RunLists:
        """The masks with these numbers, in this order."""
        if np.array_equal(masks, np.arange(len(self))):
            return self
        lengths = np.diff(self.offsets)[masks]
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][masks] - offsets[:-1], lengths)
        return RunLists(self.starts[places], self.ends[places], offsets, self.shape, self.order)

    def replaced(self, others: dict[int, tuple[np.ndarray, np.ndarray]]) -> RunLists:
        """The same masks, but those of `others` (number -> starts, ends) with these runs."""
        each = [others.get(mask, self.runs(mask)) for mask in range(len(self))]
        offsets = np.concatenate([[0], np.cumsum([len(starts) for starts, _ in each], dtype=np.int64)])
        starts, ends = (np.concatenate(parts).astype(self.starts.dtype) for parts in zip(*each, strict=True))
        return RunLists(starts, ends, offsets, self.shape, self.order)


def joined(parts: list[RunLists]) -> RunLists:
    """One list of the masks of all parts, which are of one shape and order."""
    if len(parts) == 1:
        return parts[0]
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    return RunLists(
        np.concatenate([part.starts for part in parts]),
        np.concatenate([part.ends for part in parts]),
        np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        parts[0].shape,
        parts[0].order,
    )


def position_dtype(shape: IntPair) -> np.dtype[np.signedinteger]:
    """What holds every position in a mask of `shape`, its end included."""
    return np.dtype(np.int32 if shape[0] * shape[1] <= LARGEST_INT32 else np.int64)
