"""Kaggle "Leeds SciML Sea Ice Segmentation" (2023): where a scene shows ice, seen by light and by radar.

`train/` and `test/` hold TIFF files by sample: `<id>_vis.tiff`, RGB; `<id>_sar.tiff`, one band of radar at three times
the size; and, to learn from, `<id>_ref.tiff`, the mask. A submission has the columns id and rle, one row a sample,
encoded on the grid of the masks; a truth file to score against is such a table, or a folder of masks. The names of
files and columns, and the values of masks, are assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator

from skyfold.competition import Competition, Contest, Truth
from skyfold.competitions.leeds_sea_ice import sample as sea_ice_sample
from skyfold.competitions.leeds_sea_ice.vis_sar import (
    Range,
    VisAndSar,
    complete_samples,
    files_of_kind,
    id_and_kind,
    read_band_image,
)
from skyfold.config.fields import Size
from skyfold.config.options import one_of
from skyfold.data.images import THREADS, read_plane
from skyfold.data.masks import UNDEFINED, ClassTable, DefinedPixels, MaskFiles
from skyfold.data.sample_folder import ABOUT
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission, listing
from skyfold.metrics.segmentation import METRICS, named_metric
from skyfold.progress import Progress
from skyfold.submission.formats import RleTable
from skyfold.types import IntPair, Samples

GRID = (240, 240)
WANTED = {"train": ("vis", "sar", "ref"), "test": ("vis", "sar")}
KEY, RLE = "id", "rle"
ICE = (1, 255)  # masks are written in both ways
OFFICIAL = {"train": 1407, "test": 352}  # samples of the contest
Sample = dict[str, Path]


def _ascending(ends: Range) -> Range:
    if not ends[0] < ends[1]:
        raise ValueError("expected [low, high], low below high")
    return ends


AscendingRange = Annotated[Range, AfterValidator(_ascending)]


class LeedsSeaIce(Contest):
    """ice, water, ignore_value: values of the masks; undefined pixels count in no loss and no score.

    vis_range, sar_range  [low, high] of images that are not bytes: stretched to 0 .. 255, cut off beyond
    metric                a name in skyfold.metrics.segmentation.METRICS
    grid                  (H, W) of predictions; without it that of the first mask, or the contest's own 240 x 240
    """

    ice: Any = ICE
    water: Any = 0
    ignore_value: Any = None
    vis_range: AscendingRange | None = None
    sar_range: AscendingRange | None = None
    metric: Annotated[str, one_of(METRICS)] = "mean_iou"
    grid: Size | None = None

    _table: ClassTable

    def model_post_init(self, context: Any) -> None:
        self._table = ClassTable.parse({"ice": self.ice}, background=self.water, ignore_value=self.ignore_value)

    def build(self, folder: Path | None) -> Competition:
        ranges = {"vis": self.vis_range, "sar": self.sar_range}
        files = Layout(self._table, self.grid or _grid_of(folder), ranges)
        return Competition(
            name="leeds_sea_ice",
            task="segmentation",
            classes=("ice",),
            grid=files.grid,
            unit="probability",
            metric=named_metric(self.metric),
            submission=files.submission,
            load=files.load,
            check=files.check,
            read_truth=files.read_truth,
            read_pred=lambda path, ids: files.submission.read_masks(path, ids)[1],
            sample_table=_sample_table,
            write_sample=sea_ice_sample.write_sample,
            provenance=_provenance,
        )


PLUGIN = LeedsSeaIce


def _grid_of(folder: Path | None) -> IntPair:
    masks = [] if folder is None else files_of_kind(folder / "train", "ref")
    if not masks:
        return GRID
    height, width = read_plane(masks[0], colours=False).shape
    return height, width


def _sample_table(folder: Path) -> Path | None:
    path = folder / "sample_submission.csv"
    return path if path.is_file() else None


def _provenance(folder: Path) -> str:
    if (folder / ABOUT).is_file():
        return "synthetic sample"
    found = {part: len(files_of_kind(folder / part, "vis")) for part in OFFICIAL}
    return "official" if found == OFFICIAL else "other files"


@dataclass(frozen=True)
class Layout:
    """What masks mean, the grid they are brought to, and by kind what numbers images hold."""

    table: ClassTable
    grid: IntPair
    ranges: dict[str, Range | None]

    @property
    def submission(self) -> RleTable:
        return RleTable(("ice",), self.grid, key_column=KEY, rle_column=RLE, bare_ids=True)

    def load(self, folder: Path, part: str) -> Samples:
        """Looks at names alone. Test samples come in the order of sample_submission.csv, where there is one."""
        if part not in WANTED:
            raise ConfigError(f"part '{part}': there are train and test.")
        files, problems = complete_samples(folder / part, WANTED[part])
        ids = list(files)
        table = _sample_table(folder) if part == "test" else None
        if table is not None and not problems:
            ids, problems = self._in_order_of(table, ids)
        if problems:
            raise DataLayoutError(f"{folder}: the {part} files do not fit together\n{listing(problems, limit=20)}")
        inputs = VisAndSar([files[i]["vis"] for i in ids], [files[i]["sar"] for i in ids], self.grid, self.ranges)
        if part == "test":
            return Samples(ids=np.array(ids), inputs=inputs)
        targets = MaskFiles([files[i]["ref"] for i in ids], self.table, self.grid)
        valid = DefinedPixels(targets) if self.table.ignore_value else None
        return Samples(ids=np.array(ids), inputs=inputs, targets=targets, valid=valid)

    def _in_order_of(self, path: Path, ids: list[str]) -> tuple[list[str], list[str]]:
        """The ids as the table has them; and what is wrong with it."""
        try:
            named = [str(name) for name in self.submission.read(path)[KEY]]
        except InvalidSubmission as error:
            return ids, [str(error)]
        problems = [f"{path}: no row for sample '{name}'" for name in ids if name not in set(named)]
        problems += [f"{path}: no files of '{name}' in test/" for name in sorted(set(named) - set(ids))]
        if len(named) != len(set(named)):
            problems.append(f"{path}: an id stands there twice. Download it again.")
        return named, problems

    def check(self, folder: Path) -> str:
        problems: list[str] = []
        found: list[str] = []
        for part, kinds in WANTED.items():
            files, faults = complete_samples(folder / part, kinds)
            broken, words = self._looked_at(list(files.values()), kinds, label=f"checking {part}")
            problems += faults + broken
            found.append(f"{len(files)} {part} samples ({words})")
        if not problems and (table := _sample_table(folder)) is not None:
            problems = self._in_order_of(table, list(files))[1]
        if problems:
            count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
            raise DataLayoutError(f"{folder}: {count} with the files of leeds_sea_ice\n{listing(problems, limit=20)}")
        return f"{_provenance(folder)}: {', '.join(found)}"

    def _looked_at(self, samples: list[Sample], kinds: Sequence[str], *, label: str) -> tuple[list[str], str]:
        """All that is wrong inside the files of complete samples; and what they are like, in words."""
        problems: list[str] = []
        of_size: dict[str, dict[IntPair, list[str]]] = {kind: {} for kind in kinds}
        counts: list[tuple[int, int, int]] = []  # of each mask: pixels of ice, undefined, in all
        with Progress(label, len(samples)) as progress, ThreadPoolExecutor(THREADS) as pool:
            for sample, images in zip(samples, pool.map(self._images, samples), strict=True):
                progress.advance()
                for kind in kinds:
                    image = images[kind]
                    if isinstance(image, str):
                        problems.append(image)
                        continue
                    of_size[kind].setdefault((image.shape[0], image.shape[1]), []).append(str(sample[kind]))
                    if kind == "ref":
                        counts.append((int((image == 0).sum()), int((image == UNDEFINED).sum()), image.size))
        sizes = {kind: max(found, key=lambda size: len(found[size])) for kind, found in of_size.items() if found}
        for kind, usual in sizes.items():
            for size, files in of_size[kind].items():
                if size != usual:
                    problems += [f"{file}: {_x(size)} pixels, most others have {_x(usual)}" for file in files]
        seen = ", ".join(f"{kind} {_x(size)}" for kind, size in sizes.items())
        shapes = {height / width for height, width in sizes.values()}
        mask_fits = "vis" not in sizes or sizes.get("ref", sizes["vis"]) == sizes["vis"]
        if len(shapes) > 1 or not mask_fits:
            problems.append(f"the images of a sample do not show one view: {seen}. Masks are as large as vis images.")
        if not counts:
            return problems, seen
        ice, undefined, pixels = np.array(counts).T
        share = ice.sum() / max((pixels - undefined).sum(), 1)
        return problems, f"{seen}, ice {share:.0%} of the pixels, none in {(ice == 0).mean():.0%} of the samples"

    def _images(self, sample: Sample) -> dict[str, np.ndarray | str]:
        """By kind the image, of a mask its meaning; or what is wrong with the file."""
        images: dict[str, np.ndarray | str] = {}
        for kind, path in sample.items():
            try:
                images[kind] = self._mask(path) if kind == "ref" else read_band_image(path, kind, self.ranges[kind])
            except DataLayoutError as error:
                images[kind] = str(error)
        return images

    def _mask(self, path: Path) -> np.ndarray:
        """The place of each pixel's class; DataLayoutError where two values of one mask stand for ice."""
        meaning = self.table.read(path)
        values = np.unique(read_plane(path, colours=False)[meaning == 0])
        if len(values) > 1:
            raise DataLayoutError(
                f"{path}: its values {' and '.join(map(str, values))} both stand for ice. Say which one does in "
                "data.options.ice, and what the other is in water or undefined."
            )
        return meaning

    def read_truth(self, path: Path) -> Truth:
        if not path.is_dir():
            ids, masks = self.submission.read_masks(path)
            return Truth(ids=ids, targets=masks)
        files = files_of_kind(path, "ref")
        if not files:
            raise DataLayoutError(f"{path}: no masks here, <id>_ref.tiff.")
        targets = MaskFiles(files, self.table, self.grid)
        valid = DefinedPixels(targets) if self.table.ignore_value else None
        return Truth(ids=np.array([id_and_kind(file)[0] for file in files]), targets=targets, valid=valid)


def _x(size: IntPair) -> str:
    return f"{size[0]}x{size[1]}"
