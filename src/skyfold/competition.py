"""A competition: what its files mean, how it scores, and what it wants handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyfold import plugins
from skyfold.types import ArraySequence, IntPair, Metric, Samples, SubmissionFormat


@dataclass(frozen=True)
class Truth:
    """What a submission is scored against; the same layout as the arrays in `Samples`."""

    ids: np.ndarray
    targets: ArraySequence
    valid: ArraySequence | None = None


@dataclass(frozen=True)
class Competition:
    """One contest. A module `skyfold.competitions.<name>` offers `build(**options) -> Competition`.

    task          "segmentation" or "forecast"
    classes       names of the K classes (or lead times), in the order of the last target axis
    grid          (H, W) on which predictions are stored, scored and handed in
    unit          unit of a prediction: "probability", "mm/h", "concentration x 250"
    load          load(folder, part) -> Samples, part "train" or "test"; DataLayoutError lists all that is wrong
    check         check(folder) -> one line that says what was found; DataLayoutError as `load`, but reads every file
    read_truth    read_truth(path) -> Truth, from a truth file (or folder)
    read_pred     read_pred(path, ids) -> values as `submission.decode`, from a submission file (or folder)
    sample_table  sample_table(folder) -> path of the contest's sample submission, None where it has none
    write_sample  write_sample(folder, **settings): a small procedural data set in the official layout
    """

    name: str
    task: str
    classes: tuple[str, ...]
    grid: IntPair
    unit: str
    metric: Metric
    submission: SubmissionFormat
    load: Callable[[Path, str], Samples]
    check: Callable[[Path], str]
    read_truth: Callable[[Path], Truth]
    read_pred: Callable[[Path, np.ndarray], ArraySequence]
    sample_table: Callable[[Path], Path | None]
    write_sample: Callable[..., None] | None = None


def build(name: str, options: Mapping[str, Any] | None = None) -> Competition:
    """The competition `name`, with the options of a config (a class table, say)."""
    module = plugins.load("competitions", name)
    competition: Competition = module.build(**(options or {}))
    return competition
