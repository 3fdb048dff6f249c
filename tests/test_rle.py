"""Run-length text says exactly what the mask says, and text that could not be a mask is refused with its place."""

import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skyfold.errors import InvalidSubmission
from skyfold.metrics.segmentation import MeanDice
from skyfold.rle.rle import DIALECTS, KAGGLE, SIIM, decode, decode_many, encode, encode_many, parse

settings.register_profile("compiles", deadline=None)  # the first call of a kernel compiles it
settings.load_profile("compiles")
masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
@given(mask=masks)
def test_decode_undoes_encode(dialect, mask):
    np.testing.assert_array_equal(decode(encode(mask, dialect), mask.shape, dialect), mask)


@given(mask=masks)
def test_encode_equals_counting_pixel_by_pixel(mask):
    runs, length = [], 0
    flat = [*mask.T.ravel().tolist(), False]
    for position, pixel in enumerate(flat):
        if pixel:
            length += 1
        elif length:
            runs += [position - length + 1, length]
            length = 0
    assert encode(mask) == " ".join(map(str, runs))


def test_golden_text_of_each_dialect():
    # Column by column the mask is 0 1 | 1 1 | 0 1 (a run of three, a run of one); row by row 0 1 0 | 1 1 1.
    mask = np.array([[0, 1, 0], [1, 1, 1]], dtype=bool)
    written = {name: encode(mask, dialect) for name, dialect in DIALECTS.items()}
    assert written == {
        "kaggle": "2 3 6 1",
        "kaggle_minus_one": "2 3 6 1",
        "kaggle_dash": "2 3 6 1",
        "kaggle_one_zero": "2 3 6 1",
        "row_major": "2 1 4 3",
        "siim": "1 3 1 1",
    }


def test_empty_mask_in_each_dialect():
    empty = np.zeros((2, 3), dtype=bool)
    written = [encode(empty, dialect) for dialect in DIALECTS.values()]
    assert written == ["", "-1", "-", "1 0", "", "-1"]


@pytest.mark.parametrize("text", [None, float("nan"), "", "  "])
def test_missing_text_is_an_empty_mask(text):
    assert not decode(text, (2, 3)).any()


def test_minus_one_is_empty_only_where_the_dialect_says_so():
    assert not decode("-1", (2, 3), SIIM).any()
    with pytest.raises(InvalidSubmission):
        decode("-1", (2, 3), KAGGLE)


def test_run_touching_the_last_pixel_is_kept():
    mask = np.zeros((3, 4), dtype=bool)
    mask[1:, -1] = True
    assert encode(mask) == "11 2"
    assert decode("11 2", mask.shape)[-1, -1]


def test_run_crosses_the_border_between_columns():
    mask = np.zeros((3, 4), dtype=bool)
    mask[2, 1] = mask[0, 2] = True
    assert encode(mask) == "6 2"
    np.testing.assert_array_equal(decode("6 2", mask.shape), mask)


def test_corner_pixels_are_kept():
    mask = np.zeros((3, 4), dtype=bool)
    mask[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    assert encode(mask) == "1 1 3 1 10 1 12 1"
    np.testing.assert_array_equal(decode(encode(mask), mask.shape), mask)


def test_full_mask_is_one_run():
    assert encode(np.ones((3, 4), dtype=bool)) == "1 12"
    assert decode("1 12", (3, 4)).all()


def test_touching_runs_are_accepted():
    np.testing.assert_array_equal(decode("1 2 3 1", (2, 2)), decode("1 3", (2, 2)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3", "3 numbers, but runs are pairs"),
        ("1 2 x 1", "token 3 is 'x', not a whole number"),
        ("1 2.0", "token 2 is '2.0', not a whole number"),
        ("1 1_0", "token 2 is '1_0', not a whole number"),
        ("1 --2", "token 2 is '--2', not a whole number"),
        ("0 2", "token 1 is a 0 start; the first pixel has the number 1"),
        ("1 1 -3 2", "token 3 is a negative start"),
        ("1 0", "token 2 is a 0 length"),
        ("1 -2", "token 2 is a negative length"),
        ("7 1 2 1", "the run '2 1' at token 3 starts before the run '7 1'"),
        ("2 4 4 1", "the run '4 1' at token 3 overlaps the run '2 4'"),
        ("2 1 2 1", "overlaps"),
        ("12 2", "the run '12 2' at token 1 ends past the last of 12 pixels"),
        ("13 1", "ends past the last of 12 pixels"),
        ("1 99999999999999999999999", "ends past the last of 12 pixels"),
        ("9223372036854775807 9223372036854775807", "ends past the last of 12 pixels"),
        (1.5, "expected run-length text, got 1.5"),
    ],
)
def test_text_that_is_no_mask_is_refused_by_row_and_token(text, message):
    with pytest.raises(InvalidSubmission) as refusal:
        decode(text, (3, 4), row="a.jpg_Fish")
    assert "row 'a.jpg_Fish'" in str(refusal.value)
    assert message in str(refusal.value)


def test_relative_run_past_the_end_is_refused():
    # 0-based: the second run begins 5 pixels after the end (3) of the first, at 8, and has 5 of the 4 that are left.
    with pytest.raises(InvalidSubmission, match="the run '5 5' at token 3 ends past the last of 12 pixels"):
        decode("1 2 5 5", (3, 4), SIIM)


def test_parse_gives_half_open_positions():
    starts, ends = parse("2 3 6 1", 6)
    assert (starts.tolist(), ends.tolist()) == ([1, 5], [4, 6])


@given(text=st.text("0123456789 -x", max_size=12))
def test_any_text_is_a_mask_or_refused(text):
    try:
        mask = decode(text, (3, 4))
    except InvalidSubmission:
        return
    np.testing.assert_array_equal(decode(encode(mask), (3, 4)), mask)


def test_many_at_once_equals_one_by_one():
    several = np.random.default_rng(0).random((5, 6, 7)) < 0.5
    texts = encode_many(several)
    assert texts == [encode(mask) for mask in several]
    np.testing.assert_array_equal(decode_many(texts, (6, 7)), several)


def test_many_at_once_names_the_broken_row():
    with pytest.raises(InvalidSubmission, match="row 'b'"):
        decode_many(["1 1", "0 1"], (6, 7), rows=["a", "b"])


@pytest.mark.parametrize("mask", [np.zeros((2, 2)), np.zeros((2, 2), np.uint8), np.zeros((2, 2, 1), bool)])
def test_what_is_no_mask_cannot_be_encoded(mask):
    with pytest.raises(TypeError, match="expected a bool mask"):
        encode(mask)


@pytest.mark.real_data
def test_every_real_row_comes_back_and_scores_one_against_itself():
    folder = os.environ.get("SKYFOLD_DATA")
    path = Path(folder or "") / "clouds_labels" / "train_all_525x350.csv.gz"
    if not folder or not path.is_file():
        pytest.skip("$SKYFOLD_DATA names no folder with clouds_labels/train_all_525x350.csv.gz")
    with gzip.open(path, "rt", newline="") as file:
        texts = [row["EncodedPixels"] for row in csv.DictReader(file)]
    assert len(texts) == 34_744
    metric, stats = MeanDice(), []
    for start in range(0, len(texts), 16):
        chunk = texts[start : start + 16]
        decoded = decode_many(chunk, (350, 525))
        assert encode_many(decoded) == chunk
        stats.append(metric.stats(target=decoded[..., None], pred=decoded[..., None]))
    assert metric.score(np.concatenate(stats)) == 1.0
