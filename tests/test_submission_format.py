"""A submission is written whole and right, or refused with every row that is wrong and what to do about it."""

import csv
import gzip
import json

import numpy as np
import pandas as pd
import pytest

from skyfold.errors import InvalidSubmission
from skyfold.files import file_digest
from skyfold.metrics.segmentation import MeanDice
from skyfold.submission.formats import RleTable, read_table
from skyfold.submission.validate import validate
from skyfold.submission.write import write_submission

FISH_FLOWER = RleTable(("Fish", "Flower"), (4, 6))
IDS = np.array(["a.jpg", "b.jpg", "c.jpg"])


@pytest.fixture
def masks():
    return np.random.default_rng(0).random((3, 4, 6, 2)) < 0.4


@pytest.fixture
def sample():
    keys = [f"{name}_{label}" for name in IDS for label in FISH_FLOWER.classes]
    return pd.DataFrame({"Image_Label": keys, "EncodedPixels": "1 1"})


def table_of(**texts):
    """A table with one row a keyword: a_Fish="1 1" is image a.jpg, class Fish."""
    keys = [key.replace("_", ".jpg_", 1) for key in texts]
    return pd.DataFrame({"Image_Label": keys, "EncodedPixels": list(texts.values())})


def test_rows_come_image_by_image_and_class_by_class(masks):
    table = FISH_FLOWER.encode(IDS, masks)
    assert list(table.columns) == ["Image_Label", "EncodedPixels"]
    assert table["Image_Label"].tolist()[:3] == ["a.jpg_Fish", "a.jpg_Flower", "b.jpg_Fish"]


def test_decode_undoes_encode_in_any_order_of_ids(masks):
    table = FISH_FLOWER.encode(IDS, masks).sample(frac=1, random_state=0)
    decoded = FISH_FLOWER.decode(table, IDS[::-1])
    assert len(decoded) == 3
    for i in range(3):
        np.testing.assert_array_equal(decoded[i], masks[2 - i])


def test_ids_come_back_in_order():
    table = table_of(b_Fish="", b_Flower="", a_Fish="", a_Flower="")
    assert FISH_FLOWER.ids(table).tolist() == ["b.jpg", "a.jpg"]


def test_class_that_ends_in_another_class_name_keeps_its_ids():
    format = RleTable(("ice", "sea_ice"), (4, 6))
    table = format.encode(np.array(["x_1"]), np.ones((1, 4, 6, 2), dtype=bool))
    assert format.ids(table).tolist() == ["x_1"]
    assert format.problems(table, None) == []


def test_valid_table_has_no_problems(masks, sample):
    assert FISH_FLOWER.problems(FISH_FLOWER.encode(IDS, masks), sample) == []


def test_all_empty_prediction_scores_what_is_empty_and_no_more():
    targets = np.zeros((2, 4, 6, 2), dtype=bool)
    targets[0, 1, 1, 0] = True  # one of four maps is there, so that nothing predicted scores 3/4
    table = FISH_FLOWER.encode(IDS[:2], np.zeros_like(targets))
    assert table["EncodedPixels"].tolist() == [""] * 4
    decoded = FISH_FLOWER.decode(table, IDS[:2])
    pred = np.stack([decoded[0], decoded[1]])
    assert MeanDice().score(MeanDice().stats(target=targets, pred=pred)) == 0.75


@pytest.mark.parametrize(
    ("table", "messages"),
    [
        (table_of(a_Fish="", a_Flower="", b_Fish=""), ["row 'b.jpg_Flower' is missing; add it"]),
        (table_of(a_Fish="", a_Flower="", a_fish=""), ["line 4: row 'a.jpg_fish': class 'fish' is not known"]),
        (
            table_of(a_Fish="1", a_Flower="9 99"),
            ["line 2: row 'a.jpg_Fish': 1 number,", "line 3: row 'a.jpg_Flower': the segment '9 99'"],
        ),
        (table_of(a_Fish="").drop(columns="EncodedPixels"), ["column 'EncodedPixels' is missing; the table has Image"]),
        (
            table_of(a_Fish="").rename(columns={"EncodedPixels": "Pixels"}),
            ["column 'Pixels' is not known", "column 'EncodedPixels' is missing"],
        ),
        (table_of(), ["it holds no rows, the header alone"]),
        (table_of(a_Fish="").assign(extra=1), ["column 'extra' is not known; leave it out"]),
        (
            pd.concat([table_of(a_Fish="")] * 2, axis=1),
            ["column 'Image_Label' is there 2 times", "column 'EncodedPixels' is there 2 times"],
        ),
        (
            pd.concat([table_of(a_Fish="", a_Flower="")] * 2, ignore_index=True),
            ["line 4: row 'a.jpg_Fish' is there already, in line 2", "line 5: row 'a.jpg_Flower' is there already"],
        ),
    ],
)
def test_each_problem_names_its_row_and_remedy(table, messages):
    problems = FISH_FLOWER.problems(table, None)
    assert len(problems) == len(messages)
    for problem, message in zip(problems, messages, strict=True):
        assert message in problem


