"""Records with other contents than skyfold wrote: each is named with a remedy that works, and the others go on."""

import json
import shutil
from dataclasses import dataclass

import numpy as np
import pytest

from skyfold.errors import DamagedFile, NewerFile
from skyfold.files import with_checksum
from skyfold.metrics.forecast import MAE_BY_F1
from skyfold.metrics.forecast_sums import ForecastSums, read_sums, write_sums
from skyfold.store import records
from skyfold.store.bundle import BundleRecord
from skyfold.store.fits import summary_of_fits
from skyfold.store.folds import read_folds
from skyfold.store.records import FORMAT, Record, read_record, write_record
from skyfold.store.rows import RowStore

DAMAGED = 3


@dataclass(frozen=True)
class Stored:
    """A record of the tiny project.

    schema: of `store.records`; path: below the project; reader: the command that reads it; deleted: what its message
    says to delete, below the project; remedy: the commands it names that write it again.
    """

    schema: type[Record]
    path: str
    reader: tuple[str, str]
    remedy: tuple[tuple[str, ...], ...]
    deleted: str = ""


MADE_AGAIN = (("train", "bright"), ("blend", "blend"))
STORED = {
    "run": Stored(records.RunRecord, "oof/tiny/bright/run.json", ("blend", "blend"), MADE_AGAIN, "oof/tiny/bright"),
    "blended run": Stored(
        records.RunRecord, "oof/tiny/blend/run.json", ("submit", "blend"), (("blend", "blend"),), "oof/tiny/blend"
    ),
    "rows": Stored(records.RowsRecord, "oof/tiny/bright/oof/rows.json", ("blend", "blend"), MADE_AGAIN),
    "fit": Stored(
        records.FitRecord,
        "oof/tiny/network/models/fold0_seed0.json",
        ("train", "network"),
        (("train", "network"),),
        "oof/tiny/network/models/fold0_seed0.json",
    ),
    "blend": Stored(records.BlendRecord, "oof/tiny/blend/blend.json", ("submit", "blend"), (("blend", "blend"),)),
    "folds": Stored(records.FoldsRecord, "oof/tiny/folds.json", ("train", "bright"), (), "oof/tiny/folds.json"),
    "submission": Stored(
        records.SidecarRecord, "submissions/tiny/blend.json", ("leaderboard", "tiny"), (("submit", "blend"),)
    ),
    "contents": Stored(
        records.ContentsRecord,
        "oof/tiny/bright/contents.json",
        ("blend", "blend"),
        MADE_AGAIN,
        "oof/tiny/bright/contents.json",
    ),
    "test scores": Stored(
        records.ScoresOnTest,
        "submissions/tiny/blend.test_scores.json",
        ("leaderboard", "tiny"),
        (),
        "submissions/tiny/blend.test_scores.json",
    ),
}
NOT_JSON = {
    "empty": b"",
    "cut": b'{"name": "bright", "kind',
    "not UTF-8": b'{"name": "\xff"}',
    "nested without end": b"[" * 100_000,
    "NaN": b'{"name": NaN}',
    "infinity": b'{"name": 1e999}',
    "an endless number": b"9" * 10_000,
}
NOT_A_RECORD = {"list": b"[]", "null": b"null", "number": b"3", "text": b'"bright"', "nothing in it": b"{}"}
WRONG = [None, True, -1, 10**400, 0.5, "text", "", [], [[]], {}, {"": None}, [{"name": 1}]]


@pytest.fixture
def whole(tiny):
    """The project with the scores of its blend on a test truth."""
    limits = {"value": 0.5, "low": 0.4, "high": 0.6}
    scored = {"truth": "truth.csv", "images": 4, "scores": {"final": 0.5}, "differences": {"final - all_empty": limits}}
    write_record(tiny.root / STORED["test scores"].path, scored)
    return tiny


