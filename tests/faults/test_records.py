"""Records with other contents than skyfold wrote: each is named with a remedy that works, and the others go on."""

import json
import shutil
from dataclasses import dataclass

import numpy as np
import pytest

from skyfold.errors import DamagedFile, NewerFile
from skyfold.store import records
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
    "contents": Stored(
        records.ContentsRecord,
        "oof/tiny/bright/contents.json",
        ("blend", "blend"),
        MADE_AGAIN,
        "oof/tiny/bright/contents.json",
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
    assert of_files == {stored.schema for stored in STORED.values()}


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
    values = json.loads(path.read_text())
    refused = 0
    for place in _places(values):
        for wrong in [*WRONG, KeyError]:
            path.write_text(json.dumps(_replaced(values, place, wrong)))
            if message := _refusal(path, stored.schema):
                refused += 1
                assert str(path) in message
                assert message.endswith(("Mend it.", "again.", "backup.", "Update skyfold."))
                continue
            if len(place) == 1:  # what is taken must not harm what reads it
                assert whole.run("leaderboard", "tiny")[0] == 0
    assert refused > len(values)


@pytest.mark.parametrize("name", STORED)
def test_one_bad_file_never_takes_the_leaderboard_away(whole, name):
    stored = STORED[name]
    before = whole.run("leaderboard", "tiny")[1].splitlines()
    (whole.root / stored.path).write_text("{}")
    code, out, _ = whole.run("leaderboard", "tiny")
    assert code == 0
    own = stored.path.split("/")[2] if stored.path.startswith("oof") else ""
    names = {line.split()[0] for line in before if line and not line.startswith("-") and not (own and own in line)}
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