def test_ids_are_held_against_the_sample(masks, sample):
    table = FISH_FLOWER.encode(np.array(["a.jpg", "B.png", "z.jpg"]), masks)
    problems = FISH_FLOWER.problems(table, sample)
    assert problems[0] == "line 4: row 'B.png_Fish' is not in the sample submission; did you mean 'b.jpg_Fish'?"
    assert problems[2].startswith("line 6: row 'z.jpg_Fish' is not in the sample submission. Leave it out, or download")
    assert [problem.split()[1] for problem in problems[4:]] == [
        f"'{name}.jpg_{label}'" for name in "bc" for label in ("Fish", "Flower")
    ]


def test_leading_zeros_that_a_spreadsheet_ate_are_found_again():
    sample = RleTable(("Fish",), (1, 1)).encode(np.array(["0011165.jpg"]), np.zeros((1, 1, 1, 1), dtype=bool))
    table = sample.assign(Image_Label=["11165.jpg_Fish"])
    assert "did you mean '0011165.jpg_Fish'?" in RleTable(("Fish",), (1, 1)).problems(table, sample)[0]


def test_order_that_differs_from_the_sample_is_a_problem(masks, sample):
    table = FISH_FLOWER.encode(IDS, masks).iloc[[0, 2, 1, 3, 4, 5]]
    problems = FISH_FLOWER.problems(table, sample)
    assert problems == [
        "line 3: row 'b.jpg_Fish' where the sample submission has 'a.jpg_Flower'. Sort the rows as the sample."
    ]


def test_masks_of_another_size_or_kind_are_refused(masks):
    with pytest.raises(InvalidSubmission, match=r"masks of 'a.jpg': expected bool \(4, 6, 2\)"):
        FISH_FLOWER.encode(IDS, masks[:, :3])
    with pytest.raises(InvalidSubmission, match="got float64"):
        FISH_FLOWER.encode(IDS, masks.astype(float))
    with pytest.raises(InvalidSubmission, match="3 ids but 2 masks"):
        FISH_FLOWER.encode(IDS, masks[:2])


def test_decode_refuses_rows_missing_or_twice(masks):
    table = FISH_FLOWER.encode(IDS, masks)
    with pytest.raises(InvalidSubmission, match=r"row 'c.jpg_Flower' is missing"):
        FISH_FLOWER.decode(table.iloc[:-1], IDS)
    with pytest.raises(InvalidSubmission, match=r"row 'a.jpg_Fish' is there twice"):
        FISH_FLOWER.decode(pd.concat([table, table.iloc[:1]]), IDS)
    with pytest.raises(InvalidSubmission, match=r"row 'x_Crab': class 'Crab' is not known"):
        FISH_FLOWER.ids(table.assign(Image_Label="x_Crab"))


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_reading_keeps_every_field_as_text(tmp_path, name):
    text = "Image_Label,EncodedPixels\nNA,1 1\n007,\nnan,NaN\n1e5,-1\n"
    opened = gzip.open if name.endswith(".gz") else open
    with opened(tmp_path / name, "wt") as file:
        file.write(text)
    table = read_table(tmp_path / name, ("Image_Label", "EncodedPixels"))
    assert table["Image_Label"].tolist() == ["NA", "007", "nan", "1e5"]
    assert table["EncodedPixels"].tolist() == ["1 1", "", "NaN", "-1"]


