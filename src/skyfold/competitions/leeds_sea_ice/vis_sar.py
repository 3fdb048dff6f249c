"""Pairs of visible and radar images: found by file name, read as images of four bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyfold.data.folder import file_id, files_in, unread
from skyfold.data.images import TIFF_SUFFIXES, files_stamp, resize
from skyfold.data.tiff import read_tiff
from skyfold.errors import DataLayoutError, Problems
from skyfold.files import digest
from skyfold.submission.formats import RleTable
from skyfold.types import IntPair

KINDS = ("vis", "sar", "ref")  # <id>_<kind>.tiff: visible light, radar, mask
BANDS = {"vis": 3, "sar": 1}


def submission_table(grid: IntPair) -> RleTable:
    """The submission: columns id and rle, one row per sample, masks of ice on `grid` (H, W)."""
    return RleTable(("ice",), grid, key_column="id", rle_column="rle", bare_ids=True)


@dataclass(frozen=True)
class VisAndSar:
    """Pairs of images as an ArraySequence: `pairs[i]` is uint8 (H, W, 4) on `grid`: red, green, blue, radar.

    Reading raises DataLayoutError as `read_band_image`.
    """

    vis: Sequence[Path]
    sar: Sequence[Path]
    grid: IntPair

    @property
    def paths(self) -> Sequence[Path]:
        """Radar files, which tell samples apart: visible images of the dark season are all the same."""
        return self.sar

    def __len__(self) -> int:
        return len(self.vis)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.resized(index, self.grid)

    def resized(self, index: int, size: IntPair) -> np.ndarray:
        """All bands at `size` (H, W), each image brought there in one step: by area averages where it shrinks, else
        bilinearly. So radar of three times the size keeps what a detour over the smaller image would lose."""
        images = read_band_image(self.vis[index], "vis"), read_band_image(self.sar[index], "sar")
        return np.concatenate([resize(image, size) for image in images], axis=-1)

    def sources(self, index: int) -> tuple[Path, Path]:
        """The files of both kinds."""
        return self.vis[index], self.sar[index]

    def fingerprint(self) -> str:
        """Changes when a file is replaced, added or renamed, or the grid changes."""
        return digest(files_stamp(self.vis), files_stamp(self.sar), repr(self.grid))


def read_band_image(path: Path, kind: str) -> np.ndarray:
    """uint8 (H, W, 3) of kind "vis", (H, W, 1) of kind "sar".

    DataLayoutError for another number of bands, values that are not bytes, or a broken file.
    """
    image = read_tiff(path)
    image = image[..., np.newaxis] if image.ndim == 2 else image
    bands = BANDS[kind]
    if image.shape[2] != bands:
        raise DataLayoutError(f"{path}: expected {bands} band{'s' * (bands > 1)}, the file has {image.shape[2]}.")
    if image.dtype != np.uint8:
        values = f"{np.nanmin(image):g} to {np.nanmax(image):g}"
        raise DataLayoutError(f"{path}: {image.dtype} values ({values}), expected bytes. Scale them to 0 to 255.")
    return image


def complete_samples(folder: Path, kinds: Sequence[str], problems: Problems) -> dict[str, dict[str, Path]]:
    """Samples in `folder` that have a file of each of `kinds`: files by id and kind, in the order of names.

    Added to `problems`: a missing folder, incomplete samples, two files of one kind, other names.
    """
    files: dict[str, dict[str, Path]] = {}
    for path in files_in(folder, TIFF_SUFFIXES, problems, expected="TIFF files"):
        name, kind = id_and_kind(path)
        if kind not in KINDS or not name:
            problems.add(
                "files of no kind", f"{path}: its name ends in none of _{', _'.join(KINDS)}. Rename or remove it."
            )
        elif kind in files.setdefault(name, {}):
            problems.add(
                "files of one kind", f"{path}: beside {files[name][kind].name}, two files of one kind. Keep one."
            )
        else:
            files[name][kind] = path
    for name, have in files.items():
        missing = [f"{name}_{kind}.tiff" for kind in kinds if kind not in have]
        if missing:
            there = ", ".join(path.name for path in have.values())
            unread_ones = "".join(unread(folder, name.removesuffix(".tiff")) for name in missing)
            problems.add(
                "incomplete samples",
                f"{folder}: sample '{name}' has no {', '.join(missing)}{unread_ones}. Get it again, or remove {there}.",
            )
    return {name: have for name, have in files.items() if all(kind in have for kind in kinds)}


def files_of_kind(folder: Path, kind: str) -> list[Path]:
    """TIFF files of `kind` in `folder`, sorted by name; none where there is no folder."""
    return [path for path in files_in(folder, TIFF_SUFFIXES, Problems()) if id_and_kind(path)[1] == kind]


def id_and_kind(path: Path) -> tuple[str, str]:
    """Sample id and kind, in lower case, of a file name `<id>_<kind>.tiff`; both may be ''.

    >>> id_and_kind(Path("train/P0-2011_05_VIS.tiff"))
    ('P0-2011_05', 'vis')
    """
    name, _, kind = file_id(path).rpartition("_")
    return name, kind.lower()
