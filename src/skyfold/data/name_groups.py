"""Groups that the names of samples tell of (a scene, a flight, a day), where images bear them out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST = 0.2  # of the correlation of images: by how much more images of a group are alike than others
PAIRS = 20_000


@dataclass(frozen=True)
class NameGroups:
    """groups: (n,) str, a part of each name; part: which, in words; alike: mean correlation within groups minus that
    between them."""

    groups: np.ndarray
    part: str
    alike: float


def guessed_groups(ids: Sequence[str], coarse: np.ndarray, seed: int = 0) -> NameGroups | None:
    """The division by a part of the names within which images are most alike; None where none tells.

    coarse: float32 (n, D), unit vectors whose products say how alike images are.
    """
    names = [re.split(r"[^A-Za-z0-9]+", name.rsplit(".", 1)[0]) for name in ids]
    fields = min(map(len, names))
    parts = {f"part {i + 1} of the name": [name[i] for name in names] for i in range(fields)}
    parts |= {f"part {i + 1} of the name from its end": [name[-i - 1] for name in names] for i in range(fields)}
    parts |= {f"the first {i} parts of the name": ["_".join(name[:i]) for name in names] for i in range(2, fields)}
    parts["the name without the digits at its end"] = [re.sub(r"\d+$", "", "_".join(name)) for name in names]
    found = None
    for part, values in parts.items():
        groups = np.array(values)
        count = len(np.unique(groups))
        if not 2 <= count <= 0.8 * len(groups):
            continue
        alike = _alike(groups, coarse, np.random.default_rng(seed))
        if alike >= LEAST and (found is None or alike > found.alike):
            found = NameGroups(groups, part, alike)
    return found


def _alike(groups: np.ndarray, coarse: np.ndarray, rng: np.random.Generator) -> float:
    """Mean product within groups minus that between them, of at most PAIRS pairs of each kind."""
    order = np.argsort(groups, kind="stable")
    one, other = order[:-1], order[1:]
    inside = groups[one] == groups[other]
    within = (coarse[one[inside]] * coarse[other[inside]]).sum(axis=1)
    a, b = rng.integers(0, len(groups), (2, PAIRS))
    apart = groups[a] != groups[b]
    between = (coarse[a[apart]] * coarse[b[apart]]).sum(axis=1)
    return float(within.mean() - between.mean()) if len(within) > 1 and len(between) else 0.0
