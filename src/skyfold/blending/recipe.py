"""The recipe of a blend: how its rows are made from the rows of its members, fitted values included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from skyfold.blending.combine import combine
from skyfold.blending.merge import Merge
from skyfold.blending.stack import LogisticStack
from skyfold.files import digest
from skyfold.store.rows import Shape, row_shape
from skyfold.types import JsonDict


@dataclass(frozen=True)
class Combination:
    """weights: of a mean, one a member, None: equal; stack: the regression of how="stack".

    merge: merges members that learned different classes into one map; `how` is "mean" then.
    """

    how: Literal["mean", "stack"]
    weights: tuple[float, ...] | None = None
    stack: LogisticStack | None = None
    merge: Merge | None = None

    def rows(self, arrays: Sequence[np.ndarray], rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (rows of the chunk, their blend), chunk by chunk, for all of `rows`; arrays: one a member."""
        if self.stack is not None:
            return self.stack.combine(arrays, rows)
        if self.merge is not None:
            return self.merge.rows(arrays, rows)
        return combine(arrays, self.weights, rows=rows)

    def classes(self, arrays: Sequence[np.ndarray]) -> int:
        """Number of classes of its rows."""
        return len(self.merge.sources) if self.merge is not None else int(arrays[0].shape[-1])

    def row_shape(self, arrays: Sequence[np.ndarray]) -> Shape | list[Shape]:
        """Shape of each of its rows; a list of shapes, one a row, where they differ."""
        first, classes = arrays[0], self.classes(arrays)
        if None in first.shape:
            return [(*row_shape(first, row)[:-1], classes) for row in range(len(first))]
        return *first.shape[1:-1], classes

    def to_dict(self) -> JsonDict:
        """What `blend.json` holds of it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: JsonDict) -> Combination:
        """The combination of `to_dict`, also by way of JSON; numbers come back exactly."""
        given = {name: _tuples(value) for name, value in values.items()}
        kinds = {"stack": LogisticStack, "merge": Merge}
        return cls(**{name: kinds[name](**v) if name in kinds and v is not None else v for name, v in given.items()})

    def hash(self) -> str:
        """Digest of all fitted values."""
        return digest(repr(self))


def _tuples(value: Any) -> Any:
    """Lists, which JSON has in the place of tuples, as tuples, inside mappings, too."""
    if isinstance(value, dict):
        return {name: _tuples(one) for name, one in value.items()}
    return tuple(_tuples(one) for one in value) if isinstance(value, list | tuple) else value


class BlendedRows:
    """The rows of a blend that is not stored, computed from its members' rows on access.

    Read like an array (N, ...) by row, slice or list of rows.
    """

    def __init__(self, combination: Combination, arrays: Sequence[np.ndarray]) -> None:
        self.combination, self.arrays = combination, arrays
        self.shape = (*arrays[0].shape[:-1], combination.classes(arrays))
        self.dtype, self.ndim = arrays[0].dtype, arrays[0].ndim

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        rows = np.atleast_1d(np.arange(len(self))[index])
        parts = [values for _, values in self.combination.rows(self.arrays, rows)]
        blended = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return blended[0] if isinstance(index, int | np.integer) else blended

    def row_shape(self, row: int) -> Shape:
        """Shape of row i."""
        return *row_shape(self.arrays[0], row)[:-1], self.shape[-1]
