"""What a run's folder refuses to be read as."""

import numpy as np
import pytest

from conftest import begin_stored
from skyfold.errors import DamagedFile, OofMismatch
from skyfold.files import read_json, write_json
from skyfold.store.alignment import require_aligned
from skyfold.store.folds import Folds
from skyfold.store.runs import open_rows, read_info, read_run, record_scores

IDS = np.array(["a", "b", "c", "d"])
FOLDS = Folds(ids=IDS, fold=np.array([0, 1, 0, -1]), groups=np.arange(4))
CONFIG = {"model": {"family": "unet"}, "training": {"epochs": 2}, "loss": "dice"}


def store(folder, *, task="segmentation", rows=(0, 1, 2), shape=(2, 3, 1), test=2, unit="probability"):
    info = begin_stored(folder, FOLDS, ("cloud",), config=CONFIG, task=task, unit=unit)
    for part, ids, complete in [("oof", IDS, list(rows)), ("test", [f"t{i}" for i in range(test)], list(range(test)))]:
        if complete:
            opened = open_rows(folder, part, info, ids=np.array(ids), shape=shape, dtype="uint8")
            opened.write(np.array(complete), np.ones((len(complete), *shape)))
    return folder


def test_a_whole_run_is_read_and_the_unvalidated_row_is_not_covered(tmp_path):
    run = read_run(store(tmp_path), FOLDS)
    assert run.oof.has_prediction.tolist() == [True, True, True, False]
    assert run.test is not None
    assert run.test.ids.tolist() == ["t0", "t1"]


def test_a_run_that_is_not_whole_or_of_other_folds_is_refused(tmp_path):
    other = Folds(ids=IDS, fold=np.array([1, 0, 0, -1]), groups=np.arange(4))
    renamed = Folds(ids=np.array(["a", "b", "c", "e"]), fold=FOLDS.fold, groups=np.arange(4))
    with pytest.raises(OofMismatch, match=r"skyfold train"):
        read_run(tmp_path / "nothing", FOLDS)
    with pytest.raises(OofMismatch, match=r"1 of 4 ids, first 'b' \(folds \[1\]\)"):
        read_run(store(tmp_path / "missing", rows=(0, 2)), FOLDS)
    for folds in (other, renamed):
        with pytest.raises(OofMismatch, match="other folds"):
            read_run(store(tmp_path / "run"), folds)


@pytest.mark.parametrize(
    ("kind", "remedy"), [("run", "start over with skyfold train CONFIG --restart"), ("forecast", "delete {folder}")]
)
def test_a_run_is_not_resumed_with_another_config_and_the_changed_key_is_named(tmp_path, kind, remedy):
    begin_stored(tmp_path, FOLDS, ("cloud",), config=CONFIG, kind=kind)
    changed = {**CONFIG, "training": {"epochs": 3}}
    message = (
        rf"this {kind} was begun with another config \(changed: training.epochs\).*{remedy.format(folder=tmp_path)}"
    )
    with pytest.raises(OofMismatch, match=message):
        begin_stored(tmp_path, FOLDS, ("cloud",), config=changed, kind=kind)


@pytest.mark.parametrize("damaged", [{"classes": 5}, {"scores": "abc"}, {"config": None}, {"name": 3}, {"grid": []}])
def test_a_run_json_of_other_kinds_of_values_is_damaged(tmp_path, damaged):
    path = store(tmp_path) / "run.json"
    write_json(path, {**read_json(path), **damaged})
    with pytest.raises(DamagedFile, match=r"run\.json: not what was written there\. .*Restore it"):
        read_info(tmp_path)
    path.write_text("{")
    with pytest.raises(DamagedFile, match=r"run\.json: not whole JSON"):
        read_info(tmp_path)


def test_scores_are_added_to_those_there(tmp_path):
    store(tmp_path)
    record_scores(tmp_path, {"fold0": 0.5})
    record_scores(tmp_path, {"fold1": 0.6})
    assert read_info(tmp_path).scores == {"fold0": 0.5, "fold1": 0.6}


def test_a_foreign_edit_of_a_row_is_found(tmp_path):
    path = store(tmp_path) / "oof" / "values.npy"
    raw = bytearray(path.read_bytes())
    raw[-7] ^= 255  # inside row 2
    path.write_bytes(raw)
    with pytest.raises(OofMismatch, match="'c'"):
        _ = read_run(tmp_path, FOLDS).oof.values[:]


def test_runs_of_the_same_rows_are_aligned(tmp_path):
    runs = [read_run(store(tmp_path / name), FOLDS) for name in ("unet", "fpn")]
    gate = read_run(store(tmp_path / "gate", task="classification", shape=(1,)), FOLDS)
    require_aligned(runs, gate)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unit": "mm/h"}, "unit differ"),
        ({"shape": (4, 4, 1)}, "shape differ"),
        ({"test": 0}, "'fpn' has none"),
        ({"test": 3}, "'t2' is not in run 'unet'"),
        ({"task": "classification"}, "cannot be members of one blend"),
    ],
    ids=lambda value: str(value),
)
def test_what_does_not_fit_is_named(tmp_path, settings, message):
    first = read_run(store(tmp_path / "unet"), FOLDS)
    second = read_run(store(tmp_path / "fpn", **settings), FOLDS)
    with pytest.raises(OofMismatch, match=message):
        require_aligned([first, second])


def test_a_gate_must_be_a_classifier(tmp_path):
    run = read_run(store(tmp_path / "unet"), FOLDS)
    with pytest.raises(OofMismatch, match="task: classification"):
        require_aligned([run], run)
