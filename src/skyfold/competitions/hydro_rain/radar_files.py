"""Radar sequences in files: the contest's `.npy` of raw reflectivity, and `.npz` archives of many patches.

Frames are the last axis in the files and the first one in the inputs of forecasts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from skyfold.data.array_files import read_array, read_arrays
from skyfold.errors import DataLayoutError
from skyfold.files import digest, file_digest
from skyfold.forecasting.past_frames import PastFrames, PastFramesSource
from skyfold.forecasting.rain_units import (
    GREATEST_CODE,
    GREATEST_RAIN,
    GREATEST_RAW,
    NO_DATA,
    RAW_PER_DBZ,
    below_any_echo,
    rain_of_codes,
    rain_of_raw,
)
from skyfold.progress import map_in_threads
from skyfold.types import IntPair, LazyArrays

NEXT_FRAME = np.array([1])


def inputs_of_files(paths: Sequence[Path], grid: IntPair, frames: int, known: int, per_dbz: float) -> PastFramesSource:
    """The first `known` of `frames` frames of each file, in mm/h; missing data are no rain. per_dbz: as `read_raw`."""

    def rain(index: int) -> np.ndarray:
        return rain_of_raw(read_raw(paths[index], grid, frames, per_dbz)[..., :known])

    return rain_source(len(paths), rain, lambda: digest_of_files(paths), lambda: _checksums(paths))


def targets_of_files(
    paths: Sequence[Path], grid: IntPair, frames: int, per_dbz: float
) -> tuple[LazyArrays, LazyArrays]:
    """The last frame of each file: rain in mm/h, float32 (H, W, 1), and where it has data, bool (H, W, 1)."""
    last = LazyArrays(len(paths), lambda index: read_raw(paths[index], grid, frames, per_dbz)[..., -1:])
    rain = LazyArrays(len(paths), lambda index: rain_of_raw(last[index]))
    return rain, LazyArrays(len(paths), lambda index: last[index] != NO_DATA)


def inputs_and_targets_of_patches(patches: np.ndarray) -> tuple[PastFramesSource, LazyArrays]:
    """All frames but the last, and the last one, in mm/h; patches (n, H, W, frames) as `read_patches`."""
    target = LazyArrays(len(patches), lambda index: _rain_of_patch(patches[index][..., -1:]))
    return inputs_of_patches(patches[..., :-1], lambda: digest(patches.tobytes())), target


def inputs_of_patches(patches: np.ndarray, checksum: Callable[[], str] | None = None) -> PastFramesSource:
    """All frames, in mm/h; patches (n, H, W, frames) as `read_patches`; checksum: None: of their bytes."""
    checksum = checksum or (lambda: digest(patches.tobytes()))
    return rain_source(
        len(patches),
        lambda index: _rain_of_patch(patches[index]),
        checksum,
        lambda: [digest(patch.tobytes()) for patch in patches],
    )


def _rain_of_patch(frames: np.ndarray) -> np.ndarray:
    return rain_of_codes(frames) if frames.dtype == np.uint8 else frames.astype(np.float32)


def read_raw(path: Path, grid: IntPair, frames: int, per_dbz: float = RAW_PER_DBZ) -> np.ndarray:
    """Raw reflectivity (H, W, frames) of a `.npy`, in hundredths of dBZ; `NO_DATA` where there is none.

    per_dbz: numbers of the file that are one dBZ; `NO_DATA` is the same in every unit. DataLayoutError names the file
    and what is wrong: another shape, no numbers, NaN, or values beyond 90 dBZ.
    """
    raw = read_array(path)
    expected = (*grid, frames)
    if raw.shape != expected:
        raise DataLayoutError(f"{path}: shape {raw.shape}, expected {expected}: rows, columns, frames. Get it again.")
    if raw.dtype.kind not in "iuf":
        raise DataLayoutError(f"{path}: {raw.dtype} values, expected numbers. Get the file again.")
    if per_dbz != RAW_PER_DBZ:
        raw = np.where(raw == NO_DATA, NO_DATA, raw * (RAW_PER_DBZ / per_dbz))
    for bad, problem in (
        (~np.isfinite(raw), f"NaN or infinite. Mark missing data by {NO_DATA}."),
        (raw > GREATEST_RAW, f"{raw.max():g} is too much for hundredths of dBZ. Get it again."),
        (below_any_echo(raw), f"{raw.min():g} is too little for hundredths of dBZ. Mark missing data by {NO_DATA}."),
    ):
        if bad.any():
            row, column, frame = np.argwhere(bad)[0]
            raise DataLayoutError(f"{path}: row {row}, column {column}, frame {frame}: {problem}")
    return raw


def read_patches(path: Path, grid: IntPair) -> tuple[np.ndarray, np.ndarray]:
    """`x` (n, H, W, frames), uint8 codes or float mm/h, and `event` (n,) of an `.npz`.

    DataLayoutError names the array, and the first row that has an unknown code, negative rain or a NaN.
    """
    patches, events = read_arrays(path, ("x", "event"))
    if not patches.size:
        raise DataLayoutError(f"{path}: x has shape {patches.shape}: no patch. Get the file again.")
    if patches.ndim != 4 or patches.shape[1:3] != grid or patches.shape[3] < 3:
        raise DataLayoutError(
            f"{path}: x has shape {patches.shape}, expected (n, {grid[0]}, {grid[1]}, frames), 3 or more."
        )
    if events.shape != (len(patches),):
        raise DataLayoutError(f"{path}: {len(patches)} patches, but event has shape {events.shape}. One event a patch.")
    if patches.dtype == np.uint8:
        refused = [(patches > GREATEST_CODE, "code 255, which has no meaning; codes are 0 to 254")]
    elif patches.dtype.kind == "f":
        refused = [
            (~np.isfinite(patches), "NaN or infinite rain"),
            (patches < 0, "negative rain"),
            (patches > GREATEST_RAIN, f"rain above {GREATEST_RAIN:g} mm/h: is it raw reflectivity?"),
        ]
    else:
        raise DataLayoutError(f"{path}: x: {patches.dtype} values, expected uint8 codes or rain in mm/h as float.")
    for bad, problem in refused:
        if bad.any():
            raise DataLayoutError(
                f"{path}: x, patch {np.argwhere(bad)[0][0]}: {problem}. Correct or remove this patch."
            )
    return patches, events.astype(str)


def rain_source(
    count: int,
    rain: Callable[[int], np.ndarray],
    checksum: Callable[[], str],
    each: Callable[[], Sequence[str]] | None = None,
) -> PastFramesSource:
    """The inputs of `count` samples; rain(index): float32 (H, W, T) mm/h; each: as `digest_each`."""

    def history(index: int) -> PastFrames:
        return PastFrames(np.ascontiguousarray(np.moveaxis(rain(index), -1, 0)), NEXT_FRAME)

    return PastFramesSource(count, history, checksum, each)


def digest_of_files(paths: Sequence[Path]) -> str:
    """Digest of names and bytes, so that copied files are the same."""
    return digest("\n".join(f"{path.name}\t{found}" for path, found in zip(paths, _checksums(paths), strict=True)))


def _checksums(paths: Sequence[Path]) -> list[str]:
    return list(map_in_threads("looking whether files are as before", file_digest, paths, "files"))
