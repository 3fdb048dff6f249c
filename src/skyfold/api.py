"""What a plug-in imports: names that keep their meaning from version to version.

A competition, metric or logger that lies outside the package needs no other names of skyfold. A model family takes its
base class from `skyfold.models`; `skyfold.postprocess.rules` says what a rule offers. Each is described where it is
defined.
"""

from skyfold.competition import Competition, Contest, Truth
from skyfold.config.options import one_of
from skyfold.data.array_files import read_array
from skyfold.data.check_images import check_images
from skyfold.data.folder import file_id, files_in, note_others
from skyfold.data.images import SUFFIXES, TIFF_SUFFIXES, BandFiles, ImageFiles, files_stamp, image_paths
from skyfold.data.mask_tables import MaskTables, files_of, read_sizes, sizes_file
from skyfold.data.masks import ClassTable, MaskFiles
from skyfold.data.sample_folder import sample_settings, write_whole
from skyfold.data.sample_images import as_image, sample_names, smooth_noise, write_image
from skyfold.data.segmentation_files import SegmentationFiles, read_each
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission, Problems
from skyfold.files import digest
from skyfold.loggers import Fit, Logger
from skyfold.metrics.segmentation import (
    GlobalDice,
    GlobalIoU,
    MeanDice,
    MeanIoU,
    OverlapMetric,
    PixelAccuracy,
    RowScore,
    dice_score,
    iou_score,
)
from skyfold.progress import note
from skyfold.rle.codec import DIALECTS, Dialect
from skyfold.submission.formats import RleTable, read_table
from skyfold.submission.tiff_folder import TiffFolder
from skyfold.types import (
    ArraySequence,
    CountMetric,
    IntPair,
    LazyArrays,
    Metric,
    RowMetric,
    Samples,
    VolumeMetric,
)

__all__ = [
    "DIALECTS",
    "SUFFIXES",
    "TIFF_SUFFIXES",
    "ArraySequence",
    "BandFiles",
    "ClassTable",
    "Competition",
    "ConfigError",
    "Contest",
    "CountMetric",
    "DataLayoutError",
    "Dialect",
    "Fit",
    "GlobalDice",
    "GlobalIoU",
    "ImageFiles",
    "IntPair",
    "InvalidSubmission",
    "LazyArrays",
    "Logger",
    "MaskFiles",
    "MaskTables",
    "MeanDice",
    "MeanIoU",
    "Metric",
    "OverlapMetric",
    "PixelAccuracy",
    "Problems",
    "RleTable",
    "RowMetric",
    "RowScore",
    "Samples",
    "SegmentationFiles",
    "TiffFolder",
    "Truth",
    "VolumeMetric",
    "as_image",
    "check_images",
    "dice_score",
    "digest",
    "file_id",
    "files_in",
    "files_of",
    "files_stamp",
    "image_paths",
    "iou_score",
    "note",
    "note_others",
    "one_of",
    "read_array",
    "read_each",
    "read_sizes",
    "read_table",
    "sample_names",
    "sample_settings",
    "sizes_file",
    "smooth_noise",
    "write_image",
    "write_whole",
]