def test_every_kind_of_record_is_tried_here():
    kinds, waiting = set(), [Record]
    while waiting:
        kinds.add(waiting.pop())
        waiting += [kind for known in kinds for kind in known.__subclasses__() if kind not in kinds]
    of_files = {kind for kind in kinds if ".json" in (kind.__doc__ or "")}
    of_bundles = {BundleRecord}  # of no project: tests/bundles
    assert of_files == {stored.schema for stored in STORED.values()} | of_bundles


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("damage", [*NOT_JSON, *NOT_A_RECORD])
def test_a_record_that_is_none_is_named_and_nothing_is_written(whole, name, damage):
    stored = STORED[name]
    (whole.root / stored.path).write_bytes({**NOT_JSON, **NOT_A_RECORD}[damage])
    before = whole.files()
    code, out, err = whole.run(*stored.reader)
    said = out if stored.reader[0] == "leaderboard" else err
    assert code == (0 if stored.reader[0] == "leaderboard" else DAMAGED)
    assert str(whole.root / stored.path) in said
    assert ("not whole JSON" in said) == (damage in NOT_JSON)
    assert whole.files() == before


@pytest.mark.parametrize("name", STORED)
def test_the_remedy_of_a_damaged_record_works(whole, name):
    stored = STORED[name]
    (whole.root / stored.path).write_text("[]")
    _, out, err = whole.run(*stored.reader)
    if stored.deleted:
        assert f"elete {whole.root / stored.deleted}" in err + out or "elete it" in err + out
        path = whole.root / stored.deleted
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for command, *arguments in stored.remedy:
        assert f"skyfold {command}" in err + out
        assert whole.run(command, *arguments)[0] == 0
    code, out, err = whole.run(*stored.reader)
    assert (code, "unreadable" in out) == (0, False)


@pytest.mark.parametrize("name", STORED)
def test_a_record_of_a_newer_skyfold_is_said_to_be_newer_and_stays(whole, name):
    stored = STORED[name]
    path = whole.root / stored.path
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": FORMAT + 1, "new": []}))
    before = whole.files()
    code, out, err = whole.run(*stored.reader)
    assert "written by a newer skyfold" in out + err
    assert "Update skyfold" in out + err
    assert str(path) in out + err
    assert code == (0 if stored.reader[0] == "leaderboard" else DAMAGED)
    assert whole.files() == before


@pytest.mark.parametrize("name", STORED)
def test_a_record_without_a_format_is_read_as_it_was_written_before_formats(whole, name):
    stored = STORED[name]
    path = whole.root / stored.path
    values = json.loads(path.read_text())
    assert values.pop("format") == FORMAT
    assert values.pop("checksum")
    path.write_text(json.dumps(values))
    code, out, _ = whole.run(*stored.reader)
    assert (code, "unreadable" in out) == (0, False)
    for number in (0, -1, True, "1", None, [], 1.0):
        path.write_text(json.dumps({**values, "format": number}))
        with pytest.raises(DamagedFile, match="format"):
            read_record(path, stored.schema, remedy="")


@pytest.mark.parametrize("name", STORED)
def test_wrong_types_at_any_place_of_a_record_are_refused_or_do_no_harm(whole, name):
    """Each value of the record, at any depth, is replaced in turn, or taken away."""
    stored = STORED[name]
    path = whole.root / stored.path
    values = {key: value for key, value in json.loads(path.read_text()).items() if key != "checksum"}
    refused = 0
    for place in _places(values):
        for wrong in [*WRONG, KeyError]:
            path.write_text(json.dumps(with_checksum(_replaced(values, place, wrong))))
            if message := _refusal(path, stored.schema):
                refused += 1
                assert str(path) in message
                assert message.endswith(("Mend it.", "again.", "backup.", "Update skyfold."))
                continue
            if len(place) == 1:  # what is taken must not harm what reads it
                assert whole.run("leaderboard", "tiny")[0] == 0
    assert refused > len(values)


EDITED = {
    "run": ("scores", "cv_cross_fitted"),
    "blended run": ("scores", "cv_cross_fitted"),
    "rows": ("ids", 0),
    "fit": ("score",),
    "blend": ("selection", "final", "thresholds", 0),
    "folds": ("seed",),
    "submission": ("rows",),
    "contents": ("parts", "train", "inputs", "i00"),
    "test scores": ("scores", "final"),
}


