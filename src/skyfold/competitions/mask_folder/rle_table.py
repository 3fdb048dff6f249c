"""Ground truth in a table of run-length text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.competitions.mask_folder.truth import TruthFiles
from skyfold.data.images import SUFFIXES
from skyfold.data.labels import LabelTable
from skyfold.data.masks import RleMasks
from skyfold.errors import DataLayoutError, Problems, shortened
from skyfold.progress import note
from skyfold.rle.codec import KAGGLE, Dialect, counts_from_zero, parse_all
from skyfold.submission.formats import EMPTY_BESIDE, OVERLAP, read_table
from skyfold.tables import plain
from skyfold.types import Grid, IntPair


@dataclass(frozen=True)
class RleTruth(TruthFiles):
    """Rows of a table; the item of an image is the table, its id, and the texts of the rows of each class (K,).

    columns: of ids, or file names, and of run-length text; category: the column of labels; None: an id ends in
    `_<label>`, or, with a single class, stands alone; unlisted: whether images without a row have empty masks.
    """

    file: str
    columns: tuple[str, str]
    category: str | None
    labels: LabelTable
    dialect: Dialect = KAGGLE
    unlisted: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        return self.labels.classes

    def find(self, folder: Path, beside: str, images: Mapping[str, Path], problems: Problems) -> dict[str, Any]:
        path = folder / self.file
        columns = self.columns if self.category is None else (*self.columns, self.category)
        try:
            table = read_table(path, columns, refuse=DataLayoutError)
        except DataLayoutError as error:
            problems.add("tables that cannot be read", str(error))
            return {}
        rows = self._rows(path, table[list(columns)].itertuples(index=False), problems)
        missing = [name for name in images if name not in rows]
        if self.unlisted:
            rows |= {name: [[] for _ in self.classes] for name in missing}
        else:
            remedy = "Add one, of empty text where there is no mask, or set truth.unlisted to empty"
            problems.add("images without a row", *(f"{path}: no row for image '{name}'. {remedy}" for name in missing))
        spare = [f"{path}: no image '{name}' in the folder" for name in rows if name not in images]
        problems.add("rows without an image", *spare)
        return {name: (path, name, rows[name]) for name in images if name in rows}

    def _rows(self, path: Path, table: Iterable[tuple[str, ...]], problems: Problems) -> dict[str, list[list[str]]]:
        """Texts of each class (K,) by id."""
        rows: dict[str, list[list[str]]] = {}
        unknown, known = [], ", ".join(self.labels.places)
        for line, fields in enumerate(table, start=2):  # line 1 is the header
            name, label = self._key(fields)
            place = 0 if label is None else self.labels.places.get(label)
            if place is None and label not in self.labels.left_out:
                unknown.append(f"{path}, line {line}: '{label}' is no label of classes: {known}")
                continue
            texts = rows.setdefault(name, [[] for _ in self.classes])
            if place is not None:
                texts[place].append(fields[1])
        problems.add("rows of no class", *unknown)
        return rows

    def open(self, items: Sequence[Any], sizes: Sequence[IntPair], grid: Grid) -> dict[str, Any]:
        drawn_at = sizes[0] if len(set(sizes)) == 1 else tuple(sizes)
        texts = np.array([[self._joined(rows) for rows in some] for _, _, some in items], dtype=object)
        several = len(self.classes) > 1
        rows = np.array([[f"{name}, {label}" if several else name for label in self.classes] for _, name, _ in items])
        return {"targets": RleMasks(texts, items[0][0], rows, drawn_at, grid, self.dialect), "valid": None}

    def fractions(self, item: Any, size: IntPair) -> np.ndarray:
        masks: np.ndarray = self.open([item], [size], size)["targets"][0]
        return np.append(masks.mean(axis=(0, 1), dtype=np.float64), 0.0)

    def note_oddities(self, items: Sequence[Any], sizes: Sequence[IntPair]) -> None:
        """Say which rows of one mask contradict each other, and where the table seems to count pixels from 0; the
        latter not where images differ in size."""
        overlapping, beside = [], []
        for _, name, some in items:
            rows = [texts for texts in some if len(texts) > 1]
            if any(map(self._overlap, rows)):
                overlapping.append(f"'{name}'")
            if any(self.dialect.reads_as_empty(text) for texts in rows for text in texts):
                beside.append(f"'{name}'")
        for text, names in ((OVERLAP, overlapping), (EMPTY_BESIDE, beside)):
            if names:
                note(f"{items[0][0]}: {text}: {shortened(names)}.")
        if len(set(sizes)) == 1:
            texts = [text for _, _, some in items for rows in some for text in rows]
            segments, refused = parse_all(texts, sizes[0], self.dialect)
            if counted := counts_from_zero(texts, segments, refused, self.dialect):
                note(f"{items[0][0]}: {counted}")

    def named(self, place: int) -> str:
        return self.labels.spelled(place)

    def _key(self, fields: tuple[str, ...]) -> tuple[str, str | None]:
        """Id and label of a row."""
        name, label = fields[0], fields[2] if len(fields) > 2 else None
        if self.category is None and len(self.classes) > 1:
            name, _, label = name.rpartition("_")
        suffix = Path(name).suffix
        return plain(name[: len(name) - len(suffix)] if suffix.lower() in SUFFIXES else name), label

    def _joined(self, texts: Sequence[str]) -> str:
        """One text of the segments of all rows of an image and class; the first that is no segments as it is, for the
        decoder to refuse."""
        some = [text for text in texts if not self.dialect.reads_as_empty(text)]
        if len(some) < 2:
            return "".join(some)
        segments = [self._segments(text) for text in some]
        refused = [text for text, own in zip(some, segments, strict=True) if own is None]
        return refused[0] if refused else self._written(merged(segment for own in segments for segment in own or ()))

    def _overlap(self, texts: Sequence[str]) -> bool:
        """Whether rows of an image and class have pixels in common."""
        segments = [segment for text in texts for segment in self._segments(text) or ()]
        return sum(end - start for start, end in segments) > sum(end - start for start, end in merged(segments))

    def _segments(self, text: str) -> list[tuple[int, int]] | None:
        """(start, end) of each segment, starts as the dialect numbers them; None where it is not pairs of numbers."""
        numbers = text.split()
        if len(numbers) % 2 or not all(map(str.isdecimal, numbers)):
            return None
        segments, end = [], 0
        for start, length in zip(map(int, numbers[::2]), map(int, numbers[1::2]), strict=True):
            end = end * (self.dialect.starts == "relative") + start + length
            segments.append((end - length, end))
        return segments

    def _written(self, segments: Sequence[tuple[int, int]]) -> str:
        ends = [0, *(end for _, end in segments)] if self.dialect.starts == "relative" else [0] * len(segments)
        return " ".join(f"{start - before} {end - start}" for (start, end), before in zip(segments, ends, strict=False))


def merged(segments: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Segments (start, end) in order, those that touch or overlap as one.

    >>> merged([(7, 9), (1, 4), (3, 5)])
    [(1, 5), (7, 9)]
    """
    found: list[tuple[int, int]] = []
    for start, end in sorted(segments):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found
