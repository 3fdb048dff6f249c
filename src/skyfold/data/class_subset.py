"""A competition restricted to some of its classes, and the check that classes exclude each other.

Where each pixel has one class of K, a network may learn all of them, or one network each class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skyfold.competition import Competition
from skyfold.data.cache import fingerprint_of
from skyfold.data.masks import ClassTable, MaskFiles
from skyfold.errors import ConfigError
from skyfold.files import digest
from skyfold.plugins import nearest
from skyfold.types import ArraySequence, Samples

LOOKED_AT = 16  # samples, evenly over all


def with_classes(competition: Competition, names: Sequence[str]) -> Competition:
    """`competition` with the classes `names` only, in this order; unchanged where none is named.

    Its samples have targets of these classes; the format of submissions is unchanged. ConfigError where a class is
    unknown or named twice.
    """
    chosen = tuple(names)
    if not chosen or chosen == competition.classes:
        return competition
    for name in chosen:
        if name not in competition.classes:
            raise ConfigError(
                f"classes: there is no class '{name}'{nearest(name, list(competition.classes))}. There are: "
                f"{', '.join(competition.classes)}."
            )
    if len(set(chosen)) != len(chosen):
        raise ConfigError(f"classes: name each class once, not {', '.join(chosen)}.")

    def load(folder: Path, part: str) -> Samples:
        return of_classes(competition.load(folder, part), competition.classes, chosen)

    return replace(competition, classes=chosen, load=load, colours=None)


def of_classes(samples: Samples, known: Sequence[str], chosen: Sequence[str]) -> Samples:
    """`samples` of a competition with the classes `known`, with the targets of those `chosen` only, in this order.

    Mask files stay mask files, of fewer classes.
    """
    targets, places = samples.targets, tuple(known.index(name) for name in chosen)
    if targets is None or tuple(chosen) == tuple(known):
        return samples
    if isinstance(targets, MaskFiles):
        return replace(samples, targets=replace(targets, table=_of_places(targets.table, places)))
    return replace(samples, targets=Planes(targets, places))


@dataclass(frozen=True)
class Planes:
    """Some planes of targets as an ArraySequence, decoded on access: `planes[i]` is (H, W, K)."""

    targets: ArraySequence
    places: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> np.ndarray:
        return np.ascontiguousarray(self.targets[index][..., list(self.places)])

    def fingerprint(self) -> str:
        """Changes with the targets and the planes."""
        return digest(fingerprint_of(self.targets), repr(self.places))


def require_one_class(samples: Samples, classes: Sequence[str], *, why: str) -> None:
    """Check in a few samples that each valid pixel has exactly one of `classes`; else ConfigError.

    why: the key of the config that requires it, for the message.
    """
    assert samples.targets is not None
    for row in np.unique(np.linspace(0, len(samples) - 1, min(LOOKED_AT, len(samples))).astype(int)):
        counts = samples.targets[row].astype(bool).sum(axis=-1)
        counted = np.ones(counts.shape, dtype=bool) if samples.valid is None else samples.valid[row]
        none, several = int((counted & (counts == 0)).sum()), int((counted & (counts > 1)).sum())
        if none or several:
            found = f"{several} pixels of several classes" if several else f"{none} pixels of no class"
            raise ConfigError(
                f"{why} is for data in which each pixel has one class of {', '.join(classes)}. Sample "
                f"'{samples.ids[row]}' has {found}."
                + ("" if several else " Name the class of these pixels in the config, too.")
            )


def _of_places(table: ClassTable, places: tuple[int, ...]) -> ClassTable:
    """The codes of all other classes become background."""
    names = list(table.classes)
    others = [code for place, name in enumerate(names) if place not in places for code in table.classes[name]]
    return replace(
        table,
        classes={names[place]: table.classes[names[place]] for place in places},
        background=(*table.background, *others),
    )
