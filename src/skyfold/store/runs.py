"""The folder of a run, `oof/<data name>/<run>/`: run.json, out-of-fold (OOF) rows and test rows.

    run.json    a `RunInfo`: name, task, classes, unit, config, fingerprint and scores
    oof/        RowStore with a row per training sample, predicted by the models that were not trained on it
    test/       RowStore with a row per test sample, averaged over folds and seeds (none without a test part)
    test_folds/ fold<f>/, a RowStore with a row per test sample, of fold f only (of runs imported fold by fold)

Runs with missing rows, other shapes or other folds are refused.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
from pydantic import ValidationError

from skyfold import plugins
from skyfold.config.merging import dotted
from skyfold.config.run import RunConfig
from skyfold.errors import ConfigError, DamagedFile, OofMismatch
from skyfold.store.contents import FILE as CONTENTS
from skyfold.store.fingerprint import VERSION, Fingerprint
from skyfold.store.folds import Folds, id_difference
from skyfold.store.records import BlendRecord, RunRecord, read_record, write_record
from skyfold.store.rows import RowStore, Shape
from skyfold.types import JsonDict, Predictions

TEST_FOLDS = "test_folds"
RETRAIN = "skyfold train CONFIG"
GO_ON = {"run": RETRAIN, "forecast": "skyfold run CONFIG"}  # adds samples that came later to what is there, by kind
# Parts of a fingerprint that a stored run cannot be resumed with another value of, in words.
CHANGES = {
    "rows": "another config",
    "fit": "another config",
    "blend": "other members",
    "folds": "another folds.csv, or with other samples excluded",
    "data": "other training data",
    "init_weights": "other initial weights",
    "pseudo_labels": "other pseudo-labels: the teacher or the images have changed",
}


@dataclass(frozen=True)
class RunInfo:
    """Contents of `run.json`.

    kind    "run" (trained, or a model family without training), "blend", "forecast" of a baseline family, or
            "imported" from another framework
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
    scores: JsonDict = field(default_factory=dict)

    @property
    def seeds(self) -> list[int] | None:
        """Seeds of its fits; None where the config names none, since nothing is trained."""
        found: list[int] | None = (self.config.get("training") or {}).get("seeds")
        return found

    @property
    def k(self) -> int | None:
        """Number of folds; None where the config names none."""
        found: int | None = ((self.config.get("data") or {}).get("folds") or {}).get("k")
        return found

    @property
    def fold_scores(self) -> dict[int, float]:
        """Validation score of each fold that is trained, by fold."""
        found = {name: score for name, score in self.scores.items() if re.fullmatch(r"fold\d+", name)}
        return dict(sorted((int(name.removeprefix("fold")), score) for name, score in found.items()))


@dataclass(frozen=True)
class StoredRun:
    """A finished run, its predictions memory-mapped; `test` is None where the competition has no test part."""

    folder: Path
    info: RunInfo
    oof: Predictions
    test: Predictions | None


def begin_run(folder: Path, begun: RunInfo, *, restart: bool = False, discard: Sequence[str] = ()) -> RunInfo:
    """Write `run.json`, or resume the run that is there. A config that differs in prediction keys only, so that the
    parts `fit` agree, replaces the stored one; rows are then predicted again. So does one that differs in no part.

    begun: the run as it would be begun now; restart: begin it anew, whatever its config was; discard: what in it
    is deleted then. ConfigError where the folder holds something of another kind; OofMismatch where another part
    differs, or where rows or fits are there without the `run.json` that records what they are.
    """
    require_kind(folder, begun.kind)
    if restart:
        for part in discard:
            _discard(folder / part)
    if restart or not (folder / "run.json").is_file():
        there_are = "rows" if (folder / "oof" / "rows.json").is_file() else ""
        if any((folder / "models").glob("fold*.json")):
            there_are = there_are or "fits"
        if there_are and not restart:
            raise OofMismatch(
                f"{folder}: there are {there_are} but no run.json, which records what they were made from. Restore it "
                f"from a backup, or {_remake(folder)}."
            )
        _write_info(folder, begun)
        return begun
    there = read_info(folder)
    before, now = current_fingerprint(there), begun.fingerprint
    predicted_anew = before.fit is not None and before.fit == now.fit and before.different(now, "rows")
    if predicted_anew:
        before = replace(before, rows=now.rows)
    for part in before.different(now, *CHANGES):
        old, new = dotted(there.config), dotted(begun.config)
        changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
        keys = f" (changed: {', '.join(changed[:3])})" if changed and part in ("rows", "fit") else ""
        remedy = f"start over with {RETRAIN} --restart" if begun.kind == "run" else f"delete {folder}"
        raise OofMismatch(
            f"{folder}: this {begun.kind} was begun with {CHANGES[part]}{keys}. Give the new one another name, or "
            f"{remedy}."
        )
    if predicted_anew:
        of_folds = {name: score for name, score in there.scores.items() if re.fullmatch(r"fold\d+", name)}
        before = replace(before, init_weights=now.init_weights or before.init_weights)  # those of further seeds
        there = replace(there, fingerprint=before, scores=of_folds)
    if there.config != begun.config:
        there = replace(there, name=begun.name, config=begun.config)
        _write_info(folder, there)
    return there


