"""Folds and groups that would let a fold be validated by what it was fitted on are refused."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from skyfold.pipeline.prepare import _named
from skyfold.store.folds import read_folds

DATA = """
data:
  competition: mask_folder
  name: grouped
  options: {classes: {blob: 255}, test_images: test_images, group: {file: groups.csv, id: id, column: place}}
  folds: {k: 2}
image: {size: [40, 48]}
name: bright
model: {family: colour_threshold, options: {feature: brightness}}
"""
GROUPS = "id,place\n" + "".join(f"i{i:02d},place {i // 2}\n" for i in range(12))


@pytest.fixture
def grouped(tiny):
    """A data set whose images belong together in pairs, prepared."""
    tiny.images.rename(tiny.images.with_name("grouped"))
    (tiny.root / "data" / "grouped" / "groups.csv").write_text(GROUPS)
    tiny.write_config("grouped", DATA)
    assert tiny.run("prepare", tiny.config("grouped"))[0] == 0
    return tiny


def refused(tiny, command, config, *parts, expected=3):
    before = tiny.files()
    code, _, err = tiny.run(command, config)
    assert code == expected
    for part in parts:
        assert part in err
    assert tiny.files() == before


def folds_of(tiny, name="tiny"):
    path = tiny.root / "oof" / name / "folds.csv"
    header, *lines = path.read_text().splitlines()
    return path, header, [line.split(",") for line in lines]


def write(path, header, rows):
    path.write_text("\n".join([header, *map(",".join, rows)]) + "\n")


@pytest.mark.parametrize("command", ["prepare", "train"])
def test_a_group_in_two_folds_is_refused_with_its_rows(tiny, command):
    path, header, rows = folds_of(tiny)
    rows[0][1], rows[3][1], rows[3][2] = "0", "1", rows[0][2]
    write(path, header, rows)
    refused(
        tiny,
        command,
        "bright",
        f"line 5: id 'i03' of group '{rows[0][2]}' is in fold 1, line 2 of that group in fold 0",
    )


@pytest.mark.parametrize("cell", ["", "  "])
def test_an_empty_group_is_refused_with_its_row(grouped, cell):
    path, header, rows = folds_of(grouped, "grouped")
    rows[4][2] = cell
    write(path, header, rows)
    refused(grouped, "train", grouped.config("grouped"), "folds.csv: mend these rows", "line 6: the group of id 'i04'")
    rows[4][2] = rows[5][2]
    write(path, header, rows)
    table = grouped.root / "data" / "grouped" / "groups.csv"
    table.write_text(table.read_text().replace("i04,place 2", f"i04,{cell}"))
    refused(
        grouped,
        "train",
        grouped.config("grouped"),
        "groups.csv, where every image needs one group",
        "image 'i04'",
        expected=2,
    )


@pytest.mark.parametrize("command", ["prepare", "train"])
@pytest.mark.parametrize("numbers", [[0], [0, 1, 2]], ids=["one fold", "more folds than k"])
def test_another_number_of_folds_than_the_config_asks_for_is_refused(tiny, command, numbers):
    path, header, rows = folds_of(tiny)
    for i, row in enumerate(rows):
        row[1] = str(numbers[i % len(numbers)])
    write(path, header, rows)
    for beside in (True, False):
        if not beside:
            path.with_suffix(".json").unlink()
        many = f"{len(numbers)} fold{'s' * (len(numbers) > 1)}"
        refused(tiny, command, "bright", f"folds.csv: {many}, but data.folds.k of the config asks for 2")


@pytest.mark.parametrize("command", ["prepare", "train"])
def test_groups_that_changed_after_the_folds_were_made_are_refused(grouped, command):
    table = grouped.root / "data" / "grouped" / "groups.csv"
    _, _, rows = folds_of(grouped, "grouped")
    other = next(row[0] for row in rows if row[1] != rows[0][1])
    own = f"place {int(other[1:]) // 2}"
    table.write_text(GROUPS.replace(f"{other},{own}", f"{other},place 0"))
    refused(
        grouped,
        command,
        grouped.config("grouped"),
        "group 'place 0': 'i00' is in fold",
        f"'{other}' in fold",
        "folds.csv",
    )
    table.write_text(GROUPS.replace("i01,place 0", "i01,a place of its own"))
    refused(grouped, command, grouped.config("grouped"), "folds.csv: made with other groups than the data have now")
    table.write_text(GROUPS.replace("place", "PLACE").replace("id,PLACE", "id,place"))
    assert grouped.run("prepare", grouped.config("grouped"))[0] == 0


def test_folds_name_the_groups_of_the_data_and_files_with_numbers_go_on(grouped):
    config = grouped.config("grouped")
    path, header, rows = folds_of(grouped, "grouped")
    assert [(row[0], row[2]) for row in rows] == [(f"i{i:02d}", f"place {i // 2}") for i in range(12)]
    made = read_folds(path).hash()
    write(path, header, [[name, fold, str(int(name[1:]) // 2)] for name, fold, _ in rows])
    assert grouped.run("prepare", config)[0] == grouped.run("train", config)[0] == 0
    assert read_folds(path).hash() == made
    write(path, header, rows)
    assert grouped.run("train", config)[0] == 0


def test_groups_that_a_copy_joins_are_named_together(grouped):
    shutil.copy(grouped.root / "data/grouped/images/i02.png", grouped.root / "data/grouped/images/i07.png")
    path, _, _ = folds_of(grouped, "grouped")
    path.unlink()
    assert grouped.run("prepare", grouped.config("grouped"))[0] == 0
    names = [row[2] for row in folds_of(grouped, "grouped")[2]]
    assert names[:8] == ["place 0"] * 2 + ["place 1 + place 3"] * 2 + ["place 2"] * 2 + ["place 1 + place 3"] * 2


@pytest.mark.parametrize("names", [["", "a", "b"], ["a + b", "a", "b"], [1, 2, 3]])
def test_groups_that_a_table_could_not_tell_apart_keep_their_numbers(names):
    joined = np.array([0, 1, 1])
    assert _named(joined, np.array(names)) is joined
