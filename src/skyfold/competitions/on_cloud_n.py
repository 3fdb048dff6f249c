"""DrivenData "On Cloud N: Cloud Cover Detection Challenge" (2022): clouds in four bands of Sentinel-2.

A folder a chip, `train_features/<chip>/` and `test_features/<chip>/` with `B02.tif`, `B03.tif`, `B04.tif` and
`B08.tif`, uint16 of 512 x 512 pixels; `train_labels/<chip>.tif`, 0 and 1; `train_metadata.csv` with the columns chip_id
and location. A submission and a truth to score against are folders with one such label a chip, or tables with the
columns chip_id and rle. Chips of one location share a fold.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import tifffile

from skyfold.api import (
    TIFF_SUFFIXES,
    ArraySequence,
    BandFiles,
    ClassTable,
    Competition,
    Contest,
    DataLayoutError,
    GlobalIoU,
    InvalidSubmission,
    MaskFiles,
    Problems,
    Samples,
    SegmentationFiles,
    TiffFolder,
    Truth,
    file_id,
    files_in,
    files_of,
    read_each,
    read_table,
    sample_names,
    sample_settings,
    smooth_noise,
    write_whole,
)

GRID, BANDS = (512, 512), ("B02", "B03", "B04", "B08")
LABELS = ClassTable.parse({"cloud": 1}, background=0, ignore_value=None)
SETTINGS = {"train": (12, 2), "test": (4, 1), "seed": (0, 0)}  # of a sample: default and least value


class OnCloudN(Contest):
    """No options."""

    def build(self, folder: Path | None) -> Competition:
        """The competition on 512 x 512 pixels, scored by the Jaccard index of all of them together."""
        files = _Files(TiffFolder(("cloud",), GRID, "chip_id", "rle", bare_ids=True))
        return files.competition("on_cloud_n", GlobalIoU(), write_sample=write_sample)


PLUGIN = OnCloudN


class _Files(SegmentationFiles):
    """Folders of chips and of labels."""

    def load(self, folder: Path, part: str) -> Samples:
        problems = Problems()
        chips = self._chips(folder, part, problems)
        ids = np.array([chip.name for chip in chips])
        if part == "test":
            problems.refuse(folder)
            return Samples(ids, _bands(chips))
        labels = files_of(ids.tolist(), _labels(folder / "train_labels", problems), folder / "train_labels", problems)
        table = read_table(folder / "train_metadata.csv", ("chip_id", "location"), refuse=DataLayoutError)
        location = dict(zip(table["chip_id"], table["location"], strict=True))
        problems.add("chips without a location", *(f"'{name}'" for name in ids if name not in location))
        problems.refuse(folder)
        groups = np.array([location[name] for name in ids])
        return Samples(ids, _bands(chips), MaskFiles(labels, LABELS, GRID), groups=groups)

    def _chips(self, folder: Path, part: str, problems: Problems) -> list[Path]:
        root = folder / f"{part}_features"
        chips = [path for path in sorted(root.iterdir()) if path.is_dir()] if root.is_dir() else []
        if not chips:
            problems.add("missing folders", f"{root}: no chips here, a folder each")
        missing = [file for chip in chips for band in BANDS if not (file := chip / f"{band}.tif").is_file()]
        problems.add("files that are missing", *(f"{file}: no such file" for file in missing))
        return chips

    def check(self, folder: Path) -> str:
        problems = Problems()
        train, test = (self.load(folder, part) for part in ("train", "test"))
        for part in ("train", "test"):
            read_each("checking chips", _chip, self._chips(folder, part, problems), problems)
        labels = list(_labels(folder / "train_labels", problems).values())
        covers = read_each("checking labels", lambda path: (LABELS.read(path) == 0).mean(), labels, problems)
        problems.refuse(folder)
        cover = np.array(list(covers.values()))
        return f"{len(train)} train and {len(test)} test chips; cloud {cover.mean():.1%} of the pixels"

    def read_truth(self, path: Path) -> Truth:
        if not path.is_dir():
            return super().read_truth(path)
        problems = Problems()
        files = _labels(path, problems)
        problems.refuse(path)
        return Truth(np.array(list(files)), MaskFiles(list(files.values()), LABELS, GRID))

    def read_pred(self, path: Path, ids: np.ndarray) -> ArraySequence:
        """As the base, or a folder with one mask of each of `ids` and no other."""
        if not path.is_dir():
            return super().read_pred(path, ids)
        problems = Problems()
        masks = files_of(ids.tolist(), _labels(path, problems), path, problems)
        sizes = read_each("reading masks", lambda mask: LABELS.read(mask).shape, masks, problems)
        odd = [f"{mask}: {size}, expected {GRID} pixels" for mask, size in sizes.items() if size != GRID]
        problems.add("masks of another size", *odd)
        try:
            problems.refuse(path)
        except DataLayoutError as error:
            raise InvalidSubmission(str(error)) from None
        return MaskFiles(masks, LABELS, GRID)


def _labels(folder: Path, problems: Problems) -> dict[str, Path]:
    return {file_id(path): path for path in files_in(folder, TIFF_SUFFIXES, problems, expected="masks")}


def _chip(chip: Path) -> np.ndarray:
    image = _bands([chip])[0]
    if image.shape[:2] != GRID or image.dtype != np.uint16:
        raise DataLayoutError(f"{chip}: bands of {image.dtype} {image.shape[:2]}, expected uint16 {GRID}.")
    return image


def _bands(chips: list[Path]) -> BandFiles:
    """uint16 (512, 512, 4): blue, green, red, near infrared."""
    return BandFiles([tuple(chip / f"{band}.tif" for band in BANDS) for chip in chips])


def write_sample(folder: Path, **settings: int) -> None:
    """Write chips, labels, metadata and `test_truth/`. settings, see SETTINGS: numbers of chips; seed."""
    chosen = sample_settings(settings, SETTINGS)
    write_whole(folder, chosen, partial(_write_files, **chosen))


def _write_files(folder: Path, /, train: int, test: int, seed: int) -> None:
    rows = ["chip_id,location"]
    for index, name in enumerate(sample_names(seed, train, test, 26**4, "{:04d}")):
        rng = np.random.default_rng([seed, index])
        cover = 1 / (1 + np.exp(-6 * (smooth_noise(rng, (5, 5), GRID) + rng.uniform(-1, 0.5))))
        part, labels = ("train", "train_labels") if index < train else ("test", "test_truth")
        chip = folder / f"{part}_features" / name
        chip.mkdir(parents=True)
        (folder / labels).mkdir(exist_ok=True)
        for band, ground in zip(BANDS, rng.uniform((200, 300, 300, 900), (500, 700, 900, 3000)), strict=True):
            light = ground * (1 + 0.2 * smooth_noise(rng, (30, 30), GRID)) * (1 - cover) + 7000 * cover
            tifffile.imwrite(chip / f"{band}.tif", np.clip(light, 1, 65535).astype(np.uint16), compression="zlib")
        tifffile.imwrite(folder / labels / f"{name}.tif", (cover > 0.5).astype(np.uint8), compression="zlib")
        rows += [f"{name},place {index // 3}"] if index < train else []
    (folder / "train_metadata.csv").write_text("\n".join(rows) + "\n")