def current_fingerprint(info: RunInfo) -> Fingerprint:
    """The fingerprint of what is stored, to compare with one of this version: where an older version wrote it, with the
    parts that depend on the config made anew from the stored one, unknown where that cannot be read any more.

    What was stored under the fingerprint, rows for instance, is found by `info.fingerprint`, as it stands there.
    """
    made = info.fingerprint
    if made.version == VERSION:
        return made
    now = replace(made, init_weights=made.init_weights or None, version=VERSION)
    if info.kind not in ("run", "imported"):
        return now
    competition = (info.config.get("data") or {}).get("competition")
    if competition in plugins.names("competitions") and plugins.outside_digest("competitions", competition):
        now = replace(now, source=None)
    try:
        own = {key: value for key, value in info.config.items() if key in RunConfig.model_fields}
        config = RunConfig.model_validate(own)  # an imported run says more of its predictions
    except (ValidationError, ConfigError):
        return replace(now, fit=None, rows=None)
    return replace(now, fit=config.fit_hash() if info.kind == "run" else made.fit, rows=config.hash())


def as_begun(fingerprint: Fingerprint, folder: Path, folds: Folds) -> Fingerprint:
    """`fingerprint` of what goes on in `folder`, where samples came later than `folds` were made: its part `data` stays
    that of the samples it was begun with; contents.json says of each whether it is still the same."""
    there = all((folder / name).is_file() for name in ("run.json", CONTENTS))
    if not folds.later or not there:
        return fingerprint
    return replace(fingerprint, data=read_info(folder).fingerprint.data)


def require_kind(folder: Path, kind: str) -> None:
    """ConfigError where `folder` holds something else than a `kind` ("run", "blend", ...), which would be
    overwritten. DamagedFile where what it holds cannot be told."""
    there = None
    if (folder / "run.json").is_file():
        there = read_info(folder).kind
    elif (folder / "blend.json").is_file():
        there = "blend"
    elif any((folder / "models").glob("fold*")):
        there = "run"
    if there not in (None, kind):
        raise ConfigError(
            f"{folder}: holds the {there} '{folder.name}', which this {kind} would overwrite. Give the {kind} another "
            f"name, or delete {folder} first."
        )


def _discard(path: Path) -> None:
    """ConfigError where the system refuses to remove `path`: a fit that stays would pass for a new one."""
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{error.filename or path}: cannot be removed ({error.strerror}), so that the run cannot start over. "
            "Change its permissions, or give the run another name."
        ) from None


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
    shape: Shape | Sequence[Shape],
    dtype: str,
    checksum: str = "",
) -> RowStore:
    """The rows of part "oof" or "test" of the run in `folder`, to write into; complete rows are kept.

    checksum: of the images that are predicted; rows of other images are discarded.
    """
    fingerprint = f"{_of_rows(info)} {checksum}".strip()
    return RowStore.open_or_create(folder / part, ids=ids, shape=shape, dtype=dtype, fingerprint=fingerprint)


def read_info(folder: Path) -> RunInfo:
    """Read `run.json`. OofMismatch where there is none; DamagedFile where it is truncated or was edited."""
    path = folder / "run.json"
    if not path.is_file():
        raise OofMismatch(f"{folder}: no run here (run.json is missing). Train it first: skyfold train CONFIG.")
    values = read_record(path, RunRecord, remedy=f"Restore it from a backup, or {_remake(folder)}.")
    fingerprint = Fingerprint.from_json(values["fingerprint"], str(path))
    return RunInfo(**{**values, "classes": tuple(values["classes"]), "fingerprint": fingerprint})


