"""Big satellite scenes of any height and width: background, thick cloud, thin cloud and shadow, scored by mIoU.

The folder holds `images/<split>/*.png` and, of the same names, `labels/<split>/*.png` in the colours of the classes;
splits are train, validation and test. Every scene has a size of its own, so that predictions are stored, blended and
scored on one grid that all are brought to. Truth to score against is a folder of labels, or a table with the columns
id_class (`<id>_<class>`) and EncodedPixels; so is a submission, whose folder holds one label image a scene, in the
colours of the classes (an indexed PNG too), of the scene's own size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from skyfold.competition import Colour, Competition, Contest, Truth
from skyfold.competitions.cloud_cover import sample as scene_sample
from skyfold.competitions.cloud_cover.sample import CLASSES
from skyfold.competitions.mask_folder import Layout
from skyfold.config.fields import Size, Text
from skyfold.data.images import ImageFiles, check_images, image_paths, read_header
from skyfold.data.masks import CENTRED_RESAMPLING, ClassTable, DefinedPixels, MaskFiles
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission, listing
from skyfold.metrics.segmentation import GlobalIoU
from skyfold.types import ArraySequence, IntPair, Samples

# Assumed: the contest's labels are RGB, of which colours is not known.
COLOURS = {"background": "#000000", "thick_cloud": "#ff0000", "thin_cloud": "#00ff00", "shadow": "#0000ff"}
GRID = (752, 752)  # an eighth of the longer side, 6,015; our choice, since the scenes have no size in common
TRAIN_SPLITS, TEST_SPLIT = ("train", "validation"), "test"


def _as_list(splits: Any) -> Any:
    return [splits] if isinstance(splits, str) else splits


class CloudCover(Contest):
    """colours: '#rrggbb', or a list of them, of each class of the labels; ignore_value: of pixels that count nowhere.

    grid   (H, W) of predictions and scores
    train  splits that the folds are made of; without "validation" that one can be kept for a last check
    test   the split to predict, of which images only are read
    """

    colours: Any = COLOURS
    ignore_value: Any = None
    grid: Size = GRID
    train: Annotated[tuple[Text, ...], Field(min_length=1), BeforeValidator(_as_list)] = TRAIN_SPLITS
    test: Text = TEST_SPLIT

    _table: ClassTable

    def model_post_init(self, context: Any) -> None:
        self._table = ClassTable.parse(self.colours, background=None, ignore_value=self.ignore_value)
        if set(self._table.classes) != set(CLASSES):
            found = ", ".join(self._table.classes)
            raise ConfigError(f"data.options.colours: name {', '.join(CLASSES)}; got {found}.")
        if not self._table.colours:
            raise ConfigError("data.options.colours: give colours as '#rrggbb'.")

    def build(self, folder: Path | None) -> Competition:
        table = self._table
        rgb = {name: _rgb(codes[0]) for name, codes in table.classes.items()}
        files = _Files(table, self.grid, self.train, self.test, folder)
        return Competition(
            name="cloud_cover",
            task="segmentation",
            classes=tuple(table.classes),
            grid=files.grid,
            unit="probability",
            metric=GlobalIoU(),
            submission=files.split(self.test).submission,
            load=files.load,
            check=files.check,
            read_truth=files.read_truth,
            read_pred=files.read_pred,
            sample_table=lambda folder: None,
            write_sample=partial(scene_sample.write_sample, colours=rgb),
            colours=rgb,
        )


PLUGIN = CloudCover


@dataclass(frozen=True)
class _Files:
    """Where the scenes of each split lie, and what the colours of their labels mean."""

    table: ClassTable
    grid: IntPair
    train: tuple[str, ...]
    test: str
    folder: Path | None

    def split(self, name: str) -> Layout:
        return Layout(f"images/{name}", f"labels/{name}", None, self.table, self.grid, None)

    def masks(self, paths: Sequence[Path]) -> MaskFiles:
        return MaskFiles(paths, self.table, self.grid, CENTRED_RESAMPLING)

    def load(self, folder: Path, part: str) -> Samples:
        """Looks at names and headers, not at pixels."""
        if part not in ("train", "test"):
            raise ConfigError(f"part '{part}': there are train and test.")
        if part == "test":
            scenes = image_paths(folder / "images" / self.test)
            return Samples(ids=_stems(scenes), inputs=ImageFiles(scenes))
        parts = [self.split(name).load(folder, "train") for name in self.train]
        ids = np.concatenate([samples.ids for samples in parts])
        doubled = [f"'{name}' is there {count} times" for name, count in Counter(ids.tolist()).items() if count > 1]
        if doubled:
            raise DataLayoutError(
                f"{folder / 'images'}: scenes of one name in the splits {', '.join(self.train)}; rename them, or leave "
                f"a split out of data.options.train\n{listing(doubled)}"
            )
        targets = self.masks(_paths(samples.targets for samples in parts))
        return Samples(
            ids=ids,
            inputs=ImageFiles(_paths(samples.inputs for samples in parts)),
            targets=targets,
            valid=DefinedPixels(targets) if self.table.ignore_value else None,
        )

    def check(self, folder: Path) -> str:
        found, problems = [], []
        for name in self.train:
            try:
                found.append(f"{name}: {self.split(name).check(folder)}")
            except DataLayoutError as error:
                problems.append(str(error))
        try:
            scenes = image_paths(folder / "images" / self.test)
            problems += check_images(scenes, label=f"checking {self.test} scenes").values()
            found.append(f"{self.test}: {len(scenes)} scenes")
        except DataLayoutError as error:
            problems.append(str(error))
        if problems:
            raise DataLayoutError("\n".join(problems))
        self.load(folder, "train")
        return "\n".join(found)

    def read_truth(self, path: Path) -> Truth:
        """A folder of labels of any size, or a table on the grid."""
        if not path.is_dir():
            return self.split(self.test).read_truth(path)
        paths = image_paths(path)
        targets = self.masks(paths)
        valid = DefinedPixels(targets) if self.table.ignore_value else None
        return Truth(ids=_stems(paths), targets=targets, valid=valid)

    def read_pred(self, path: Path, ids: np.ndarray) -> ArraySequence:
        """A folder of label images of the scenes' own sizes, or a table. Labels of other ids are left aside."""
        if not path.is_dir():
            return self.split(self.test).submission.read_masks(path, ids)[1]
        by_id = {file.stem: file for file in image_paths(path)}
        problems = [f"no label image for '{name}'" for name in ids if name not in by_id]
        scenes = self._scenes()
        for name in set(ids.tolist()) & set(by_id) & set(scenes):
            size, wanted = read_header(by_id[name]).size, read_header(scenes[name]).size
            if size != wanted:
                problems.append(
                    f"{by_id[name].name}: {size[0]}x{size[1]} pixels, the scene has {wanted[0]}x{wanted[1]}"
                )
        if problems:
            raise InvalidSubmission(f"{path}: label images are missing or unfit\n{listing(sorted(problems))}")
        return self.masks([by_id[name] for name in ids])

    def _scenes(self) -> dict[str, Path]:
        """Every scene of the folder, where there is one."""
        folders = [self.folder / "images" / name for name in (*self.train, self.test)] if self.folder else []
        return {path.stem: path for folder in folders if folder.is_dir() for path in image_paths(folder)}


def _stems(paths: Sequence[Path]) -> np.ndarray:
    return np.array([path.stem for path in paths])


def _paths(parts: Iterable[Any]) -> list[Path]:
    return [path for files in parts for path in files.paths]


def _rgb(code: int) -> Colour:
    return code >> 16, code >> 8 & 255, code & 255
