"""Kaggle "Google Research: Identify Contrails to Reduce Global Warming" (2023): contrails in infrared satellite images.

A folder a record in `train/`, `validation/` and `test/`, whose name, a number of 19 digits, is the id: `band_11.npy`,
`band_14.npy` and `band_15.npy`, float32 (256, 256, 8), brightness temperatures in K of eight frames, of which the fifth
is labelled; `human_pixel_masks.npy` (256, 256, 1) and, in `train/`, `human_individual_masks.npy` (256, 256, 1, R) of R
annotators. `sample_submission.csv`, a submission and a truth file have the columns record_id and encoded_pixels; pixels
count from 1 down the columns, `-` is an empty mask. The folds are made of train and validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from skyfold.api import (
    DIALECTS,
    Competition,
    Contest,
    DataLayoutError,
    GlobalDice,
    Problems,
    RleTable,
    Samples,
    SegmentationFiles,
    digest,
    files_stamp,
    read_array,
    read_each,
    sample_names,
    sample_settings,
    smooth_noise,
    write_whole,
)

GRID, LABELLED, FRAMES = (256, 256), 4, 8
BANDS, MASK, ANNOTATORS = ("band_11", "band_14", "band_15"), "human_pixel_masks", "human_individual_masks"
# Red, green and blue of the false colour "ash": 15 - 14, 14 - 11 and 14, in K. That red is 15 - 14 is assumed.
ASH = ((-4.0, 2.0), (-4.0, 5.0), (243.0, 303.0))
FOLDERS = {"train": ("train", "validation"), "test": ("test",)}
SETTINGS = {"train": (24, 2), "test": (8, 1), "seed": (0, 0)}  # of a sample: default and least value


class GoogleContrails(Contest):
    """No options."""

    def build(self, folder: Path | None) -> Competition:
        """The competition on 256 x 256 pixels, scored by one Dice over all of them."""
        table = RleTable(("contrail",), GRID, "record_id", "encoded_pixels", DIALECTS["kaggle_dash"], bare_ids=True)
        kaggle = "google-research-identify-contrails-reduce-global-warming"
        return _Files(table).competition("google_contrails", GlobalDice(), write_sample=write_sample, kaggle=kaggle)


PLUGIN = GoogleContrails


class _Files(SegmentationFiles):
    """Folders of records."""

    def sample_table(self, folder: Path) -> Path | None:
        path = folder / "sample_submission.csv"
        return path if path.is_file() else None

    def load(self, folder: Path, part: str) -> Samples:
        problems = Problems()
        records = self._records(folder, part, problems)
        problems.refuse(folder)
        ids = np.array([record.name for record in records])
        targets = Masks(records) if part == "train" else None
        return Samples(ids, FalseColour(records), targets)

    def _records(self, folder: Path, part: str, problems: Problems) -> list[Path]:
        """Folders of the records of a part, those of the test part in the order of the sample submission."""
        found = [path for name in FOLDERS[part] if (folder / name).is_dir() for path in (folder / name).iterdir()]
        records = {path.name: path for path in sorted(found) if path.is_dir()}
        wanted = [*BANDS, *([MASK] if part == "train" else [])]
        for record in records.values():
            missing = [
                f"{record}/{name}.npy: no such file" for name in wanted if not (record / f"{name}.npy").is_file()
            ]
            problems.add("files that are missing", *missing)
        if not records:
            problems.add("missing folders", f"{folder / FOLDERS[part][0]}: no records here, a folder each")
        if part != "test" or (table := self.sample_table(folder)) is None:
            return list(records.values())
        listed = self.submission.ids_of(self.submission.read(table))
        problems.add("rows without a record", *(f"{table}: '{name}'" for name in listed if name not in records))
        problems.add("records without a row", *(str(records[name]) for name in records if name not in set(listed)))
        return [records[name] for name in listed if name in records]

    def check(self, folder: Path) -> str:
        problems = Problems()
        records = {part: self._records(folder, part, problems) for part in FOLDERS}
        for part, found in records.items():
            read_each(f"checking {part}", lambda record: FalseColour([record])[0], found, problems)
        covers = read_each("checking masks", lambda record: Masks([record])[0].mean(), records["train"], problems)
        problems.refuse(folder)
        share = np.array(list(covers.values()))
        counts = ", ".join(f"{len(found)} {part}" for part, found in records.items())
        return f"{counts} records; contrails {share.mean():.2%} of the pixels, none in {(share == 0).mean():.0%}"


@dataclass(frozen=True)
class FalseColour:
    """The labelled frame of each record as false colour: float32 (256, 256, 3), 0 to 1."""

    records: Sequence[Path]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> np.ndarray:
        band11, band14, band15 = (_read(path, (*GRID, FRAMES))[..., LABELLED] for path in self._files(index))
        planes = zip((band15 - band14, band14 - band11, band14), ASH, strict=True)
        return np.stack([np.clip((plane - low) / (high - low), 0, 1) for plane, (low, high) in planes], axis=-1)

    def _files(self, index: int) -> list[Path]:
        return [self.records[index] / f"{band}.npy" for band in BANDS]

    def sources(self, index: int) -> tuple[Path | str, ...]:
        """The files of the bands, and how they become colours."""
        return *self._files(index), repr(ASH)

    def fingerprint(self) -> str:
        """Changes with the files."""
        return digest(files_stamp([path for i in range(len(self)) for path in self._files(i)]), repr(ASH))


@dataclass(frozen=True)
class Masks:
    """Masks of records, uint8 0/1 (256, 256, 1): what most annotators marked, as the contest counted it.

    With `training.soft_labels` a network learns the share of the annotators who marked a pixel.
    """

    records: Sequence[Path]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> np.ndarray:
        return (_read(self.records[index] / f"{MASK}.npy", (*GRID, 1)) > 0).astype(np.uint8)

    def fractions(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Share of the annotators, float32 (256, 256, 1), of a record without them the mask; everywhere defined."""
        path, everywhere = self.records[index] / f"{ANNOTATORS}.npy", np.ones(GRID, dtype=bool)
        if not path.is_file():
            return self[index].astype(np.float32), everywhere
        several = read_array(path)
        if several.shape[:3] != (*GRID, 1) or several.ndim != 4:
            raise DataLayoutError(f"{path}: expected {(*GRID, 1)} and annotators, got {several.shape}.")
        return (several > 0).mean(axis=-1, dtype=np.float32), everywhere

    def sources(self, index: int) -> tuple[Path, ...]:
        """The masks, and those of each annotator where there are any."""
        files = [self.records[index] / f"{name}.npy" for name in (MASK, ANNOTATORS)]
        return tuple(path for path in files if path.is_file())

    def fingerprint(self) -> str:
        """Changes with the files."""
        return files_stamp([path for i in range(len(self)) for path in self.sources(i)])


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    array = read_array(path)
    if array.shape != shape or not np.isfinite(array).all():
        raise DataLayoutError(f"{path}: expected finite numbers {shape}, got {array.dtype} {array.shape}.")
    return array.astype(np.float32)


