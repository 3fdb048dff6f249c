"""Kaggle "Leeds SciML Sea Ice Segmentation" (2023): where a scene shows ice, seen by light and by radar.

`train/` and `test/` hold TIFF files by sample: `<id>_vis.tiff`, RGB; `<id>_sar.tiff`, one band of radar at three times
the size; and, in `train/`, `<id>_ref.tiff`, the mask. A submission has the columns id and rle, one row per sample,
encoded on the grid of the masks; a truth file to score against is such a table, or a folder of masks. The names of
files and columns, and the values of masks, are assumed.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from skyfold.competition import Competition, Contest, Truth
from skyfold.competitions.leeds_sea_ice.sample import write_sample
from skyfold.competitions.leeds_sea_ice.vis_sar import (
    VisAndSar,
    complete_samples,
    files_of_kind,
    id_and_kind,
    read_band_image,
    submission_table,
)
from skyfold.data.folder import note_others
from skyfold.data.images import TIFF_SUFFIXES
from skyfold.data.mask_planes import read_plane
from skyfold.data.masks import ClassTable, MaskFiles
from skyfold.data.sample_folder import ABOUT
from skyfold.data.segmentation_files import SegmentationFiles, read_each, spelled
from skyfold.errors import DataLayoutError, InvalidSubmission, Problems
from skyfold.metrics.segmentation import MeanIoU
from skyfold.progress import note
from skyfold.types import IntPair, Samples

GRID = (240, 240)
KINDS = {"train": ("vis", "sar", "ref"), "test": ("vis", "sar")}
MASKS = ClassTable.parse({"ice": (1, 255)}, background=0, ignore_value=None)  # ice is written in both ways
OFFICIAL = {"train": 1407, "test": 352}  # samples of the contest


class LeedsSeaIce(Contest):
    """The grid of predictions is that of the first mask that can be read; without any, the contest's own 240 x 240."""

    def build(self, folder: Path | None) -> Competition:
        """The competition on the grid of the masks in `folder`/train.

        Inputs are uint8 (H, W, 4): red, green, blue, radar.
        """
        files = _LeedsFiles(submission_table(_grid_of(folder)))
        return files.competition("leeds_sea_ice", MeanIoU(), write_sample=write_sample, provenance=_provenance)


PLUGIN = LeedsSeaIce


def _grid_of(folder: Path | None) -> IntPair:
    for mask in [] if folder is None else files_of_kind(folder / "train", "ref"):
        with suppress(DataLayoutError):  # `check` names the file
            return _size(read_plane(mask, colours=False))
    return GRID


def _provenance(folder: Path) -> str:
    if (folder / ABOUT).is_file():
        return "synthetic sample"
    found = {part: len(files_of_kind(folder / part, "vis")) for part in OFFICIAL}
    return "official" if found == OFFICIAL else "other files"


