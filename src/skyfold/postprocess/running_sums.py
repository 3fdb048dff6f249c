"""Sums over ordered rows at every cut: the first rows keep their masks, the others are emptied."""

from __future__ import annotations

import numpy as np

from skyfold.compiled import compiled


def sums_at_cuts(values: np.ndarray, emptied: np.ndarray, kept: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Sum over the rows at each cut, float64 (C, S, T).

    values: float64 (n, S, T), of the masks; emptied: (n, S), of emptied ones; kept: bool (n,), False: emptied at every
    cut; cuts: (C,) ascending, how many first rows keep their masks.
    """
    sums = np.empty((len(cuts), *values.shape[1:]))
    _sums_at_cuts(values, emptied, kept, cuts, sums)
    sums += emptied.sum(axis=0)[:, None]
    return sums


@compiled
def _sums_at_cuts(values, emptied, kept, cuts, sums):  # type: ignore[no-untyped-def]
    """As `sums_at_cuts`, less the sum of `emptied`."""
    running = np.zeros(values.shape[1:])
    done = 0
    for place in range(len(cuts)):
        for i in range(done, cuts[place]):
            if kept[i]:
                for s in range(values.shape[1]):
                    for t in range(values.shape[2]):
                        running[s, t] += values[i, s, t] - emptied[i, s]
        done = cuts[place]
        sums[place] = running