@pytest.mark.parametrize("name", STORED)
def test_another_figure_or_choice_of_the_right_type_is_noticed(whole, name):
    stored = STORED[name]
    path = whole.root / stored.path
    values = json.loads(path.read_text())
    inside = values
    for part in EDITED[name][:-1]:
        inside = inside[part]
    inside[EDITED[name][-1]] += "0" if isinstance(inside[EDITED[name][-1]], str) else 1
    path.write_text(json.dumps(values))
    before = whole.files()
    code, out, err = whole.run(*stored.reader)
    assert code == (0 if stored.reader[0] == "leaderboard" else DAMAGED)
    assert f"{path}: edited since it was written" in out + err
    assert whole.files() == before


@pytest.mark.parametrize("name", STORED)
def test_one_bad_file_never_takes_the_leaderboard_away(whole, name):
    stored = STORED[name]
    before = whole.run("leaderboard", "tiny")[1].splitlines()
    (whole.root / stored.path).write_text("{}")
    code, out, _ = whole.run("leaderboard", "tiny")
    assert code == 0
    own = stored.path.split("/")[2] if stored.path.startswith("oof") else ""
    others = [line for line in before if line and not line.startswith("-") and not (own and own in line)]
    names = {line.split()[0] for line in others if own != "blend" or "baseline" not in line}  # which are of the blend
    assert names <= {line.split()[0] for line in out.splitlines() if line}
    if stored.schema in (records.RunRecord, records.BlendRecord, records.SidecarRecord, records.ScoresOnTest):
        assert str(whole.root / stored.path) in out


def test_a_family_without_training_makes_its_rows_again(tiny):
    before = tiny.files()
    for damage in ("", "[]", None):
        path = tiny.oof / "bright" / "oof" / "rows.json"
        path.write_text(damage) if damage is not None else path.unlink()
        code, out, err = tiny.run("train", "bright")
        assert (code, "run `skyfold train`" in err.lower()) == (0, False), err
        assert "trained" in out
        assert tiny.files() == before


@pytest.mark.parametrize("name", ["values.npy", "crc32.npy", "complete.npy"])
@pytest.mark.parametrize("damage", ["empty", "cut", "zip", "pickle", "no header", "missing", "other shape"])
def test_stored_rows_that_are_none_are_named_and_made_again(tiny, name, damage):
    before = tiny.files()
    path = tiny.oof / "bright" / "oof" / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "zip":
        np.savez(path.with_suffix(".npz"), values=np.zeros(3))
        path.with_suffix(".npz").rename(path)
    elif damage == "pickle":
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    elif damage == "other shape":
        np.save(path, np.zeros((7, 2), dtype=np.uint8))
    else:
        bad_header = content[:8] + b"\xff\xff{'descr': [((((" + content[24:]
        path.write_bytes({"empty": b"", "cut": content[:-3], "no header": bad_header}[damage])
    damaged = tiny.files()
    code, _, err = tiny.run("blend", "blend")
    assert (code, str(path) in err, "skyfold train CONFIG" in err) == (DAMAGED, True, True), err
    assert tiny.files() == damaged
    assert tiny.run("train", "bright")[0] == 0
    assert tiny.files() == before


def test_rows_of_a_newer_skyfold_are_not_made_anew(tiny):
    path = tiny.oof / "bright" / "oof" / "rows.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": FORMAT + 1}))
    before = tiny.files()
    code, _, err = tiny.run("train", "bright")
    assert (code, "Update skyfold" in err) == (DAMAGED, True)
    assert tiny.files() == before
    with pytest.raises(NewerFile):
        RowStore.open(path.parent)


def _refusal(path, schema):
    try:
        read_record(path, schema, remedy="Mend it.")
    except DamagedFile as error:
        return str(error)
    return ""


