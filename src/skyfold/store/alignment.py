"""Whether runs may be blended: the same rows, classes, shape, unit and folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skyfold.errors import OofMismatch
from skyfold.store.folds import id_difference
from skyfold.store.rows import row_shape
from skyfold.store.runs import StoredRun
from skyfold.types import IntPair

AGAIN = "Train the odd one again with the same folds.csv, or import it again if it was imported."
# What members must have in common, and what to do where they have not; a gate shares folds and classes.
REMEDIES = {
    "task": "They cannot be members of one blend. Name a classifier in classifier_gate.",
    "unit": "Members of one blend predict in one unit; make the odd one again.",
    "shape": "Members of one blend predict on the competition's grid; make the odd one again.",
    "folds": AGAIN,
    "classes": AGAIN,
}


def require_aligned(
    runs: Sequence[StoredRun], gate: StoredRun | None = None, grid: IntPair | None = None, *, any_classes: bool = False
) -> None:
    """Check that row i is the same sample in all runs, out of fold and in the test part; OofMismatch otherwise.

    The gate, a classifier, must agree in ids, classes and folds; its values are (n, K). grid: (H, W) of the ground
    truth, on which runs are stored whatever size their networks read; None: not known. any_classes: the runs may have
    learned different ones.
    """
    first = runs[0]
    for run in runs:
        stored_on = run.oof.values.shape[1:3]
        if grid is not None and run.oof.values.ndim == 4 and stored_on != tuple(grid):
            raise OofMismatch(
                f"run '{run.info.name}' is stored on {stored_on[0]} x {stored_on[1]} pixels, the competition's grid is "
                f"{grid[0]} x {grid[1]}. Train it again with --restart; predictions are resized to the grid then."
            )
    for run in [*runs[1:], *([gate] if gate else [])]:
        ours, theirs = _properties(first), _properties(run)
        for what in ("folds", "classes") if run is gate else REMEDIES:
            if ours[what] != theirs[what] and not (what == "classes" and any_classes):
                raise OofMismatch(
                    f"{what} differ: run '{first.info.name}' has {ours[what]}, run '{run.info.name}' has "
                    f"{theirs[what]}. {REMEDIES[what]}"
                )
        _require_same_ids(first, run)
        if run is not gate:
            _require_same_sizes(first, run)
    if gate is not None and gate.oof.values.ndim != 2:
        raise OofMismatch(
            f"gate '{gate.info.name}' has task: {gate.info.task}; a classifier gate is a run with task: classification."
        )


def _properties(run: StoredRun) -> dict[str, Any]:
    info = run.info
    own = {"task": info.task, "unit": info.unit, "classes": info.classes, "folds": info.fingerprint.folds}
    return {**own, "shape": run.oof.values.shape[1:-1]}


def _require_same_sizes(first: StoredRun, run: StoredRun) -> None:
    for one, other in ((first.oof, run.oof), (first.test, run.test)):
        if one is None or other is None or None not in (*one.values.shape, *other.values.shape):
            continue
        for row, name in enumerate(one.ids):
            ours, theirs = row_shape(one.values, row)[:-1], row_shape(other.values, row)[:-1]
            if ours != theirs:
                raise OofMismatch(
                    f"sizes differ: '{name}' is {ours[0]} x {ours[1]} in run '{first.info.name}', {theirs[0]} x "
                    f"{theirs[1]} in run '{run.info.name}'. {REMEDIES['shape']}"
                )


def _require_same_ids(first: StoredRun, run: StoredRun) -> None:
    for part, one, other in [("oof", first.oof, run.oof), ("test", first.test, run.test)]:
        names = f"run '{first.info.name}'", f"run '{run.info.name}'"
        if one is None and other is None:
            continue
        if one is None or other is None:
            has, lacks = names if other is None else names[::-1]
            raise OofMismatch(
                f"{has} has {part} predictions, {lacks} has none. Run `skyfold train` on it again, with the test part "
                "in place; predictions that were imported are imported again, with --test FILE."
            )
        if difference := id_difference(one.ids, other.ids, names):
            raise OofMismatch(f"{part}: {difference}. {AGAIN}")
