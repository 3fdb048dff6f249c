"""Ground truth as masks on a competition's grid, decoded on access from run-length text or from mask images."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.data.images import files_stamp
from skyfold.data.mask_planes import LARGEST, read_plane
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission
from skyfold.files import digest
from skyfold.rle.codec import KAGGLE, Dialect, decode_many
from skyfold.types import Grid, IntPair

NONE, UNDEFINED, UNKNOWN = 253, 254, 255
RESAMPLING = "middle"  # what `resample` takes; caches of another rule are made again
ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class RleMasks:
    """Run-length text as an ArraySequence: `masks[i]` is uint8 0/1 (H, W, K) on `grid`.

    texts (n, K) str or None for an empty mask; drawn_at: the (H, W) of their masks, one for all or one each; rows (n,
    K): the names of the texts in the table at `source`, for error messages.
    """

    texts: np.ndarray
    source: Path
    rows: np.ndarray
    drawn_at: IntPair | tuple[IntPair, ...]
    grid: Grid
    dialect: Dialect = KAGGLE

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> np.ndarray:
        try:
            planes = decode_many(list(self.texts[index]), self._size(index), self.dialect, rows=list(self.rows[index]))
        except InvalidSubmission as error:
            raise DataLayoutError(f"{self.source}: {error}") from None
        return np.stack([resample(plane.view(np.uint8), self.grid) for plane in planes], axis=-1)

    def sources(self, index: int) -> tuple[str, ...]:
        """The texts, the size they are drawn at, and the grid."""
        size = repr((self._size(index), self.grid))
        return *(text or "" for text in self.texts[index].tolist()), f"{size}{self._written}"

    def fingerprint(self) -> str:
        """Changes with the texts, their rows and the grid."""
        text = "\n".join(f"{row}\t{text}" for row, text in zip(self.rows.ravel(), self.texts.ravel(), strict=True))
        return digest(text, repr((self.drawn_at, self.grid)) + self._written, RESAMPLING)

    def _size(self, index: int) -> IntPair:
        several = isinstance(self.drawn_at[0], tuple)
        return self.drawn_at[index] if several else self.drawn_at  # type: ignore[return-value]

    @property
    def _written(self) -> str:
        """What differs from the default, for digests."""
        return "" if self.dialect == KAGGLE else repr(self.dialect)


@dataclass(frozen=True)
class ClassTable:
    """Which codes of a mask image mean what. A code is a grey value 0..65535 or a colour '#rrggbb'; all of one kind.

    classes: codes of each class, in the order of the last axis of targets; background: codes of no class;
    ignore_value: codes of pixels that count in no loss and no score.
    """

    classes: Mapping[str, tuple[int, ...]]
    background: tuple[int, ...]
    ignore_value: tuple[int, ...]
    colours: bool

    @classmethod
    def parse(cls, classes: Mapping[str, Any], background: Any, ignore_value: Any) -> ClassTable:
        """From a config: each value a code or a list of codes, None for no code. ConfigError where they conflict.

        >>> ClassTable.parse({"cloud": 255}, background=100, ignore_value=0).classes
        {'cloud': (255,)}
        """
        if classes and not (isinstance(classes, Mapping) and all(isinstance(name, str) for name in classes)):
            raise ConfigError(
                f"data.options.classes: expected names and their mask values such as {{cloud: 255}}, got {classes!r}. "
                "Names are text: quote one that YAML takes for a number or for yes or no."
            )
        if not classes:
            raise ConfigError("classes: name at least one class and its mask value, for instance classes: {cloud: 255}")
        named = {**{f"class '{name}'": value for name, value in classes.items()}, "ignore_value": ignore_value}
        kinds = {isinstance(code, str) for value in named.values() for code in _listed(value)}
        if len(kinds) > 1:
            raise ConfigError("mask values: give all of them as grey values or all of them as colours '#rrggbb'.")
        colours = kinds == {True}
        # 0 in a config means black in both kinds, so that the usual background needs no other spelling
        named["background"] = "#000000" if colours and background == 0 else background
        codes = {name: tuple(_code(name, code, colours) for code in _listed(value)) for name, value in named.items()}
        if without := [name for name in classes if not codes[f"class '{name}'"]]:
            raise ConfigError(f"data.options.classes: give '{without[0]}' a mask value; no pixel would be of it.")
        owner: dict[int, str] = {}
        for name, values in codes.items():
            for code in values:
                if code in owner:
                    spelled = f"#{code:06x}" if colours else code
                    raise ConfigError(f"mask value {spelled} belongs to both {owner[code]} and {name}.")
                owner[code] = name
        return cls(
            classes={name: codes[f"class '{name}'"] for name in classes},
            background=codes["background"],
            ignore_value=codes["ignore_value"],
            colours=colours,
        )

    def read(self, path: Path) -> np.ndarray:
        """uint8 (H, W): the place of each pixel's class, NONE or UNDEFINED; DataLayoutError for codes of none."""
        plane = read_plane(path, colours=self.colours)
        meaning = np.empty(plane.shape[:2], dtype=np.uint8)
        for top in range(0, len(plane), ROWS_AT_ONCE):  # codes of colours take more memory than the image
            rows = slice(top, top + ROWS_AT_ONCE)
            meaning[rows] = self._places(self._codes(plane[rows]))
        unknown = self._codes(plane[meaning == UNKNOWN])
        if len(unknown):
            found, counts = np.unique(unknown, return_counts=True)
            shown = ", ".join(map(self.spelled, found[np.argsort(-counts)][:5].tolist()))
            raise DataLayoutError(
                f"{path}: {len(unknown)} pixels have values that no class has: {shown}"
                f"{', ...' if len(found) > 5 else ''}. Mend the mask, or say in data.options what they mean."
            )
        return meaning

    def spelled(self, code: int) -> str:
        """A code as in a config."""
        return f"#{code:06x}" if self.colours else str(code)

    def _codes(self, pixels: np.ndarray) -> np.ndarray:
        """Grey values as they are; int32 0xrrggbb of colours (..., 3)."""
        if not self.colours:
            return pixels
        red, green, blue = (pixels[..., band].astype(np.int32) for band in range(3))
        return np.asarray(red << 16 | green << 8 | blue)

    def _places(self, codes: np.ndarray) -> np.ndarray:
        places = np.full(codes.shape, UNKNOWN, dtype=np.uint8)
        for place, values in [
            *enumerate(self.classes.values()),
            (NONE, self.background),
            (UNDEFINED, self.ignore_value),
        ]:
            for code in values:
                places[codes == code] = place
        return places


