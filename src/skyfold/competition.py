"""A competition: its files, metric and submission format."""

from __future__ import annotations

import traceback
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from skyfold import plugins
from skyfold.config.options import Options, configured
from skyfold.errors import ConfigError, SkyfoldError
from skyfold.memory import too_large
from skyfold.types import ArraySequence, IntPair, Metric, Samples, SubmissionFormat

Colour = tuple[int, int, int]  # red, green, blue, 0 to 255 each


@dataclass(frozen=True)
class Truth:
    """Ground truth that a submission is scored against; arrays as in `Samples`."""

    ids: np.ndarray
    targets: ArraySequence
    valid: ArraySequence | None = None


@dataclass(frozen=True)
class Competition:
    """One contest, as its module `skyfold.competitions.<name>` makes it (see `Contest`).

    task          "segmentation" or "forecasting"
    classes       names of the K classes (or lead times), in the order of the last target axis
    grid          (H, W) on which predictions are stored, scored and submitted; None: each on the size of its own image
    unit          unit of a prediction: "probability", "mm/h", "concentration x 250"
    load          load(folder, part) -> Samples, part "train" or "test"; DataLayoutError lists all that is wrong
    read_images   read_images(folder) -> Samples of all images of a folder that holds nothing else, to predict; None
                  where a sample is more than a file
    read_frames   read_frames(paths) -> Samples of the newest frames in these files, to forecast what follows them; None
                  where no frames are forecast
    check         check(folder) -> a line of text about the files; DataLayoutError as `load`, but reads every file
    read_truth    read_truth(path) -> Truth, from a truth file (or folder)
    read_pred     read_pred(path, ids) -> values as `submission.decode`, from a submission file (or folder)
    sample_table  sample_table(folder) -> path of the sample submission, DataLayoutError where it is missing; None where
                  the contest gives none
    write_sample  write_sample(folder, **settings): a small procedural data set in the official layout
    parts         the parts that `load` knows; some competitions have no "test"
    kaggle        name of the contest on Kaggle, as in its address; None elsewhere
    provenance    provenance(folder) -> "official", "synthetic sample" or "other files"; only scores on official files
                  are compared with published ones; None: not known
    resized       the grid has another size than the images on purpose, to which masks and images are brought; where it
                  is not said, `skyfold check competition` refuses images of another size
    colours       of the classes, in their order, where each pixel has exactly one; None where classes may overlap
    horizon       time from the issue of a forecast to its last frame, the gap between training and validation samples
                  of a fold; None where samples have no time
    points        (row, column) of stations, whose forecasts are also written and scored separately
    source        digest of the code that reads the files, without the metric, where it lies outside skyfold; else ''
    metric_source  the same of the metric's code
    write_netcdf  write_netcdf(path, source, ids, values, about) writes forecasts of samples as a NetCDF file by the CF
                  conventions, with the attributes `about`; source: the folder, or the files, that they were read from;
                  None where no samples have a time
    """

    name: str
    task: str
    classes: tuple[str, ...]
    grid: IntPair | None
    unit: str
    metric: Metric
    submission: SubmissionFormat
    load: Callable[[Path, str], Samples]
    check: Callable[[Path], str]
    read_truth: Callable[[Path], Truth]
    read_pred: Callable[[Path, np.ndarray], ArraySequence]
    sample_table: Callable[[Path], Path | None]
    read_images: Callable[[Path], Samples] | None = None
    read_frames: Callable[[Sequence[Path]], Samples] | None = None
    write_sample: Callable[..., None] | None = None
    parts: tuple[str, ...] = ("train", "test")
    kaggle: str | None = None
    provenance: Callable[[Path], str] | None = None
    resized: bool = False
    colours: Mapping[str, Colour] | None = None
    horizon: np.timedelta64 | None = None
    points: tuple[IntPair, ...] = ()
    source: str = ""
    metric_source: str = ""
    write_netcdf: Callable[[Path, Path | Sequence[Path], np.ndarray, ArraySequence, Mapping[str, str]], None] | None = (
        None
    )

    @property
    def given(self) -> str:
        """What `skyfold predict` is given, as an option of the command."""
        if self.read_frames is not None:
            return "--frames FILE ..."
        return "--data DIR" if self.read_images is None else "--images DIR"


class Contest(Options):
    """What a module of `competitions` declares as `PLUGIN`; its fields are the keys of `data.options`.

    NOT_TRAINED_ON: the fields that change nothing that a network is trained on, of the metric or of submissions for
    instance; a run is not trained again when one of them changes.
    """

    NOT_TRAINED_ON: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def build(self, folder: Path | None) -> Competition:
        """folder: with the contest's files; None where it is not known.

        It may settle what the options leave open, the grid for instance; an image's header may be read for that, and a
        folder that is not there yet is no error.
        """


def build(name: str, options: Mapping[str, Any] | None = None, folder: Path | None = None) -> Competition:
    """The competition `name`, with the options of a config (a class table, for instance) for the files in `folder`.

    ConfigError names each option that the competition does not have, that it needs, or whose value is wrong, and a grid
    that is too large for the memory of this machine.
    """
    contest: Contest = configured("competitions", name, options or {}, where="data.options")
    try:
        made = contest.build(folder)
    except Exception as error:
        if not plugins.outside_digest("competitions", name) or isinstance(error, SkyfoldError):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"competition '{name}': {place.filename}, line {place.lineno}"
        raise ConfigError(f"{where}: {type(error).__name__}: {error}. Mend the file.") from error
    metric = type(made.metric)
    source = plugins.outside_digest("competitions", name, without=metric.__name__)
    competition = replace(made, source=source, metric_source=plugins.class_digest(metric))
    height, width = competition.grid or (1, 1)
    if shortage := too_large(height * width * (len(competition.classes) + 1) * np.float32().itemsize):
        raise ConfigError(f"data.options.grid: a sample on {height} x {width}: {shortage}. Take a smaller grid.")
    return competition
