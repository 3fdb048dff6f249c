"""Bootstrap draws of single entries, computed once and kept: every two of them are compared by the same draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skyfold.files import digest
from skyfold.metrics.bootstrap import draw_scores
from skyfold.metrics.segmentation import MeanOfMaps
from skyfold.pipeline.site.stored import once
from skyfold.postprocess.evaluate import SampleScores
from skyfold.types import JsonDict, Metric

DRAWS = 1000


def entry_draws(scores: SampleScores, cache: Path) -> np.ndarray:
    """Score of an entry in each draw, float64 (DRAWS,)."""
    return np.array(_drawn(scores.metric, [scores.stats], scores, cache)[0])


def class_draws(scores: SampleScores, classes: Sequence[str], cache: Path) -> dict[str, np.ndarray]:
    """Mean score of the maps of each class in each draw, float64 (DRAWS,); none where they are not stored."""
    maps = {label: values for label in classes if (values := scores.of_class(label)) is not None}
    drawn = _drawn(MeanOfMaps(), [values[:, np.newaxis] for values in maps.values()], scores, cache) if maps else []
    return {label: np.array(own) for label, own in zip(maps, drawn, strict=True)}


def _drawn(metric: Metric, tables: Sequence[np.ndarray], scores: SampleScores, cache: Path) -> list[list[float]]:
    made_of = digest("draws", metric.name, *(table.tobytes() for table in tables), "\n".join(scores.groups.tolist()))

    def compute() -> JsonDict:
        return {"scores": draw_scores(metric, tables, groups=scores.groups, draws=DRAWS).tolist()}

    found: list[list[float]] = once(cache / f"{made_of}.json", compute)["scores"]
    return found