def read_made_blend(folder: Path) -> JsonDict:
    """Read `blend.json` of the blend in `folder`. DamagedFile where it is truncated, was edited, or chose for other
    classes than the blend has."""
    path, remedy = folder / "blend.json", "Run `skyfold blend` on its config again."
    made = read_record(path, BlendRecord, remedy=remedy)
    classes = len(read_info(folder).classes)
    for stage, chosen in made["selection"].items():
        if chosen is not None and len(chosen["thresholds"]) != classes:
            raise DamagedFile(
                f"{path}: not what was written there. '{stage}' holds {len(chosen['thresholds'])} thresholds of "
                f"{classes} classes. {remedy}"
            )
    return made


def read_run(folder: Path, folds: Folds) -> StoredRun:
    """Open a finished run; every row that a fold validates must be there and hold what was written.

    OofMismatch names the run and the first row that is missing, of another folds.csv, or damaged.
    """
    info = read_info(folder)
    if info.fingerprint.folds != folds.hash():
        raise OofMismatch(
            f"run '{info.name}' was made with other folds, or other samples excluded ({info.fingerprint.folds}), than "
            f"folds.csv ({folds.hash()}). Its scores would be leaked, or of other samples. {_again(info)}"
        )
    oof = _read_rows(folder / "oof", info)
    if difference := id_difference(oof.ids, folds.ids, (f"run '{info.name}'", "folds.csv")):
        if info.kind in GO_ON and set(folds.ids.tolist()) - set(oof.ids.tolist()) <= folds.later:
            raise OofMismatch(
                f"{difference}, which came later. Predict it, and keep what is there: {GO_ON[info.kind]}."
            )
        raise OofMismatch(f"{difference}. {_again(info)}")
    missing = np.flatnonzero((folds.fold >= 0) & ~oof.has_prediction)
    _refuse_missing(info, "out-of-fold", oof, missing, f" (folds {sorted(set(folds.fold[missing].tolist()))})")
    test = _read_rows(folder / "test", info) if (folder / "test" / "rows.json").is_file() else None
    if test is not None:
        _refuse_missing(info, "test", test, np.flatnonzero(~test.has_prediction))
    return StoredRun(folder, info, oof, test)


def read_test_folds(folder: Path, folds: Folds) -> list[RowStore]:
    """Test rows of an imported run by fold, in the order of the folds; [] where they were not imported fold by fold.

    OofMismatch as `read_run`; rows are verified when they are read.
    """
    info, by_fold = read_info(folder), folder / TEST_FOLDS
    if not by_fold.is_dir():
        return []
    found = [_open_rows_of(by_fold / f"fold{fold}", info) for fold in range(folds.k)]
    for rows in found:
        _refuse_missing(info, "test", rows, np.flatnonzero(~rows.complete))
    return found


def _refuse_missing(
    info: RunInfo, part: str, rows: Predictions | RowStore, missing: np.ndarray, where: str = ""
) -> None:
    if len(missing):
        raise OofMismatch(
            f"run '{info.name}' has no {part} prediction for {len(missing)} of {len(rows.ids)} ids, first "
            f"'{rows.ids[missing[0]]}'{where}. "
            + ("Import it again." if info.kind == "imported" else "Run the same `skyfold train` again to resume.")
        )


def _again(info: RunInfo) -> str:
    """How what does not fit any more is made again."""
    ways = {
        "imported": f"Import it again: skyfold import {info.name}",
        "blend": "Blend it again: skyfold blend CONFIG",
        "forecast": "Make it again: skyfold run CONFIG",
    }
    return f"{ways.get(info.kind, 'Train it again: skyfold train CONFIG --restart')}."


def _open_rows_of(folder: Path, info: RunInfo) -> RowStore:
    rows = RowStore.open(folder)
    if not rows.fingerprint.startswith(_of_rows(info)):
        raise OofMismatch(f"{folder}: these rows are of another config or other folds than run.json. {_again(info)}")
    return rows


def _read_rows(folder: Path, info: RunInfo) -> Predictions:
    rows = _open_rows_of(folder, info)
    values = cast(np.ndarray, rows.checked)
    return Predictions(ids=rows.ids, values=values, has_prediction=rows.complete, unit=info.unit)


def _of_rows(info: RunInfo) -> str:
    return info.fingerprint.of("rows", "folds", "blend").digest()


def _remake(folder: Path) -> str:
    return (
        f"delete {folder} and make it again: a run with {RETRAIN}, a blend with skyfold blend CONFIG, a forecast with "
        "skyfold run CONFIG"
    )


def _write_info(folder: Path, info: RunInfo) -> None:
    values = {**vars(info), "classes": list(info.classes), "fingerprint": info.fingerprint.to_json()}
    write_record(folder / "run.json", values)
