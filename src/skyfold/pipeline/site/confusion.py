"""Confusion matrix of an entry, where classes exclude each other."""

from __future__ import annotations

import numpy as np

from skyfold.data.class_subset import of_classes, require_one_class
from skyfold.data.dataset import Dataset
from skyfold.errors import ConfigError
from skyfold.pipeline.site.stored import StoredEntry
from skyfold.postprocess.measure import measure_confusion
from skyfold.reports.site.charts import heat_map
from skyfold.reports.site.pages import Section, Table, formatted

TITLE = "Confusion matrix"


def with_one_class(dataset: Dataset | None) -> Dataset | None:
    """`dataset` where each pixel has exactly one class of several; else None."""
    if dataset is None or len(dataset.competition.classes) < 2:
        return None
    try:
        require_one_class(dataset.train, dataset.competition.classes, why="a confusion matrix")
    except ConfigError:
        return None
    return dataset


def confusion_section(entry: StoredEntry, dataset: Dataset | None) -> Section:
    """Pixels of each true class by predicted class, counted once and kept beside the entry's other counts.

    dataset: as of `with_one_class`. Empty where the entry did not learn all classes.
    """
    names = entry.info.classes
    if dataset is None or set(names) != set(dataset.competition.classes):
        return Section(TITLE)
    samples = of_classes(dataset.train, dataset.competition.classes, names)
    counts = measure_confusion(entry.folder, samples).sum(axis=0, dtype=np.int64)
    true, pred, hits = counts.sum(axis=1), counts.sum(axis=0), np.diagonal(counts)
    with np.errstate(invalid="ignore"):
        fractions, recall, precision = counts / true[:, np.newaxis], hits / true, hits / pred
    rows: list[list[object]] = [
        [name, *(f"{count:,}" for count in own), f"{total:,}", found]
        for name, own, total, found in zip(names, counts.tolist(), true.tolist(), recall.tolist(), strict=True)
    ]
    rows.append(["precision", *(formatted(one, "score") for one in precision.tolist()), f"{true.sum():,}", None])
    heads = [("truth", "text"), *((name, "number") for name in names), ("pixels", "number"), ("recall", "score")]
    note = (
        "Out of fold; a row is a class of the truth, a column a predicted one. Each pixel counts as the class of the "
        "greatest probability, whatever thresholds were chosen. The picture: fractions of the pixels of the true class."
    )
    picture = heat_map(names, fractions.tolist(), about="fraction of the pixels of a true class, by predicted class")
    return Section(TITLE, note, Table(heads, rows), charts=[picture])
