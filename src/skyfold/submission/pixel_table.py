"""Submission tables of forecasts: one row per frame, a key column and one column per pixel."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

import numpy as np
import pandas as pd

from skyfold.errors import InvalidSubmission, OtherRows, listing
from skyfold.files import write_atomic
from skyfold.submission.formats import key_problems
from skyfold.tables import open_csv, parted_otherwise, plain
from skyfold.types import ArraySequence, IntPair, SubmissionFormat

DECIMALS = 3


@dataclass(frozen=True)
class PixelTable(SubmissionFormat):
    """key_column: of what a row is; labels: the rows of a sample, by its id, one a lead time; grid: (H, W), pixels row
    by row; greatest: no value is above it; too_great: what to do where one is; share_suspected: nothing above 1 in the
    whole table is refused.

    Values are written with three decimals.
    """

    key_column: str
    labels: Callable[[str], Sequence[str]]
    grid: IntPair
    greatest: float
    share_suspected: bool = False
    too_great: str = "Clip it"

    exact: ClassVar[bool] = False

    @property
    def pixels(self) -> int:
        return self.grid[0] * self.grid[1]

    def encode(self, ids: np.ndarray, values: ArraySequence) -> pd.DataFrame:
        """values[i]: (H, W, L) of sample ids[i]. Its L rows follow each other."""
        keys = self._keys(ids)
        table = np.empty((len(keys), self.pixels))
        row = 0
        for i in range(len(ids)):
            frames = np.moveaxis(np.asarray(values[i], dtype=np.float64), -1, 0).reshape(-1, self.pixels)
            table[row : row + len(frames)] = np.round(frames, DECIMALS)
            row += len(frames)
        if row != len(keys):
            raise InvalidSubmission(f"{row} frames for {len(keys)} rows; predict every lead time before submitting.")
        return _frame([self.key_column, *map(str, range(self.pixels))], keys, table)

    def decode(self, table: pd.DataFrame, ids: np.ndarray) -> list[np.ndarray]:
        """float32 (H, W, L) a sample. InvalidSubmission where the rows are not those of `ids`, in their order."""
        if problems := key_problems(table.iloc[:, 0].astype(str).tolist(), self._keys(ids)):
            raise OtherRows(f"rows of forecasts:\n{listing(problems)}")
        values = table.iloc[:, 1:].to_numpy(dtype=np.float32)
        decoded, row = [], 0
        for name in ids.tolist():
            leads = len(self.labels(name))
            frames = values[row : row + leads].reshape(leads, *self.grid)
            decoded.append(np.ascontiguousarray(np.moveaxis(frames, 0, -1)))
            row += leads
        return decoded

    def problems(self, table: pd.DataFrame, sample: pd.DataFrame | None) -> list[str]:
        """What the contest would refuse or score as nonsense, each with its row (the first of values is row 1)."""
        if of_header := self.header_problems(table):
            return of_header
        header = [str(column) for column in table.columns]
        problems: list[str] = []
        if sample is not None:
            problems = key_problems(*(own.iloc[:, 0].astype(str).tolist() for own in (table, sample)))
            differing = [(own, wanted) for own, wanted in zip(header, sample.columns, strict=False) if own != wanted]
            if len(sample.columns) != len(header) or differing:
                problems.append("header: other columns than the sample submission. Take its header as it is")
        values = table.iloc[:, 1:].to_numpy(dtype=np.float64)
        for row, (key, own) in enumerate(zip(table.iloc[:, 0], values, strict=True), start=1):
            if not np.isfinite(own).all():
                pixel = int(np.flatnonzero(~np.isfinite(own))[0])
                problems.append(f"row {row} ('{key}'): pixel {pixel} is NaN or infinite. Give every pixel a number")
            elif own.min() < 0 or own.max() > self.greatest:
                pixel = int(np.flatnonzero((own < 0) | (own > self.greatest))[0])
                remedy = self.too_great if own[pixel] > 0 else "Clip it"
                problems.append(
                    f"row {row} ('{key}'): pixel {pixel} is {own[pixel]:g}, expected 0 to {self.greatest:g}. {remedy}"
                )
        if self.share_suspected and not problems and 0 < values.max(initial=0.0) <= 1:
            problems.append(f"nothing is above 1: shares instead of 0 to {self.greatest:g}. Multiply them")
        return problems

    def header_problems(self, table: pd.DataFrame) -> list[str]:
        """Whether the columns are the key and every pixel."""
        first, *pixels = [str(column) for column in table.columns]
        if first != self.key_column:
            return [f"header: the first column is '{first[:30]}', expected '{self.key_column}'. Name it so"]
        if len(pixels) != self.pixels:
            return [
                f"header: {len(pixels)} columns of pixels, expected {self.pixels} for a grid of {self.grid[0]} x "
                f"{self.grid[1]}. Write every pixel, row by row"
            ]
        if len(set(pixels)) != self.pixels:
            twice = Counter(pixels).most_common(1)[0][0]
            return [f"header: two columns are called '{twice}'. Write every pixel, row by row, as the contest does"]
        numbers = [int(number[0]) for name in pixels if (number := re.search(r"\d+$", name))]
        if len(set(numbers)) == self.pixels and numbers != sorted(numbers):
            return ["header: the numbers of the pixels are not in order. Write them row by row, as the contest does"]
        return []

    def read(self, path: Path) -> pd.DataFrame:
        """The table at `path`, plain or .gz, values as float64.

        InvalidSubmission names the line that is cut off or holds something other than numbers.
        """
        with open_csv(path) as file:
            header = _header(path, file)
            read = [
                self._line(path, number, text.rstrip("\r\n"), len(header))
                for number, text in enumerate(file, start=2)
                if text.strip()
            ]
        if not read:
            raise InvalidSubmission(f"{path}: no rows under the header. Write it again.")
        return _frame(header, [key for key, _ in read], np.stack([values for _, values in read]))

    def with_header_of(self, table: pd.DataFrame, sample: pd.DataFrame) -> pd.DataFrame:
        return table.set_axis(sample.columns, axis=1) if len(sample.columns) == len(table.columns) else table

    def check_sample(self, path: Path, ids: np.ndarray) -> None:
        """Whether the sample submission at `path` has the columns and the rows that will be written for `ids`; numbers
        are not read. InvalidSubmission names the file."""
        header, keys = read_keys(path)
        if problems := self.header_problems(pd.DataFrame(columns=header)) or key_problems(keys, self._keys(ids)):
            raise InvalidSubmission(f"{path}: {len(keys)} rows, not those of the samples\n{listing(problems)}")

    def read_values(self, path: Path, ids: np.ndarray) -> list[np.ndarray]:
        """As `decode`, of the table at `path`. InvalidSubmission names the file and lists what is wrong with it."""
        table = self.read(path)
        if problems := self.problems(table, None):
            raise InvalidSubmission(f"{path}: not a table of forecasts\n{listing(problems)}")
        return self.decode_from(path, table, ids)

    def decode_from(self, path: Path, table: pd.DataFrame, ids: np.ndarray) -> list[np.ndarray]:
        """As `decode`; InvalidSubmission names the file the table was read from."""
        try:
            return self.decode(table, ids)
        except OtherRows as error:
            raise OtherRows(f"{path}: {error}") from None

    def write(self, path: Path, table: pd.DataFrame) -> None:
        """Write a CSV whole, or leave what is there."""
        values = table.iloc[:, 1:].to_numpy(dtype=np.float64)

        def write_lines(beside: Path) -> None:
            with beside.open("w", encoding="utf-8", newline="") as file:
                file.write(",".join(map(str, table.columns)) + "\n")
                for key, own in zip(table.iloc[:, 0], values, strict=True):
                    file.write(f"{key},{','.join(map(_text, own.tolist()))}\n")

        write_atomic(path, write_lines)

    def _line(self, path: Path, number: int, text: str, fields: int) -> tuple[str, np.ndarray]:
        key, _, rest = text.partition(",")
        parts = rest.split(",")
        if len(parts) != fields - 1:
            raise InvalidSubmission(
                f"{path}: line {number} ('{key[:40]}'): {len(parts) + 1} fields, the header has {fields}. Was the file "
                "cut off? Write it again."
            )
        try:
            if "_" in rest or not rest.isascii():  # Python reads 1_0 as 10, and the digits of every script
                raise ValueError(f"'{next(part for part in parts if '_' in part or not part.isascii())}'")
            return _field(key), np.array(parts, dtype=np.float64)
        except ValueError as error:
            raise InvalidSubmission(f"{path}: line {number} ('{key[:40]}'): not a number: {error}.") from None

    def _keys(self, ids: np.ndarray) -> list[str]:
        return [label for name in ids.tolist() for label in self.labels(name)]


def sample_table(folder: Path) -> Path | None:
    """Path of the sample submission in `folder`; None where there is none."""
    path = folder / "sample_submission.csv"
    return path if path.is_file() else None


def read_keys(path: Path) -> tuple[list[str], list[str]]:
    """Header and first column of a table, plain or .gz; the numbers, which take long, are not read.

    InvalidSubmission names the file that is no text, or not parted by commas.
    """
    with open_csv(path) as file:
        header = _header(path, file)
        return header, [_field(line.partition(",")[0]) for line in file if line.strip()]


def _header(path: Path, file: IO[str]) -> list[str]:
    header = list(map(_field, file.readline().rstrip("\r\n").split(",")))
    if problem := parted_otherwise(header):
        raise InvalidSubmission(f"{path}: {problem}")
    return header


def _field(text: str) -> str:
    return plain(text.strip().strip('"'))


def _frame(columns: list[str], keys: list[str], values: np.ndarray) -> pd.DataFrame:
    table = pd.DataFrame(values, columns=columns[1:])
    table.insert(0, columns[0], np.array(keys, dtype=object), allow_duplicates=True)
    return table


def _text(value: float) -> str:
    """Without a needless '.0': a forecast is mostly land and open water."""
    return str(int(value)) if value.is_integer() else repr(value)
