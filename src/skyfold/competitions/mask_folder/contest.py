"""Any segmentation data: images, and masks in any form, described in the config.

By default a folder of images, one of masks with the same names, and a class table. The id of an image is its file name
without suffix. Truth to score against is a folder of masks, or a table with the columns id_class (`<id>_<class>`) and
EncodedPixels; so is a submission.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator

from skyfold.competition import Competition, Contest
from skyfold.competitions.mask_folder.drawn_shapes import CocoTruth, PolygonTruth
from skyfold.competitions.mask_folder.files import ImagesAndMasks
from skyfold.competitions.mask_folder.folder_images import FolderImages
from skyfold.competitions.mask_folder.options import Groups, Images, Masks, Truth
from skyfold.competitions.mask_folder.rle_table import RleTruth
from skyfold.competitions.mask_folder.soft_images import SoftImages
from skyfold.competitions.mask_folder.truth import MaskImages, TruthFiles
from skyfold.config.fields import Size, Text
from skyfold.data.labels import LabelTable
from skyfold.data.masks import ClassTable
from skyfold.errors import ConfigError
from skyfold.metrics.segmentation import known_metric, named_metric
from skyfold.rle.codec import DIALECTS
from skyfold.submission.formats import RleTable
from skyfold.types import IntPair


class MaskFolder(Contest):
    """classes: {name: value}; a value is a grey value 0..65535, a colour '#rrggbb', or a list of them; with `truth`,
    what it calls the class.

    images        folder, path and bands of images, and which of their pixels are no measurement
    masks         folder and path of mask images
    truth         ground truth that is no mask image, in the place of masks
    background    values of no class
    ignore_value  values of pixels that count in no loss and no score
    metric        a name in `skyfold.metrics.segmentation.METRICS`, or FILE.py:CLASS
    group         images of one group never fall into different folds
    grid          (H, W) of predictions and scores, "own": that of each image; by default the size that all images share
    test_images   name of the folder of images to predict; without it there is no part "test"
    """

    NOT_TRAINED_ON: ClassVar[frozenset[str]] = frozenset({"metric", "group", "test_images"})

    classes: Any
    images: Images = Images()
    masks: Masks = Masks()
    truth: Truth | None = None
    background: Any = 0
    ignore_value: Any = None
    metric: Annotated[str, AfterValidator(known_metric)] = "mean_dice"
    group: Groups | None = None
    grid: Size | Literal["own"] | None = None
    test_images: Text | None = None

    _truth: TruthFiles

    def model_post_init(self, context: Any) -> None:
        """ConfigError where a value is of no known kind, or belongs to two of classes, background, ignore_value."""
        if self.truth is None and (self.images.folder, self.images.files) == (self.masks.folder, self.masks.files):
            raise ConfigError("data.options.masks: the same files as those of images. Give masks.files their ending.")
        self._truth = self._truth_files()

    def build(self, folder: Path | None) -> Competition:
        """The competition on `grid`, or on the common size (H, W) of the images in `folder`.

        ConfigError where neither is known. Images that differ in size, where no grid is set, are refused when the files
        are read.
        """
        if self.grid is None and folder is None:
            raise ConfigError("data.options.grid: set it, or name the folder of the images, whose size is taken then.")
        shape = self.grid if isinstance(self.grid, tuple) else (1, 1)
        sizes: dict[str, IntPair] | None = {} if self.grid == "own" else None
        submission = RleTable(self._truth.classes, shape, key_column="id_class", sizes=sizes)
        files = ImagesAndMasks(
            submission,
            self._truth,
            folders=((self.images.folder, self.masks.folder),),
            test_images=self.test_images,
            group=self.group,
            images=FolderImages(self.images),
        )
        if folder is not None:
            files = files.fitted(folder, sized=not isinstance(self.grid, tuple))
        parts = ("train",) if self.test_images is None else ("train", "test")
        resized = isinstance(self.grid, tuple)
        return files.competition("mask_folder", named_metric(self.metric), parts=parts, resized=resized)

    def _truth_files(self) -> TruthFiles:
        if self.truth is None:
            return self._mask_files(self.masks)
        if self.ignore_value is not None:
            raise ConfigError("data.options.ignore_value: only mask images have one. Remove it.")
        truth, labels = self.truth, LabelTable.parse(self.classes, self.background)
        if truth.coco is not None:
            return CocoTruth(truth.coco, labels, truth.touched)
        if truth.polygons is not None:
            return PolygonTruth(truth.polygons, labels, truth.touched, truth.label)
        assert truth.csv is not None
        return RleTruth(
            truth.csv, (truth.id, truth.rle), truth.category, labels, DIALECTS[truth.dialect], truth.unlisted == "empty"
        )

    def _mask_files(self, masks: Masks) -> TruthFiles:
        table = ClassTable.parse(self.classes, background=self.background, ignore_value=self.ignore_value)
        names = tuple(table.classes)
        if masks.fractions and [codes[0] for codes in table.classes.values()] != list(range(1, len(names) + 1)):
            numbered = ", ".join(f"{name}: {place}" for place, name in enumerate(names, start=1))
            raise ConfigError(f"data.options.classes: with masks.fractions number the bands: {{{numbered}}}.")
        if masks.fractions or masks.annotators:
            return SoftImages(names, None if masks.fractions else table, masks.files, masks.annotators)
        return MaskImages(table, masks.files)


PLUGIN = MaskFolder
