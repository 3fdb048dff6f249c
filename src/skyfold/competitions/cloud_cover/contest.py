"""Big satellite scenes of any height and width: background, thick cloud, thin cloud and shadow, scored by mIoU.

The folder holds `images/<split>/*.png` and, of the same names, `labels/<split>/*.png` in the colours of the classes.
The folds are made of the splits train and validation; the split test is predicted. Every scene has a size of its own,
so predictions are stored, blended and scored on one grid that all are resized to. Truth to score against is a folder of
labels, or a table with the columns id_class (`<id>_<class>`) and EncodedPixels; so is a submission, whose folder holds
one label image per scene, in the colours of the classes (an indexed PNG too), of the scene's own size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from skyfold.competition import Colour, Competition, Contest
from skyfold.competitions.cloud_cover.sample import CLASSES, write_sample
from skyfold.competitions.mask_folder.files import ImagesAndMasks
from skyfold.competitions.mask_folder.folder_images import FolderImages
from skyfold.competitions.mask_folder.options import Images
from skyfold.competitions.mask_folder.truth import MaskImages
from skyfold.config.fields import Size
from skyfold.data.images import read_header
from skyfold.data.masks import ClassTable
from skyfold.errors import ConfigError
from skyfold.metrics.segmentation import GlobalIoU
from skyfold.submission.formats import RleTable
from skyfold.types import IntPair

# Assumed: the contest's labels are RGB, of which colours is not known.
COLOURS = {"background": "#000000", "thick_cloud": "#ff0000", "thin_cloud": "#00ff00", "shadow": "#0000ff"}
GRID = (752, 752)  # an eighth of the longer side, 6,015; our choice, since the scenes have no size in common
TRAIN_FOLDERS = tuple((f"images/{split}", f"labels/{split}") for split in ("train", "validation"))
TEST_IMAGES = "images/test"


class CloudCover(Contest):
    """colours: '#rrggbb', or a list of them, of each class of the labels; grid: (H, W) of predictions and scores."""

    colours: Any = COLOURS
    grid: Size = GRID

    _table: ClassTable

    def model_post_init(self, context: Any) -> None:
        """ConfigError unless `colours` gives each class a colour of its own."""
        self._table = ClassTable.parse(self.colours, background=None, ignore_value=None)
        if set(self._table.classes) != set(CLASSES):
            found = ", ".join(self._table.classes)
            raise ConfigError(f"data.options.colours: name {', '.join(CLASSES)}; got {found}.")
        if not self._table.colours:
            raise ConfigError("data.options.colours: give colours as '#rrggbb'.")

    def build(self, folder: Path | None) -> Competition:
        """The competition on `grid`; folder: of the scenes, whose sizes label images of a submission must have.

        Labels are resampled to the grid by nearest neighbour.
        """
        rgb = {name: _rgb(codes[0]) for name, codes in self._table.classes.items()}
        submission = RleTable(tuple(rgb), self.grid, key_column="id_class")
        truth, images = MaskImages(self._table), FolderImages(Images(orientation="apply"))
        files = _Scenes(submission, truth, TRAIN_FOLDERS, TEST_IMAGES, images=images, root=folder)
        return files.competition(
            "cloud_cover", GlobalIoU(), colours=rgb, write_sample=partial(write_sample, colours=rgb), resized=True
        )


PLUGIN = CloudCover


@dataclass(frozen=True)
class _Scenes(ImagesAndMasks):
    """Scenes and labels of any size; root: the folder of the competition, None where it is not known."""

    root: Path | None = None

    def _predicted_size(self, name: str) -> IntPair | None:
        if self.root is None:
            return None
        folders = [*(images for images, _ in self.folders), TEST_IMAGES]
        scenes = [self.root / folder / f"{name}.png" for folder in folders]
        return next((read_header(scene).size for scene in scenes if scene.is_file()), None)


def _rgb(code: int) -> Colour:
    return code >> 16, code >> 8 & 255, code & 255