def test_id_called_na_survives_the_whole_way(tmp_path):
    format, ids = RleTable(("NA",), (4, 6), key_column="id"), np.array(["NA", "null"])
    masks = np.random.default_rng(0).random((2, 4, 6, 1)) < 0.5
    write_submission(tmp_path / "s.csv", ids, masks, format, None, {})
    decoded = format.decode(format.read(tmp_path / "s.csv"), ids)
    np.testing.assert_array_equal(np.stack([decoded[0], decoded[1]]), masks)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n\x00\xff\xfe", "not a readable CSV file"),
        (b"a.jpg_Fish,1 1\n", "line 1 is 'a.jpg_Fish,1 1'; expected the header Image_Label,EncodedPixels"),
        (b"Image_Label,Pixels\na,1\n", "column 'EncodedPixels' is missing"),
        (b"Image_Label,EncodedPixels,EncodedPixels\na,1,1\n", "column 'EncodedPixels' is there 2 times"),
        (b"Image_Label,EncodedPixels\na,1\nb\n", "line 3 ('b'): expected 2 fields as in the header, got 1"),
        (b"Image_Label,EncodedPixels\na,1,2\n", "line 2 ('a'): expected 2 fields as in the header, got 3"),
        (b'Image_Label,EncodedPixels\na,"1\n', "not a readable CSV file"),
        (gzip.compress(b"Image_Label,EncodedPixels\na,1\n", mtime=0), "packed with gzip: unpack it"),
    ],
)
def test_file_that_is_no_table_is_refused(tmp_path, content, message):
    path = tmp_path / "broken.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidSubmission) as refusal:
        read_table(path, ("Image_Label", "EncodedPixels"))
    assert str(path) in str(refusal.value)
    assert message in str(refusal.value)


def test_folder_or_packed_file_in_the_place_of_a_table_is_refused(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InvalidSubmission, match=r"folder\.csv: a folder, expected a CSV file"):
        read_table(tmp_path / "folder.csv")
    (tmp_path / "train.csv.zip").touch()
    with pytest.raises(InvalidSubmission, match=r"train\.csv: no such file\. There is train\.csv\.zip: unpack it"):
        read_table(tmp_path / "train.csv")


def test_masks_are_read_by_id_and_a_refusal_names_the_file(tmp_path, masks):
    path = tmp_path / "pred.csv"
    FISH_FLOWER.encode(IDS, masks).to_csv(path, index=False)
    ids, found = FISH_FLOWER.read_masks(path)
    assert ids.tolist() == IDS.tolist()
    np.testing.assert_array_equal(found[2], masks[2])
    np.testing.assert_array_equal(FISH_FLOWER.read_masks(path, IDS[1:])[1][0], masks[1])
    message = (
        r"pred\.csv: row 'z\.jpg_Fish' and 1 more are missing; every image needs a row for each class: Fish, Flower\."
    )
    with pytest.raises(InvalidSubmission, match=message):
        FISH_FLOWER.read_masks(path, np.array(["a.jpg", "z.jpg"]))
    with pytest.raises(InvalidSubmission, match=r"row 'A\.JPG_Fish' and 1 more are missing \(there is 'a\.jpg_Fish'\)"):
        FISH_FLOWER.read_masks(path, np.array(["A.JPG"]))
    path.write_text("Image_Label,EncodedPixels\n")
    with pytest.raises(InvalidSubmission, match=r"(?s)pred\.csv: .*it holds no rows"):
        FISH_FLOWER.read_masks(path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([0, 1, 2, 3, 4, 5, 1], "line 8: row 'a.jpg_Flower' is there already, in line 3"),
        ([0, 1, 2, 4, 5], "row 'b.jpg_Flower' is missing"),
    ],
)
def test_sample_submission_that_is_not_whole_is_blamed_itself(tmp_path, masks, sample, rows, message):
    sample.iloc[rows].to_csv(tmp_path / "sample.csv", index=False)
    with pytest.raises(InvalidSubmission) as refusal:
        write_submission(tmp_path / "s.csv", IDS, masks, FISH_FLOWER, tmp_path / "sample.csv", {})
    assert str(refusal.value).startswith(f"{tmp_path / 'sample.csv'}: not as the contest gave it")
    assert "Download it again" in str(refusal.value)
    assert message in str(refusal.value)
    assert not (tmp_path / "s.csv").exists()


@pytest.mark.parametrize("text", ["99999999999999999999 1", "1 99999999999999999999", "3 99999999999999999999"])
def test_number_too_large_for_any_mask_is_quoted_as_written(text):
    (problem,) = FISH_FLOWER.problems(table_of(a_Fish=text, a_Flower=""), None)
    assert f"row 'a.jpg_Fish': the segment '{text}' at token 1 ends past the last of 24 pixels" in problem