class _LeedsFiles(SegmentationFiles):
    """Pairs of visible and radar images, and masks of the training pairs."""

    def sample_table(self, folder: Path) -> Path | None:
        path = folder / "sample_submission.csv"
        return path if path.is_file() else None

    def load(self, folder: Path, part: str) -> Samples:
        """Test samples come in the order of sample_submission.csv, where there is one."""
        problems = Problems()
        files = complete_samples(folder / part, KINDS[part], problems)
        ids = list(files)
        if part == "test" and not problems:
            ids = self._in_order(folder, ids, problems)
        problems.refuse(folder)
        grid = self.submission.shape
        inputs = VisAndSar([files[i]["vis"] for i in ids], [files[i]["sar"] for i in ids], grid)
        targets = MaskFiles([files[i]["ref"] for i in ids], MASKS, grid) if part == "train" else None
        return Samples(ids=np.array(ids), inputs=inputs, targets=targets)

    def _in_order(self, folder: Path, ids: list[str], problems: Problems) -> list[str]:
        """The test ids in the order of the sample submission, if there is one; what is wrong with it is added to
        `problems`."""
        path = self.sample_table(folder)
        if path is None:
            return ids
        try:
            named: list[str] = self.submission.read(path)[self.submission.key_column].tolist()
        except InvalidSubmission as error:
            problems.add("tables that cannot be read", str(error))
            return ids
        without, unknown = [name for name in ids if name not in set(named)], sorted(set(named) - set(ids))
        problems.add("samples without a row", *(f"{path}: no row for sample '{name}'" for name in without))
        problems.add("rows without a sample", *(f"{path}: no complete sample '{name}' in test/" for name in unknown))
        twice = [name for name, count in Counter(named).items() if count > 1]
        messages = [f"{path}: an id is there twice: '{name}'. Download it again." for name in twice]
        problems.add("rows that are there twice", *messages)
        return named

    def check(self, folder: Path) -> str:
        problems = Problems()
        found: list[str] = []
        for part, kinds in KINDS.items():
            samples = complete_samples(folder / part, kinds, problems)
            summary = []
            usual: dict[str, IntPair] = {}  # size by kind
            for kind in kinds:
                paths = [files[kind] for files in samples.values()]
                images = read_each(f"checking {part} {kind}", partial(_size_and_ice, kind=kind), paths, problems)
                if not images:
                    continue
                size = usual[kind] = Counter(size for size, _ in images.values()).most_common(1)[0][0]
                odd = [
                    f"{path}: {spelled(other)} pixels, most others have {spelled(size)}"
                    for path, (other, _) in images.items()
                    if other != size
                ]
                problems.add("images of another size", *odd)
                summary.append(f"{kind} {spelled(size)}")
                if kind == "ref":
                    ice = np.array([fraction for _, fraction in images.values()])
                    if not ice.any():
                        note(f"{folder / part}: no mask has a pixel of ice (1 or 255). Are these the masks?")
                    summary.append(
                        f"ice {ice.mean():.0%} of the pixels, none in {(ice == 0).mean():.0%} of the samples"
                    )
            of_masks = usual.get("ref", usual.get("vis"))
            if len({height / width for height, width in usual.values()}) > 1 or of_masks != usual.get("vis", of_masks):
                sizes = ", ".join(f"{kind} {spelled(size)}" for kind, size in usual.items())
                problems.add(
                    "images of another shape",
                    f"{part}: images of a sample differ in shape: {sizes}. Masks are as large as vis images.",
                )
            found.append(f"{len(samples)} {part} samples ({', '.join(summary)})")
        self._in_order(folder, list(samples), problems)
        problems.refuse(folder)
        for part in KINDS:
            note_others(folder / part, TIFF_SUFFIXES, expected="TIFF files")
        return f"{_provenance(folder)}: {', '.join(found)}"

    def read_truth(self, path: Path) -> Truth:
        """A folder of masks, or a table on the grid."""
        if not path.is_dir():
            return super().read_truth(path)
        files = files_of_kind(path, "ref")
        note_others(path, TIFF_SUFFIXES, expected="masks")
        if not files:
            raise DataLayoutError(f"{path}: no masks here, <id>_ref.tiff.")
        ids = np.array([id_and_kind(file)[0] for file in files])
        return Truth(ids=ids, targets=MaskFiles(files, MASKS, self.submission.shape))


def _size_and_ice(path: Path, kind: str) -> tuple[IntPair, float]:
    """Size (H, W) of an image, and of a mask the fraction of ice; DataLayoutError where it cannot be used."""
    if kind != "ref":
        return _size(read_band_image(path, kind)), 0.0
    ice = MASKS.read(path) == 0
    values = np.unique(read_plane(path, colours=False)[ice])
    if len(values) > 1:
        raise DataLayoutError(f"{path}: holds both 1 and 255, which both stand for ice. Write ice as 1, all else as 0.")
    return _size(ice), float(ice.mean())


def _size(image: np.ndarray) -> IntPair:
    return image.shape[0], image.shape[1]
