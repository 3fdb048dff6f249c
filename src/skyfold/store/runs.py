"""A run's folder `oof/<data name>/<run>/`: what made it, its out-of-fold rows and its test rows.

    run.json    name, target, classes, unit, grid, config and its hash, hash of the folds, of pretrained weights, scores
    oof/        RowStore, a row a training sample, predicted by the models that did not see it
    test/       RowStore, a row a test sample, averaged over folds and seeds (absent where there is no test part)

Reading refuses what is missing, of another shape, or made with other folds, and says which.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.errors import DamagedFile, OofMismatch
from skyfold.files import read_json, write_json
from skyfold.store.fingerprint import Fingerprint
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.types import JsonDict, Predictions

RETRAIN = "skyfold train CONFIG"
# Parts of a fingerprint that a stored run cannot be resumed with another value of, in words.
CHANGES = {
    "rows": "another config",
    "fit": "another config",
    "blend": "other members",
    "folds": "another folds.csv",
    "data": "other training data",
    "init_weights": "other initial weights",
    "pseudo_labels": "other pseudo-labels: the teacher or the images have changed",
}


@dataclass(frozen=True)
class RunInfo:
    """Contents of `run.json`.

    kind    "run" (trained, or a model family without training), "blend", or "forecast" of a baseline family
    task    what is predicted, a module of `tasks`
    config  as it was when the run was begun
    """

    name: str
    kind: str
    task: str
    classes: tuple[str, ...]
    unit: str
    config: JsonDict
    fingerprint: Fingerprint
    scores: JsonDict


@dataclass(frozen=True)
class StoredRun:
    """A finished run, its predictions memory-mapped; `test` is None where the competition has no test part."""

    folder: Path
    info: RunInfo
    oof: Predictions
    test: Predictions | None


def begin_run(
    folder: Path,
    *,
    name: str,
    kind: str,
    task: str,
    classes: tuple[str, ...],
    unit: str,
    config: JsonDict,
    fingerprint: Fingerprint,
    restart: bool = False,
) -> RunInfo:
    """Write `run.json`, or resume the run that is there. A config that differs in prediction keys only, so that the
    parts `fit` agree, replaces the stored one; rows are then predicted again.

    OofMismatch where another part differs, or where rows are there without the `run.json` that says what they are.
    """
    info = RunInfo(name, kind, task, classes, unit, config, fingerprint, {})
    path = folder / "run.json"
    if path.is_file() and not restart:
        there = read_info(folder)
        same_weights = there.fingerprint.fit is not None and there.fingerprint.fit == fingerprint.fit
        if same_weights and there.fingerprint.different(fingerprint, "rows"):
            there = replace(
                there,
                config=config,
                fingerprint=there.fingerprint.with_parts(rows=str(fingerprint.rows)),
                scores=_of_folds(there.scores),
            )
            _write_info(folder, there)
        for part in there.fingerprint.different(fingerprint, *CHANGES):
            what = CHANGES[part] + (_changed(there.config, config) if part in ("rows", "fit") else "")
            remedy = f"start over with {RETRAIN} --restart" if kind == "run" else f"delete {folder}"
            raise OofMismatch(
                f"{folder}: this {kind} was begun with {what}. Give the new one another name, or {remedy}."
            )
        return there
    if not restart and (folder / "oof" / "rows.json").is_file():
        raise OofMismatch(
            f"{folder}: there are rows but no run.json, which says what they were made from. Restore it from a backup, "
            f"or {_remake(folder)}."
        )
    _write_info(folder, info)
    return info


def record_scores(folder: Path, scores: JsonDict) -> None:
    """Add `scores` to those in `run.json`."""
    info = read_info(folder)
    _write_info(folder, replace(info, scores={**info.scores, **scores}))


def open_rows(
    folder: Path,
    part: str,
    info: RunInfo,
    *,
    ids: np.ndarray,
    shape: tuple[int, ...],
    dtype: str,
    checksum: str = "",
) -> RowStore:
    """The rows of part "oof" or "test" of the run in `folder`, to write into; rows done before stay done.

    content: digest of the images that are predicted; rows of other images are begun afresh.
    """
    fingerprint = f"{_of_rows(info)} {checksum}".strip()
    return RowStore.open_or_create(folder / part, ids=ids, shape=shape, dtype=dtype, fingerprint=fingerprint)


def read_info(folder: Path) -> RunInfo:
    path = folder / "run.json"
    if not path.is_file():
        raise OofMismatch(f"{folder}: no run here (run.json is missing). Train it first: skyfold train CONFIG.")
    try:
        values: dict[str, Any] = read_json(path)
    except DamagedFile:
        raise DamagedFile(f"{path}: not complete JSON. Restore it from a backup, or {_remake(folder)}.") from None
    kinds = {"classes": list, "config": dict, "scores": dict, "fingerprint": dict}
    names = [field.name for field in fields(RunInfo)]
    if (
        not isinstance(values, dict)
        or set(values) != set(names)
        or not all(isinstance(values[name], kinds.get(name, str)) for name in names)
    ):
        raise DamagedFile(f"{path}: run.json is corrupt or was edited. Restore it from a backup, or {_remake(folder)}.")
    fingerprint = Fingerprint.from_json(values["fingerprint"], str(path))
    return RunInfo(**{**values, "classes": tuple(values["classes"]), "fingerprint": fingerprint})


def read_run(folder: Path, folds: Folds) -> StoredRun:
    """Open a finished run; every row that a fold validates must be there and hold what was written.

    OofMismatch names the run and the first row that is missing, of another folds.csv, or damaged.
    """
    info = read_info(folder)
    if info.fingerprint.folds != folds.hash():
        raise OofMismatch(
            f"run '{info.name}' was made with other folds ({info.fingerprint.folds}) than folds.csv ({folds.hash()}). "
            "Its scores would be leaked; retrain it with --restart."
        )
    oof = _read_rows(folder / "oof", info)
    if not np.array_equal(oof.ids, folds.ids):
        raise OofMismatch(_id_difference(info.name, oof.ids, "folds.csv", folds.ids))
    missing = np.flatnonzero((folds.fold >= 0) & ~oof.has_prediction)
    if len(missing):
        lacking = sorted(set(folds.fold[missing].tolist()))
        raise OofMismatch(
            f"run '{info.name}' has no out-of-fold prediction for {len(missing)} of {len(oof.ids)} ids, first "
            f"'{oof.ids[missing[0]]}' (folds {lacking}). Go on with `skyfold train`, the same command resumes."
        )
    test = None
    if (folder / "test" / "rows.json").is_file():
        test = _read_rows(folder / "test", info)
        if not test.has_prediction.all():
            first = test.ids[~test.has_prediction][0]
            raise OofMismatch(
                f"run '{info.name}' has no test prediction for {(~test.has_prediction).sum()} of {len(test.ids)} ids, "
                f"first '{first}'. Go on with `skyfold train`, the same command resumes."
            )
    return StoredRun(folder, info, oof, test)


def _read_rows(folder: Path, info: RunInfo) -> Predictions:
    rows = RowStore.open(folder)
    if not rows.fingerprint.startswith(_of_rows(info)):
        raise OofMismatch(f"{folder}: these rows belong to another config or other folds than run.json says. Retrain.")
    rows.verify()
    return Predictions(ids=rows.ids, values=rows.values, has_prediction=rows.complete, unit=info.unit)


def _of_rows(info: RunInfo) -> str:
    return info.fingerprint.of("rows", "folds", "blend").digest()


def _remake(folder: Path) -> str:
    return f"delete {folder} and make it again (a trained run: {RETRAIN} --restart)"


def _write_info(folder: Path, info: RunInfo) -> None:
    values = {**vars(info), "classes": list(info.classes), "fingerprint": info.fingerprint.to_json()}
    write_json(folder / "run.json", values)


def _changed(old: JsonDict, new: JsonDict) -> str:
    """Up to three keys whose values differ, as text; '' where none does."""
    keys = _differing(old, new, "")
    return f" (changed: {', '.join(keys[:3])})" if keys else ""


def _of_folds(scores: JsonDict) -> JsonDict:
    """What training measured of its folds, without what was measured of the rows."""
    return {name: score for name, score in scores.items() if re.fullmatch(r"fold\d+", name)}


def _differing(old: JsonDict, new: JsonDict, prefix: str) -> list[str]:
    keys = []
    for key in sorted({*old, *new}):
        one, other = old.get(key), new.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            keys += _differing(one, other, f"{prefix}{key}.")
        elif one != other:
            keys.append(f"{prefix}{key}")
    return keys


def _id_difference(name: str, ids: np.ndarray, other: str, wanted: np.ndarray) -> str:
    lacking = sorted(set(wanted.tolist()) - set(ids.tolist()))
    extra = sorted(set(ids.tolist()) - set(wanted.tolist()))
    if lacking:
        detail = f"first missing in '{name}': '{lacking[0]}'"
    elif extra:
        detail = f"first missing in '{other}': '{extra[0]}'"
    else:
        detail = "the same ids in another order"
    return f"run '{name}' has {len(ids)} ids, {other} has {len(wanted)}; {detail}. Retrain with the same folds.csv."