def test_one_problem_is_not_called_problems(masks, sample):
    table = FISH_FLOWER.encode(IDS, masks).iloc[:-1]
    with pytest.raises(InvalidSubmission, match="the submission has 1 problem:"):
        validate(table, IDS[:2], masks[:2], FISH_FLOWER, sample)


def test_field_longer_than_readers_usually_take_is_read(tmp_path):
    text = " ".join(f"{start} 1" for start in range(1, 60_000, 2))
    (tmp_path / "long.csv").write_text(f"Image_Label,EncodedPixels\na,{text}\n")
    assert len(text) > csv.field_size_limit()
    assert read_table(tmp_path / "long.csv")["EncodedPixels"].tolist() == [text]


def test_truncated_gzip_is_refused(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"Image_Label,EncodedPixels\n" + b"a,1 1\n" * 5000, mtime=0)[:-20])
    with pytest.raises(InvalidSubmission, match="not a readable CSV file"):
        read_table(path)


def test_table_that_says_other_masks_is_refused(masks, sample):
    table = FISH_FLOWER.encode(IDS, masks)
    validate(table, IDS, masks, FISH_FLOWER, sample)
    with pytest.raises(InvalidSubmission, match=r"do not come back[^']*'b.jpg'"):
        validate(table, IDS, np.concatenate([masks[:1], ~masks[1:2], masks[2:]]), FISH_FLOWER, sample)


def test_written_submission_reads_back_and_its_sidecar_knows_it(tmp_path, masks, sample):
    sample.to_csv(tmp_path / "sample.csv", index=False)
    path = tmp_path / "out" / "final.csv"
    write_submission(path, IDS, masks, FISH_FLOWER, tmp_path / "sample.csv", {"runs": ["unet"]})
    pd.testing.assert_frame_equal(FISH_FLOWER.read(path), FISH_FLOWER.encode(IDS, masks), check_dtype=False)
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar == {"runs": ["unet"], "file": "final.csv", "rows": 6, "sha256": file_digest(path)}
    assert sorted(p.name for p in path.parent.iterdir()) == ["final.csv", "final.json"]


def test_chunks_give_the_same_file_as_the_whole(tmp_path, masks):
    write_submission(tmp_path / "whole.csv", IDS, masks, FISH_FLOWER, None, {})
    write_submission(tmp_path / "chunks.csv", IDS, iter([masks[:2], masks[2:]]), FISH_FLOWER, None, {})
    assert file_digest(tmp_path / "whole.csv") == file_digest(tmp_path / "chunks.csv")


@pytest.mark.parametrize("given", ["wrong ids", "too few chunks", "broken encoder"])
def test_refused_submission_changes_nothing_on_disk(tmp_path, masks, sample, given):
    sample.to_csv(tmp_path / "sample.csv", index=False)
    path = tmp_path / "out" / "s.csv"
    write_submission(path, IDS, masks, FISH_FLOWER, tmp_path / "sample.csv", {})
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    ids, values, format = IDS, ~masks, FISH_FLOWER
    if given == "wrong ids":
        ids = np.array(["a.jpg", "b.jpg", "d.jpg"])
    if given == "too few chunks":
        values = iter([masks[:2]])
    if given == "broken encoder":
        format = DropsTheLastPixel(("Fish", "Flower"), (4, 6))
    with pytest.raises(InvalidSubmission):
        write_submission(path, ids, values, format, tmp_path / "sample.csv", {})
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before


class DropsTheLastPixel(RleTable):
    """The best known bug of copied encoders: a segment that touches the last pixel is lost."""

    def encode(self, ids, values):
        without = np.array(values)
        without[:, -1, -1] = False
        return super().encode(ids, without)


def test_the_broken_encoder_is_caught_only_because_the_pixel_is_set():
    masks = np.zeros((1, 4, 6, 2), dtype=bool)
    broken = DropsTheLastPixel(("Fish", "Flower"), (4, 6))
    validate(broken.encode(IDS[:1], masks), IDS[:1], masks, broken, None)
    masks[0, -1, -1, 0] = True
    with pytest.raises(InvalidSubmission, match="do not come back"):
        validate(broken.encode(IDS[:1], masks), IDS[:1], masks, broken, None)