def write_sample(folder: Path, **settings: int) -> None:
    """Write records, the sample submission and `test_truth.csv`. settings, see SETTINGS: numbers of records; seed."""
    chosen = sample_settings(settings, SETTINGS)
    write_whole(folder, chosen, partial(_write_files, **chosen))


def _write_files(folder: Path, /, train: int, test: int, seed: int) -> None:
    names, masks = sample_names(seed, train, test, 10**18, "1{:018d}"), []
    for index, name in enumerate(names):
        rng = np.random.default_rng([seed, index])
        record = folder / ("test" if index >= train else "train" if index < train - train // 4 else "validation") / name
        record.mkdir(parents=True)
        contrails = _lines(rng)
        for band, array in zip(BANDS, _bands(rng, contrails), strict=True):
            np.save(record / f"{band}.npy", np.repeat(array[..., np.newaxis], FRAMES, axis=-1))
        masks.append(contrails[..., np.newaxis])
        if index < train:
            np.save(record / f"{MASK}.npy", masks[-1].astype(np.int32))
            seen = masks[-1][..., np.newaxis] & (rng.random((*GRID, 1, 4)) < 0.8)
            np.save(record / f"{ANNOTATORS}.npy", seen.astype(np.int32))
    table = RleTable(("contrail",), GRID, "record_id", "encoded_pixels", DIALECTS["kaggle_dash"], bare_ids=True)
    truth = table.encode(np.array(names[train:]), masks[train:])
    table.write(folder / "test_truth.csv", truth)
    table.write(folder / "sample_submission.csv", truth.assign(encoded_pixels="-"))


def _lines(rng: np.random.Generator) -> np.ndarray:
    """Up to four straight, narrow stripes, bool (256, 256)."""
    rows, columns = np.mgrid[: GRID[0], : GRID[1]] / GRID[0]
    mask = np.zeros(GRID, dtype=bool)
    for angle, offset, start, width in rng.uniform(size=(4, 4)) * [np.pi, 0.7, 0.6, 1]:
        along, across = columns * np.cos(angle) + rows * np.sin(angle), rows * np.cos(angle) - columns * np.sin(angle)
        if rng.random() < 0.4:
            mask |= (np.abs(across - offset) < 0.004 + 0.01 * width) & (along > start) & (along < start + 0.4)
    return mask


def _bands(rng: np.random.Generator, contrails: np.ndarray) -> list[np.ndarray]:
    """Brightness temperatures, float32 in K: thin ice cloud is colder at 12 than at 11 micrometres."""
    ground = 285 + 6 * smooth_noise(rng, (4, 4), GRID)
    cloud = np.clip(smooth_noise(rng, (6, 6), GRID), 0, None)
    noise = [0.25 * rng.standard_normal(GRID) for _ in BANDS]
    band14 = ground - 14 * cloud - 5 * contrails + noise[1]
    bands = [band14 - 1 - 1.2 * cloud - contrails + noise[0], band14, band14 - 2.5 + 2 * contrails + noise[2]]
    return [band.astype(np.float32) for band in bands]
