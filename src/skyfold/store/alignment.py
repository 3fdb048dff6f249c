"""Whether runs may be blended: the same rows, classes, shape, unit and folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skyfold.errors import OofMismatch
from skyfold.store.runs import StoredRun
from skyfold.types import IntPair


def require_aligned(
    runs: Sequence[StoredRun], gate: StoredRun | None = None, grid: IntPair | None = None, *, any_classes: bool = False
) -> None:
    """Pass when row i means the same sample in all runs, out of fold and in the test part; else OofMismatch.

    The gate, a classifier, must agree in ids, classes and folds; its values are (n, K). grid: (H, W) of the truth, on
    which runs are stored whatever size their networks see; None: it is not known. any_classes: the runs need not know
    the same ones.
    """
    first = runs[0]
    for run in runs:
        if grid is not None and run.oof.values.ndim == 4 and run.oof.values.shape[1:3] != tuple(grid):
            height, width = run.oof.values.shape[1:3]
            raise OofMismatch(
                f"run '{run.info.name}' is stored on {height} x {width} pixels, the competition's grid is "
                f"{grid[0]} x {grid[1]}. Train it again with --restart; predictions are resized to the grid then."
            )
    for run in runs[1:]:
        if run.info.task != first.info.task:
            raise OofMismatch(
                f"run '{run.info.name}' has task: {run.info.task}, run '{first.info.name}' task: {first.info.task}; "
                "they cannot be members of one blend. Name a classifier in classifier_gate."
            )
        for what, one, other in [
            ("unit", first.info.unit, run.info.unit),
            ("shape", first.oof.values.shape[1:-1], run.oof.values.shape[1:-1]),
        ]:
            if one != other:
                raise OofMismatch(
                    f"{what} differs: run '{first.info.name}' has {one}, run '{run.info.name}' has {other}. "
                    "Runs of one blend predict on the competition's grid; retrain the odd one."
                )
    for run in [*runs[1:], *([gate] if gate else [])]:
        classes = () if any_classes else [("classes", first.info.classes, run.info.classes)]
        for what, a, b in [("folds", first.info.fingerprint.folds, run.info.fingerprint.folds), *classes]:
            if a != b:
                raise OofMismatch(
                    f"{what} differ: run '{first.info.name}' has {a}, run '{run.info.name}' has {b}. "
                    "Retrain the odd one with the same folds.csv."
                )
        _require_same_ids(first, run)
    if gate is not None and gate.oof.values.ndim != 2:
        raise OofMismatch(
            f"gate '{gate.info.name}' has task: {gate.info.task}; a classifier gate is a run with task: classification."
        )


def _require_same_ids(first: StoredRun, run: StoredRun) -> None:
    for part, one, other in [("oof", first.oof, run.oof), ("test", first.test, run.test)]:
        if one is None or other is None:
            if one is not other:
                has, lacks = (first, run) if other is None else (run, first)
                raise OofMismatch(
                    f"run '{has.info.name}' has {part} predictions, run '{lacks.info.name}' has none. "
                    "Run `skyfold train` on it again, with the test part in place."
                )
            continue
        if not np.array_equal(one.ids, other.ids):
            lacking = sorted(set(one.ids.tolist()) ^ set(other.ids.tolist()))
            detail = f"first in only one of them '{lacking[0]}'" if lacking else "in another order"
            raise OofMismatch(
                f"{part}: run '{first.info.name}' has {len(one.ids)} ids, run '{run.info.name}' has {len(other.ids)}; "
                f"{detail}. Retrain with the same folds.csv."
            )