def _places(values, above=()):
    """The way to every value of nested tables and lists; of a long list, to its first entry."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield (*above, key)
            yield from _places(value, (*above, key))
    elif isinstance(values, list) and values:
        yield (*above, 0)
        yield from _places(values[0], (*above, 0))


def _replaced(values, place, wrong):
    copy = json.loads(json.dumps(values))
    inside = copy
    for part in place[:-1]:
        inside = inside[part]
    if wrong is KeyError:
        del inside[place[-1]]
    else:
        inside[place[-1]] = wrong
    return copy


TABLES = {"rows.csv": "oof/tiny/bright/rows.csv", "history": "oof/tiny/network/models/fold0_seed0.csv"}
NO_TABLES = {
    "empty": "",
    "cut": "id,fold,gro",
    "binary": "\0\1\2",
    "text for a number": None,
    "infinity": None,
    "more fields": "id,fold,group,x\n1,2,3,4,5\n1,2,3,4,5\n",
    "an open quote": 'id,fold,group,x\n"1,2,3,4\n',
    "no rows": "id,fold,group,cv_cross_fitted blob\n",
}


@pytest.mark.parametrize("damage", NO_TABLES)
@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_is_none_is_named_with_the_remedy(tiny, name, damage):
    path = tiny.root / TABLES[name]
    text = NO_TABLES[damage]
    if text is None:
        head, first, *rest = path.read_text().splitlines()
        wrong = "inf" if damage == "infinity" else "much"
        text = "\n".join([head, ",".join([*first.split(",")[:-1], wrong]), *rest]) + "\n"
    path.write_text(text)
    before = tiny.files()
    if name == "history":
        with pytest.raises(DamagedFile, match=rf"{path}.*train the run again with --restart"):
            summary_of_fits(path.parent, folds=read_folds(tiny.oof / "folds.csv"))
        return
    compared = ("leaderboard", "tiny", "--diff", tiny.oof / "bright", tiny.oof / "dark")
    code, _, err = tiny.run(*compared)
    assert (code, str(path) in err, "skyfold train CONFIG" in err) == (DAMAGED, True, True), err
    assert tiny.files() == before
    path.unlink()
    for command in (("train", "bright"), compared):
        assert tiny.run(*command)[0] == 0
    assert path.is_file()


def test_an_edited_row_of_a_table_of_scores_is_noticed(tiny):
    path = tiny.oof / "bright" / "rows.csv"
    compared = ("leaderboard", "tiny", "--diff", tiny.oof / "bright", tiny.oof / "dark")
    assert tiny.run(*compared)[0] == 0
    head, first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([head, first.replace("0.9", "0.8", 1), *rest]) + "\n")
    before = tiny.files()
    code, _, err = tiny.run(*compared)
    assert (code, f"{path}: line 2 was edited since it was written" in err) == (DAMAGED, True), err
    assert tiny.files() == before


def test_fits_whose_run_has_no_record_are_not_taken_for_those_of_the_config(tiny):
    """An older version recorded less in the record of a fit than what it is compared by now."""
    (tiny.oof / "network" / "run.json").unlink()
    for part in ("oof", "test"):
        shutil.rmtree(tiny.oof / "network" / part)
    before = tiny.files()
    code, _, err = tiny.run("train", "network")
    assert (code, "network: there are fits but no run.json" in err, "Restore it from a backup" in err) == (
        3,
        True,
        True,
    )
    assert tiny.files() == before


def test_files_that_are_named_like_fits_but_are_none_do_no_harm(tiny):
    models, folds = tiny.oof / "network" / "models", read_folds(tiny.oof / "folds.csv")
    before = summary_of_fits(models, folds=folds)
    (models / "fold0_seed0 (copy).json").write_text("{}")
    assert summary_of_fits(models, folds=folds) == before


SUMS = {
    "empty": lambda lines: [],
    "cut": lambda lines: lines[:-1],
    "another order": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "a line twice": lambda lines: [*lines, lines[-1]],
    "a number that is text": lambda lines: [*lines[:-1], lines[-1].rpartition(",")[0] + ",many"],
    "NaN": lambda lines: [*lines[:-1], lines[-1].rpartition(",")[0] + ",nan"],
    "another metric": lambda lines: [line.replace("mae_by_f1", "mae_by_luck") for line in lines],
    "other columns": lambda lines: [lines[0].replace("hits", "misses"), *lines[1:]],
}


@pytest.mark.parametrize("damage", SUMS)
def test_sums_of_a_forecast_that_are_none_are_named(tmp_path, damage):
    counts = np.arange(20, dtype=float).reshape(2, 10)
    path = write_sums(tmp_path, ForecastSums(np.array(["2010", "2011"]), ("1", "2"), {MAE_BY_F1.name: counts}))
    assert np.array_equal(read_sums(tmp_path).contest, counts)
    path.write_text("".join(f"{line}\n" for line in SUMS[damage](path.read_text().splitlines())))
    with pytest.raises(DamagedFile, match=rf"{path}.*Delete it and run `skyfold run` again"):
        read_sums(tmp_path)
