"""Submissions of masks: encoded, checked against the sample, and refused with every row that is wrong."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from skyfold.errors import InvalidSubmission
from skyfold.files import file_digest, with_checksum
from skyfold.submission.formats import RleTable, read_table
from skyfold.submission.write import write_submission

FISH_FLOWER = RleTable(("Fish", "Flower"), (4, 6))
IDS = np.array(["a.jpg", "b.jpg", "c.jpg"])
COLUMNS = ("Image_Label", "EncodedPixels")
MASKS = np.random.default_rng(0).random((3, 4, 6, 2)) < 0.4
SAMPLE = pd.DataFrame({"Image_Label": [f"{name}_{label}" for name in IDS for label in FISH_FLOWER.classes]})
SAMPLE["EncodedPixels"] = "1 1"


def table_of(**texts):
    """A table with one row a keyword: a_Fish="1 1" is image a.jpg, class Fish."""
    keys = [key.replace("_", ".jpg_", 1) for key in texts]
    return pd.DataFrame({"Image_Label": keys, "EncodedPixels": list(texts.values())})


def test_rows_come_by_image_and_class_and_are_decoded_in_any_order():
    table = FISH_FLOWER.encode(IDS, MASKS)
    assert list(table.columns) == list(COLUMNS)
    assert table["Image_Label"].tolist()[:3] == ["a.jpg_Fish", "a.jpg_Flower", "b.jpg_Fish"]
    assert FISH_FLOWER.problems(table, SAMPLE) == []
    decoded = FISH_FLOWER.decode(table.sample(frac=1, random_state=0), IDS[::-1])
    np.testing.assert_array_equal(np.stack([decoded[i] for i in range(3)]), MASKS[::-1])
    assert FISH_FLOWER.encode(IDS, np.zeros_like(MASKS))["EncodedPixels"].tolist() == [""] * 6
    with pytest.raises(InvalidSubmission, match=r"no row for 'c.jpg_Flower'"):
        FISH_FLOWER.decode(table.iloc[:-1], IDS)
    with pytest.raises(InvalidSubmission, match=r"'a.jpg_Fish' stands in 2 rows"):
        FISH_FLOWER.decode(pd.concat([table, table.iloc[:1]]), IDS)


@pytest.mark.parametrize(
    ("table", "messages"),
    [
        (table_of(a_Fish="", a_Flower="", b_Fish=""), ["no row for 'b.jpg_Flower'. Add one."]),
        (
            table_of(a_Fish="", a_Flower="", a_fish="", a_Crab=""),
            [
                "line 4: 'a.jpg_fish' is not asked for. Did you mean 'a.jpg_Fish'?",
                "line 5: 'a.jpg_Crab' is not asked for. Keys are <id>_<class>, class one of Fish, Flower.",
            ],
        ),
        (
            table_of(a_Fish="1", a_Flower="9 99"),
            ["line 2: row 'a.jpg_Fish': 1 number,", "line 3: row 'a.jpg_Flower': the segment '9 99'"],
        ),
        (
            table_of(a_Fish="99999999999999999999 1", a_Flower="3 99999999999999999999"),
            ["segment '99999999999999999999 1' at token 1 ends past", "segment '3 99999999999999999999' at token 1"],
        ),
        (table_of(a_Fish="").drop(columns="EncodedPixels"), ["the columns are Image_Label; expected Image_Label, Enc"]),
        (table_of(), ["the table has no rows, only a header"]),
        (table_of(a_Fish="").assign(extra=1), ["the columns are Image_Label, EncodedPixels, extra; expected"]),
        (pd.concat([table_of(a_Fish="")] * 2, axis=1), ["the columns are Image_Label, EncodedPixels, Image_Label, "]),
        (
            pd.concat([table_of(a_Fish="", a_Flower="")] * 2, ignore_index=True),
            ["line 4: 'a.jpg_Fish' stands in 2 rows, first in line 2, expected 1", "line 5: 'a.jpg_Flower' stands in"],
        ),
    ],
)
def test_each_problem_names_its_row_and_remedy(table, messages):
    problems = FISH_FLOWER.problems(table, None)
    assert all(message in problem for problem, message in zip(problems, messages, strict=True))


def test_keys_are_compared_with_the_sample():
    problems = FISH_FLOWER.problems(FISH_FLOWER.encode(np.array(["a.jpg", "B.png", "z.jpg"]), MASKS), SAMPLE)
    assert problems[0] == "line 4: 'B.png_Fish' is not asked for. Did you mean 'b.jpg_Fish'?"
    assert problems[2].startswith("line 6: 'z.jpg_Fish' is not asked for. Remove it, or download")
    assert [problem.split()[3] for problem in problems[4:]] == [
        f"'{name}.jpg_{label}'." for name in "bc" for label in ("Fish", "Flower")
    ]
    assert FISH_FLOWER.problems(FISH_FLOWER.encode(IDS, MASKS).iloc[[0, 2, 1, 3, 4, 5]], SAMPLE) == [
        "line 3: 'b.jpg_Fish' where 'a.jpg_Flower' was expected. Sort as the sample does."
    ]
    zeros, by_spreadsheet = (pd.DataFrame([[f"{key}.jpg_Fish", ""]], columns=COLUMNS) for key in ("0011165", "11165"))
    assert "Did you mean '0011165.jpg_Fish'?" in FISH_FLOWER.problems(by_spreadsheet, zeros)[0]


def test_masks_of_another_size_or_kind_are_refused():
    with pytest.raises(InvalidSubmission, match=r"masks of 'a.jpg': expected bool \(4, 6, 2\)"):
        FISH_FLOWER.encode(IDS, MASKS[:, :3])
    with pytest.raises(InvalidSubmission, match="got float64"):
        FISH_FLOWER.encode(IDS, MASKS.astype(float))
    with pytest.raises(InvalidSubmission, match="3 ids but 2 masks"):
        FISH_FLOWER.encode(IDS, MASKS[:2])
    with pytest.raises(ValueError, match="bare ids: one class has them, not 2"):
        RleTable(("Fish", "Flower"), (4, 6), bare_ids=True)


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_reading_keeps_every_field_as_text(tmp_path, name):
    long = " ".join(f"{start} 1" for start in range(1, 60_000, 2))
    opened = gzip.open if name.endswith(".gz") else open
    with opened(tmp_path / name, "wt") as file:
        file.write(f"Image_Label,EncodedPixels\nNA,1 1\n007,\nnan,NaN\n1e5,-1\na,{long}\n")
    table = read_table(tmp_path / name, COLUMNS)
    assert table["Image_Label"].tolist() == ["NA", "007", "nan", "1e5", "a"]
    assert table["EncodedPixels"].tolist() == ["1 1", "", "NaN", "-1", long]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", None, "no such file"),
        ("folder.csv", None, "a folder, expected a CSV file"),
        ("train.csv", None, "no such file. There is train.csv.zip: unpack it"),
        ("t.csv", b"", "the file is empty"),
        ("t.csv", b"\x89PNG\r\n\x1a\n\x00\xff\xfe", "not a readable CSV file"),
        ("t.csv", b"a.jpg_Fish,1 1\n", "line 1 is 'a.jpg_Fish,1 1'; expected the header Image_Label,EncodedPixels"),
        ("t.csv", b"Image_Label,Pixels\na,1\n", "column 'EncodedPixels' is missing"),
        ("t.csv", b"Image_Label,EncodedPixels,EncodedPixels\na,1,1\n", "column 'EncodedPixels' is there 2 times"),
        ("t.csv", b"Image_Label,EncodedPixels\na,1\nb\n", "line 3 ('b'): expected 2 fields as in the header, got 1"),
        ("t.csv", b"Image_Label,EncodedPixels\na,1,2\n", "line 2 ('a'): expected 2 fields as in the header, got 3"),
        ("t.csv", b'Image_Label,EncodedPixels\na,"1\n', "not a readable CSV file"),
        ("t.csv", gzip.compress(b"Image_Label,EncodedPixels\na,1\n", mtime=0), "packed with gzip: unpack it"),
        ("t.csv.gz", gzip.compress(b"Image_Label\n" + b"a,1 1\n" * 5000, mtime=0)[:-20], "not a readable CSV file"),
    ],
)
def test_file_that_is_no_table_is_refused(tmp_path, name, content, message):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "train.csv.zip").touch()
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidSubmission) as refusal:
        read_table(path, COLUMNS)
    assert str(path) in str(refusal.value)
    assert message in str(refusal.value)


def test_masks_are_read_by_id_and_a_refusal_names_the_file(tmp_path):
    path = tmp_path / "pred.csv"
    FISH_FLOWER.encode(IDS, MASKS).to_csv(path, index=False)
    ids, found = FISH_FLOWER.read_masks(path)
    assert ids.tolist() == IDS.tolist()
    np.testing.assert_array_equal(found[2], MASKS[2])
    np.testing.assert_array_equal(FISH_FLOWER.read_masks(path, IDS[1:])[1][0], MASKS[1])
    with pytest.raises(InvalidSubmission, match=r"(?s)pred\.csv: .*no row for 'z\.jpg_Fish'.*no row for 'z\.jpg_Flow"):
        FISH_FLOWER.read_masks(path, np.array(["a.jpg", "z.jpg"]))
    with pytest.raises(InvalidSubmission, match=r"no row for 'A\.JPG_Fish' \(there is 'a\.jpg_Fish'\)"):
        FISH_FLOWER.read_masks(path, np.array(["A.JPG"]))
    path.write_text("Image_Label,EncodedPixels\n")
    with pytest.raises(InvalidSubmission, match=r"(?s)pred\.csv: .*has no rows"):
        FISH_FLOWER.read_masks(path)


def test_written_submission_reads_back_and_its_sidecar_knows_it(tmp_path):
    SAMPLE.to_csv(tmp_path / "sample.csv", index=False)
    path = tmp_path / "out" / "final.csv"
    write_submission(path, IDS, MASKS, FISH_FLOWER, tmp_path / "sample.csv", {"runs": ["unet"]})
    pd.testing.assert_frame_equal(FISH_FLOWER.read(path), FISH_FLOWER.encode(IDS, MASKS), check_dtype=False)
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar == with_checksum({"runs": ["unet"], "file": "final.csv", "rows": 6, "sha256": file_digest(path)})
    assert sorted(p.name for p in path.parent.iterdir()) == ["final.csv", "final.json"]
    write_submission(tmp_path / "chunks.csv", IDS, iter([MASKS[:2], MASKS[2:]]), FISH_FLOWER, None, {})
    assert file_digest(path) == file_digest(tmp_path / "chunks.csv")


class DropsTheLastPixel(RleTable):
    """The best known bug of copied encoders: a segment that touches the last pixel is lost."""

    def encode(self, ids, values):
        without = np.array(values)
        without[:, -1, -1] = False
        return super().encode(ids, without)


BROKEN = DropsTheLastPixel(("Fish", "Flower"), (4, 6))


@pytest.mark.parametrize(
    ("changes", "sample_rows", "message"),
    [
        ({"ids": np.array(["a.jpg", "b.jpg", "d.jpg"])}, range(6), "the submission has 4 problems:\n"),
        ({"ids": IDS[:0], "values": iter([])}, range(6), "0 ids but 0 predictions"),
        ({"values": iter([np.ones((2, 4, 6, 2), dtype=bool)])}, range(6), "3 ids but 2 predictions"),
        ({"format": BROKEN}, range(6), "masks that do not come back from the table they were written to:\n  - 'a.jpg'"),
        ({}, [0, 1, 2, 3, 4, 5, 1], "Download it again.\n  - line 8: 'a.jpg_Flower' stands in 2 rows, first in line 3"),
        ({}, [0, 1, 2, 4, 5], "sample.csv: not as the contest gave it, with one row for each test image and class. Do"),
        ({}, [0, 1, 2, 4, 5], "Download it again.\n  - no row for 'b.jpg_Flower'"),
        ({}, [0, 1, 2, 3, 5, 4], "submission has 1 problem:\n  - line 6: 'c.jpg_Fish' where 'c.jpg_Flower' was exp"),
    ],
)
def test_refused_submission_changes_nothing_on_disk(tmp_path, changes, sample_rows, message):
    path = tmp_path / "out" / "s.csv"
    given = {"ids": IDS, "values": MASKS, "format": FISH_FLOWER, "sample_path": tmp_path / "sample.csv", "sidecar": {}}
    write_submission(path, **{**given, "sample_path": None})
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    SAMPLE.iloc[list(sample_rows)].to_csv(given["sample_path"], index=False)
    with pytest.raises(InvalidSubmission) as refusal:
        write_submission(path, **{**given, "values": np.ones_like(MASKS), **changes})
    assert message in str(refusal.value)
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before


OBJECTS = RleTable(("Fish", "Flower"), (4, 6), objects=True)


def test_each_object_is_a_row_of_its_own():
    masks = np.zeros((2, 4, 6, 2), bool)
    masks[0, :2, 0, 0] = masks[0, 2, 1, 0] = masks[0, :, 4:, 0] = True  # the first two touch at a corner
    masks[1, 1, 1, 1] = True
    table = OBJECTS.encode(IDS[:2], masks)
    assert table.to_numpy().tolist() == [
        ["a.jpg_Fish", "1 2 7 1"],
        ["a.jpg_Fish", "17 8"],
        ["a.jpg_Flower", ""],
        ["b.jpg_Fish", ""],
        ["b.jpg_Flower", "6 1"],
    ]
    assert OBJECTS.problems(table, SAMPLE[:4]) == []
    decoded = OBJECTS.decode(table.sample(frac=1, random_state=0), IDS[:2])
    np.testing.assert_array_equal(np.stack([decoded[i] for i in range(2)]), masks)
    in_column = RleTable(("Fish", "Flower"), (4, 6), class_column="Label", objects=True).encode(IDS[:2], masks)
    assert in_column["Label"].tolist() == ["Fish", "Fish", "Flower", "Fish", "Flower"]


def test_problems_of_objects_name_the_line_of_the_table():
    table = OBJECTS.encode(IDS[:2], MASKS[:2])
    last = len(table) + 1
    assert last > 5
    table.iloc[-1, 1] = "1 99"
    (problem,) = OBJECTS.problems(table, SAMPLE[:4])
    assert problem.startswith(f"line {last}: row 'b.jpg_Flower': the segment '1 99'")
    first = table_of(a_Fish="1 1", b_Fish="", b_Flower="", a_Flower="1 1")
    doubled = pd.concat([first[:1], first], ignore_index=True)
    assert OBJECTS.problems(doubled, SAMPLE[:4]) == [
        "line 4: 'b.jpg_Fish' where 'a.jpg_Flower' was expected. Sort as the sample does."
    ]


def test_objects_that_contradict_each_other_are_named(tmp_path, capsys):
    path = tmp_path / "pred.csv"
    path.write_text("Image_Label,EncodedPixels\na_Fish,1 3\na_Flower,\na_Fish,3 4\na_Flower,5 2\na_Fish,7 1\n")
    ids, masks = OBJECTS.read_masks(path)
    assert ids.tolist() == ["a"]
    assert masks[0].sum(axis=(0, 1)).tolist() == [7, 2]
    assert capsys.readouterr().err == (
        f"note: {path}: objects overlap, what they share counts once: 'a_Fish'.\n"
        f"note: {path}: an empty row beside other rows counts for nothing, remove one of them: 'a_Flower'.\n"
    )
