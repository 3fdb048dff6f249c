"""What a bundle has predicted, before it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyfold.competition import Competition
from skyfold.files import file_digest
from skyfold.store.bundle import MANIFEST, Bundle
from skyfold.submission.write import write_submission
from skyfold.types import ArraySequence, Samples, SubmissionFormat


@dataclass(frozen=True)
class Predicted:
    """The samples that a bundle predicted, and their rows.

    source  folder, or files, that the samples were read from
    ids     of the samples to submit, in this order; one that is not among the samples could not be read
    table   the sample submission that `ids` stand in, None: all samples are submitted
    values  [i]: the row of sample i, as it is stored
    gate    [i]: that of the classifier gate, None without one
    """

    bundle: Bundle
    competition: Competition
    samples: Samples
    source: Path | Sequence[Path]
    ids: Sequence[str]
    table: Path | None
    values: np.ndarray
    gate: np.ndarray | None

    def write_table(self, path: Path, values: ArraySequence, format: SubmissionFormat) -> Path:
        """The submission `path` of `ids`, values[i] that of ids[i], and its record beside it."""
        manifest = self.bundle.manifest
        about = {
            "name": manifest["name"],
            "stage": "final",
            "bundle": file_digest(self.bundle.folder / MANIFEST),
            "scores": manifest["scores"],
            "metric": manifest["metric"],
        }
        write_submission(path, np.array(self.ids), values, format, self.table, about)
        return path