@dataclass(frozen=True)
class MaskFiles:
    """Mask images as an ArraySequence: `masks[i]` is uint8 0/1 (H, W, K) on `grid`."""

    paths: Sequence[Path]
    table: ClassTable
    grid: Grid

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        meaning = resample(self.table.read(self.paths[index]), self.grid)
        return (meaning[..., np.newaxis] == np.arange(len(self.table.classes))).astype(np.uint8)

    def sources(self, index: int) -> tuple[Path, str]:
        """The file, and what its values mean on which grid."""
        table = self.table
        meaning = (tuple(table.classes.items()), table.background, table.ignore_value, table.colours)
        return self.paths[index], repr((meaning, self.grid and tuple(self.grid)))

    def fingerprint(self) -> str:
        """Changes with the files, the class table and the grid."""
        return digest(files_stamp(self.paths), repr((self.table, self.grid)), RESAMPLING)


@dataclass(frozen=True)
class DefinedPixels:
    """Where mask images are defined: `defined[i]` is bool (H, W) on the grid of `masks`."""

    masks: MaskFiles

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> np.ndarray:
        meaning = self.masks.table.read(self.masks.paths[index])
        return np.asarray(resample(meaning, self.masks.grid) != UNDEFINED)

    def fingerprint(self) -> str:
        """That of the masks."""
        return self.masks.fingerprint()


def resample(plane: np.ndarray, grid: Grid) -> np.ndarray:
    """uint8 (H, W) or (H, W, K) codes onto `grid`, None: as they are; each place that of the pixel in the middle of its
    area.

    Where the middle lies between two pixels the upper or left one is taken, at most half a pixel off. One pixel's code,
    since a mean would be of no class.
    """
    if grid is None or plane.shape[:2] == grid:
        return plane
    rows, columns = map(_middles, grid, plane.shape)
    return np.ascontiguousarray(plane[rows][:, columns])


def _middles(places: int, pixels: int) -> slice | np.ndarray:
    """The pixel in the middle of each place; as a slice, which is fast, where the places are of whole pixels."""
    step, rest = divmod(pixels, places)
    if not rest:
        return slice((step - 1) // 2, None, step)
    middles: np.ndarray = ((2 * np.arange(places) + 1) * pixels - 1) // (2 * places)
    return middles


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _code(owner: str, code: Any, colours: bool) -> int:
    if colours and isinstance(code, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", code):
        return int(code[1:], 16)
    if not colours and isinstance(code, int) and not isinstance(code, bool) and 0 <= code <= LARGEST:
        return code
    expected = "a colour '#rrggbb'" if colours else f"a grey value 0 to {LARGEST}"
    raise ConfigError(f"mask value {code!r} of {owner}: expected {expected}, as for the other values.")
