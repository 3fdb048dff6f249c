"""Radar sequences as they come in files: the contest's `.npy` of raw reflectivity, and `.npz` of many patches.

Frames are the last axis in the files and the first one here. A file that wants pickle is refused, as it could run
anything.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from skyfold.data.images import THREADS
from skyfold.errors import DataLayoutError
from skyfold.files import NO_ARRAY, digest, file_digest
from skyfold.forecasting.past_frames import PastFrames, PastFramesSource
from skyfold.forecasting.rain_units import GREATEST_CODE, GREATEST_RAW, rain_of_codes, rain_of_raw
from skyfold.progress import Progress
from skyfold.types import IntPair

GREATEST_RAIN = 1000.0  # mm/h, in files that hold rain itself
NEXT_FRAME = np.array([1])
Wanted = Literal["inputs", "target", "valid"]


@dataclass(frozen=True)
class RawFiles(PastFramesSource):
    """Files of raw reflectivity (H, W, frames), one a sample, read when indexed; the last frame may be the target.

    wanted: "inputs", float32 (T, H, W) mm/h without the target; "target", float32 (H, W, 1) mm/h, "valid", bool (H, W):
    where the target has data. No data is no rain where it is an input.
    """

    paths: Sequence[Path]
    grid: IntPair
    frames: int
    wanted: Wanted
    has_target: bool = True

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def checksum(self) -> str:
        """A digest of names and bytes: files that were copied are the same. Reads all of them."""
        named = []
        with (
            Progress("looking whether files are as before", len(self.paths), "files") as progress,
            ThreadPoolExecutor(THREADS) as pool,
        ):
            for path, found in zip(self.paths, pool.map(file_digest, self.paths), strict=True):
                named.append(f"{path.name}\t{found}")
                progress.advance()
        return digest("\n".join(named))

    def history(self, index: int) -> PastFrames:
        return PastFrames(self[index], NEXT_FRAME)

    def __getitem__(self, index: int) -> np.ndarray:
        raw = read_raw(self.paths[index], self.grid, self.frames)
        if self.wanted == "valid":
            return raw[..., -1] >= 0
        if self.wanted == "target":
            return rain_of_raw(raw[..., -1:])
        known = raw[..., :-1] if self.has_target else raw
        return np.ascontiguousarray(np.moveaxis(rain_of_raw(known), -1, 0))


@dataclass(frozen=True)
class PatchRows(PastFramesSource):
    """Rows of an array of patches (n, H, W, frames), uint8 codes or float mm/h, without missing data; as `RawFiles`."""

    patches: np.ndarray
    wanted: Literal["inputs", "target"]

    def __len__(self) -> int:
        return len(self.patches)

    @cached_property
    def checksum(self) -> str:
        return digest(self.patches.tobytes())

    def history(self, index: int) -> PastFrames:
        return PastFrames(self[index], NEXT_FRAME)

    def __getitem__(self, index: int) -> np.ndarray:
        frames = self.patches[index]
        rain = rain_of_codes(frames) if frames.dtype == np.uint8 else frames.astype(np.float32)
        return rain[..., -1:] if self.wanted == "target" else np.ascontiguousarray(np.moveaxis(rain[..., :-1], -1, 0))


def read_raw(path: Path, grid: IntPair, frames: int) -> np.ndarray:
    """Raw reflectivity (H, W, frames) of a `.npy`; DataLayoutError names the file and what is wrong with it."""
    raw = read_array(path)
    expected = (*grid, frames)
    if raw.shape != expected:
        raise DataLayoutError(f"{path}: shape {raw.shape}, expected {expected}: rows, columns, frames. Get it again.")
    if raw.dtype.kind not in "iuf":
        raise DataLayoutError(f"{path}: {raw.dtype} values, expected numbers. Get the file again.")
    if raw.dtype.kind == "f" and not np.isfinite(raw).all():
        raise DataLayoutError(f"{path}: {_where(~np.isfinite(raw))}: NaN or infinite. Mark missing data by -9999.")
    if (raw > GREATEST_RAW).any():
        raise DataLayoutError(
            f"{path}: {_where(raw > GREATEST_RAW)}: {raw.max():g} is too much for hundredths of dBZ. Get it again."
        )
    return raw


def read_array(path: Path, *, map_it: bool = False) -> np.ndarray:
    """The array in a `.npy`, mapped into memory where `map_it`; DataLayoutError where it cannot be read."""
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r" if map_it else None)
    except FileNotFoundError:
        raise DataLayoutError(f"{path}: no such file.") from None
    except NO_ARRAY as error:
        if "pickle" in str(error).lower() or "Object arrays" in str(error):
            raise DataLayoutError(
                f"{path}: not an array of numbers; it would have to be unpickled, which could run anything. Save it "
                "with numpy.save from an array of numbers."
            ) from None
        raise DataLayoutError(f"{path}: not a .npy file, or cut off ({error}). Get it again.") from None
    if not isinstance(array, np.ndarray):
        raise DataLayoutError(f"{path}: an archive of arrays, expected a single one. Get the file again.")
    return array


def read_patches(path: Path, grid: IntPair) -> tuple[np.ndarray, np.ndarray]:
    """`x` (n, H, W, frames), uint8 codes or float mm/h, and `event` (n,) of an `.npz`.

    DataLayoutError names the array, and the first row that has an unknown code, negative rain or a NaN.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            missing = [name for name in ("x", "event") if name not in arrays]
            if missing:
                raise DataLayoutError(f"{path}: no array '{missing[0]}'; there are {', '.join(arrays)}.")
            patches, events = arrays["x"], arrays["event"]
    except FileNotFoundError:
        raise DataLayoutError(f"{path}: no such file.") from None
    except NO_ARRAY as error:
        if zipfile.is_zipfile(path) and ("pickle" in str(error).lower() or "Object arrays" in str(error)):
            raise DataLayoutError(
                f"{path}: holds an array of objects, which is not read. Save numbers alone."
            ) from None
        raise DataLayoutError(f"{path}: not an .npz file, or cut off ({error}). Get it again.") from None
    if not patches.size:
        raise DataLayoutError(f"{path}: x has shape {patches.shape}: no patch. Get the file again.")
    if patches.ndim != 4 or patches.shape[1:3] != grid or patches.shape[3] < 3:
        raise DataLayoutError(
            f"{path}: x has shape {patches.shape}, expected (n, {grid[0]}, {grid[1]}, frames), 3 or more."
        )
    if events.shape != (len(patches),):
        raise DataLayoutError(f"{path}: {len(patches)} patches, but event has shape {events.shape}. One event a patch.")
    if problem := _patch_problem(patches):
        raise DataLayoutError(f"{path}: {problem}")
    return patches, events.astype(str)


def _patch_problem(patches: np.ndarray) -> str | None:
    if patches.dtype == np.uint8:
        row = _first_row(patches > GREATEST_CODE)
        return None if row is None else f"x, patch {row}: code 255, which stands for nothing; codes are 0 to 254."
    if patches.dtype.kind != "f":
        return f"x: {patches.dtype} values, expected uint8 codes or rain in mm/h as float."
    for bad, what in (
        (~np.isfinite(patches), "NaN or infinite rain"),
        (patches < 0, "negative rain"),
        (patches > GREATEST_RAIN, f"rain above {GREATEST_RAIN:g} mm/h: is it raw reflectivity?"),
    ):
        if (row := _first_row(bad)) is not None:
            return f"x, patch {row}: {what}. Mend or leave out this patch."
    return None


def _first_row(bad: np.ndarray) -> int | None:
    rows = np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))
    return int(rows[0]) if len(rows) else None


def _where(bad: np.ndarray) -> str:
    row, column, frame = np.argwhere(bad)[0]
    return f"row {row}, column {column}, frame {frame}"
