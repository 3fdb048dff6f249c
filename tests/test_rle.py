"""Run-length text and masks of any size, layout and dialect give each other; what could not be a mask is refused."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyfold.errors import InvalidSubmission
from skyfold.metrics.segmentation import MeanDice
from skyfold.rle.codec import (
    DIALECTS,
    KAGGLE,
    Dialect,
    decode,
    decode_many,
    encode,
    encode_many,
    parse,
    parse_all,
    texts_of,
)
from skyfold.rle.segments import Segments

every_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)

# 64 pixels are compared at once, 1024 are given room at once: sizes around these, and below
SIDES = st.sampled_from([1, 2, 3, 31, 63, 64, 65, 127, 128, 129])


@st.composite
def several(draw):
    """bool (n, H, W): noise of some density, boxes, and degenerate masks."""
    n, height, width = draw(st.integers(1, 4)), draw(SIDES), draw(SIDES)
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    masks = rng.random((n, height, width)) < draw(st.sampled_from([0.0, 0.01, 0.5, 0.99, 1.0]))
    for mask in masks:
        if draw(st.booleans()):
            top, left = rng.integers(0, height), rng.integers(0, width)
            mask[top : top + rng.integers(1, height + 1), left : left + rng.integers(1, width + 1)] ^= True
    return masks


def slowly(mask, dialect=KAGGLE):
    tokens, length, reach = [], 0, 0
    flat = [*mask.ravel(order="F" if dialect.order == "column" else "C").tolist(), False]
    for position, pixel in enumerate(flat):
        if pixel:
            length += 1
        elif length:
            start = position - length - (reach if dialect.starts == "relative" else 0)
            tokens += [start + dialect.first_index, length]
            length, reach = 0, position
    return " ".join(map(str, tokens)) or dialect.empty


# Down the columns the mask is 0 1 | 1 1 | 0 1: three pixels from the second on, and the sixth. Along the rows it is
# 0 1 0 | 1 1 1: the second pixel, and three from the fourth on. SIIM counts from 0, its second start from the end of
# the first segment.
GOLDEN = {
    "kaggle": ("2 3 6 1", ""),
    "kaggle_minus_one": ("2 3 6 1", "-1"),
    "kaggle_dash": ("2 3 6 1", "-"),
    "kaggle_one_zero": ("2 3 6 1", "1 0"),
    "row_major": ("2 1 4 3", ""),
    "siim": ("1 3 1 1", "-1"),
}


@every_dialect
def test_golden_text_of_a_mask_of_an_empty_one_and_of_a_missing_one(dialect):
    masks = np.array([[[0, 1, 0], [1, 1, 1]], [[0, 0, 0], [0, 0, 0]]], dtype=bool)
    texts = list(GOLDEN[dialect.name])
    assert encode_many(masks, dialect) == texts
    np.testing.assert_array_equal(decode_many(texts, (2, 3), dialect), masks)
    if dialect.name != "kaggle_dash":  # in which an empty cell is refused
        assert not decode_many([None, float("nan"), "", "  "], (2, 3), dialect).any()


@every_dialect
@given(masks=several())
@settings(max_examples=40)
def test_encode_and_decode_equal_the_slow_way(dialect, masks):
    texts = [slowly(mask, dialect) for mask in masks]
    assert encode_many(masks, dialect) == texts
    np.testing.assert_array_equal(decode_many(texts, masks.shape[1:], dialect), masks)
    assert encode(masks[-1], dialect) == texts[-1]
    np.testing.assert_array_equal(decode(texts[-1], masks.shape[1:], dialect), masks[-1])


@given(masks=several(), order=st.sampled_from(["column", "row"]), planes=st.integers(1, 3))
@settings(max_examples=60)
def test_planes_of_images_equal_one_mask_after_the_other(masks, order, planes):
    rows = np.random.default_rng(0).integers(0, len(masks), 2 * planes)
    images = np.moveaxis(masks[rows].reshape(2, planes, *masks.shape[1:]), 1, -1)
    segments = Segments.from_masks(masks, order).take(rows)
    np.testing.assert_equal(vars(Segments.from_masks(images, order)), vars(segments))
    np.testing.assert_array_equal(segments.to_masks(planes), images)


def test_segments_of_another_order_are_not_written():
    mask = np.eye(3, dtype=bool)
    by_row = Segments.from_masks(mask[np.newaxis], "row")
    assert texts_of(by_row, DIALECTS["row_major"]) == [encode(mask, DIALECTS["row_major"])]
    with pytest.raises(ValueError, match="kaggle counts pixels by column, these segments by row"):
        texts_of(by_row, KAGGLE)


def test_layout_in_memory_makes_no_difference():
    masks = np.random.default_rng(0).random((3, 40, 70)) < 0.4
    columns_first = np.ascontiguousarray(masks.swapaxes(1, 2)).swapaxes(1, 2)
    upside_down = np.ascontiguousarray(masks[:, ::-1])[:, ::-1]
    every_second = np.repeat(masks, 2, axis=2)[:, :, ::2]
    read_only = np.frombuffer(masks.tobytes(), dtype=bool).reshape(masks.shape)
    other_bytes = (7 * masks.view(np.uint8)).view(np.bool_)
    for same in (columns_first, upside_down, every_second, read_only, other_bytes):
        assert encode_many(same) == [slowly(mask) for mask in masks]


def test_no_masks_masks_of_no_pixels_and_markers_that_only_some_dialects_have():
    assert encode_many(np.empty((0, 4, 5), dtype=bool)) == []
    assert decode_many([], (4, 5)).shape == (0, 4, 5)
    assert encode_many(np.empty((2, 0, 5), dtype=bool)) == ["", ""]
    assert decode("", (0, 5)).shape == (0, 5)
    assert not decode(" - ", (2, 3), DIALECTS["kaggle_dash"]).any()
    for text, dialect in (("-1", KAGGLE), ("-", KAGGLE), ("-1", DIALECTS["kaggle_dash"])):
        with pytest.raises(InvalidSubmission, match=r"token 1 is '-'|1 number, but segments are pairs"):
            decode(text, (2, 3), dialect)
    with pytest.raises(InvalidSubmission, match=r"row 'a': no text\. Write '-' for an empty mask."):
        decode(" ", (2, 3), DIALECTS["kaggle_dash"], row="a")
    with pytest.raises(ValueError, match="'1 1' cannot mark an empty mask, since it is a segment too"):
        Dialect("other", empty="1 1")


def test_memory_that_is_given_is_filled_and_overwritten():
    masks, out = np.random.default_rng(0).random((3, 20, 70)) < 0.5, np.ones((3, 20, 70), dtype=bool)
    assert np.shares_memory(decode_many(encode_many(masks), (20, 70), out=out), out)
    np.testing.assert_array_equal(out, masks)
    with pytest.raises(ValueError, match="expected C-ordered bool"):
        decode_many(["", ""], (20, 70), out=out)
    with pytest.raises(ValueError, match="expected C-ordered bool"):
        decode_many([""] * 3, (20, 70), out=out.view(np.uint8))


@pytest.mark.parametrize(
    ("start", "end", "offsets"), [(-1, 2, [0, 1]), (2, 2, [0, 1]), (0, 13, [0, 1]), (0, 1, [0, 2]), (0, 1, [0, 2, 1])]
)
def test_segments_outside_their_mask_are_refused(start, end, offsets):
    inside = r"expected 0 <= start < end <= 12, the pixels of \(3, 4\)"
    with pytest.raises(ValueError, match=inside if offsets == [0, 1] else "expected offsets that grow from 0 to 1"):
        Segments(np.array([start]), np.array([end]), np.array(offsets), (3, 4))


def test_areas_chosen_masks_and_what_two_have_in_common():
    segments = parse(["2 3 7 1", "", "1 12"], (3, 4))
    assert segments.areas().tolist() == [4, 0, 12]
    chosen = segments.take(np.array([2, 0, 0]))
    assert chosen.areas().tolist() == [12, 4, 4]
    both = chosen.intersection(parse(["1 12", "1 2 4 1", ""], (3, 4)))
    assert [part.tolist() for part in (both.starts, both.ends, both.offsets)] == [[0, 1, 3], [12, 2, 4], [0, 1, 3, 3]]
    with pytest.raises(ValueError, match=r"expected 3 masks of \(3, 4\) by column, got 1 masks of \(3, 4\)"):
        chosen.intersection(parse(["1 12"], (3, 4)))


@given(several(), st.integers(0, 99))
def test_a_union_of_masks_is_the_slow_one(masks, seed):
    group = np.random.default_rng(seed).integers(0, 3, len(masks))
    joined = Segments.from_masks(masks).union(group, 3)
    slow = np.stack([masks[group == number].any(axis=0) for number in range(3)])
    np.testing.assert_array_equal(joined.to_masks()[..., 0], slow)
    np.testing.assert_array_equal(joined.areas(), slow.sum(axis=(1, 2)))
    np.testing.assert_array_equal(joined.starts, Segments.from_masks(slow).starts)  # segments that touch are one


REFUSALS = [
    ("1 2 3", "3 numbers, but segments are pairs"),
    ("5", "1 number, but segments are pairs 'start length'; the last start, 5, has no length"),
    ("1 2 x 1", "token 3 is 'x', not a whole number"),
    ("1 2.0", "token 2 is '2.0', not a whole number"),
    ("1,3,10,5", "token 1 is '1,3,10,5', not a whole number"),
    ("1 1_0", "token 2 is '1_0', not a whole number"),
    ("1 --2", "token 2 is '--2', not a whole number"),
    ("0 2", "token 1 is a 0 start; the first pixel has the number 1"),
    ("1 1 -3 2", "token 3 is a negative start"),
    ("1 0", "token 2 is a 0 length"),
    ("1 -2", "token 2 is a negative length"),
    ("7 1 2 1", "the segment '2 1' at token 3 starts before the segment '7 1'"),
    ("2 4 4 1", "the segment '4 1' at token 3 overlaps the segment '2 4'"),
    ("12 2", "the segment '12 2' at token 1 ends past the last of 12 pixels"),
    ("9223372036854775807 9223372036854775807", "ends past the last of 12 pixels"),
    (1.5, "expected run-length text, got 1.5"),
]
# From 0: the second segment begins 5 pixels after the end (3) of the first, at 8, where 4 pixels are left.
RELATIVE = [("1 2 5 5", "the segment '5 5' at token 3 ends past the last of 12 pixels"), ("1 2 -1 1", "negative start")]


@pytest.mark.parametrize(
    ("text", "message", "dialect"),
    [(*case, KAGGLE) for case in REFUSALS] + [(*case, DIALECTS["siim"]) for case in RELATIVE],
)
def test_text_that_is_no_mask_is_refused_by_row_and_token(text, message, dialect):
    with pytest.raises(InvalidSubmission) as refusal:
        decode_many(["1 1", text], (3, 4), dialect, rows=["a.jpg_Fish", "b.jpg_Fish"])
    assert "row 'b.jpg_Fish'" in str(refusal.value)
    assert message in str(refusal.value)


def test_unusual_spelling_and_touching_segments_are_accepted():
    unusual = ["1\n2", "1\r\n2", " 1\t2 ", "001 2", f"{1:025d} 2", "1\u00a02", "1\x0b2", "1  2\r\n", "1 1 2 1"]
    masks = decode_many(["3 1", *unusual, "", "4 2"], (2, 3))
    np.testing.assert_array_equal(masks, decode_many(["3 1", *["1 2"] * len(unusual), "", "4 2"], (2, 3)))


# Tokens around all borders, so that the compiled loop meets every way of being wrong.
TOKENS = [*map(str, [0, 1, 2, 3, 11, 12, 13, -1, 10**8, 10**18 - 1, 10**20]), "007", "x"]
TEXTS = st.lists(st.lists(st.sampled_from(TOKENS), max_size=6).map(" ".join), max_size=5)


@given(texts=TEXTS, dialect=st.sampled_from([KAGGLE, Dialect("relative", 0, "column", "relative", "-", ("",))]))
@settings(max_examples=300)
def test_compiled_loop_takes_what_reading_pair_by_pair_takes(texts, dialect):
    segments, refused = parse_all(texts, (3, 4), dialect)
    for place, text in enumerate(texts):
        expected = pairs(text, dialect)
        assert (place in refused) == (expected is None)
        here = slice(segments.offsets[place], segments.offsets[place + 1])
        assert list(zip(segments.starts[here], segments.ends[here], strict=True)) == (expected or [])


def pairs(text, dialect):
    """Starts and ends, None where the text is wrong."""
    tokens = text.split()
    if "x" in tokens or len(tokens) % 2:
        return None
    found, reach = [], 0
    for start, length in zip(map(int, tokens[0::2]), map(int, tokens[1::2]), strict=True):
        begin = start - dialect.first_index + (reach if dialect.starts == "relative" else 0)
        if start < dialect.first_index or length < 1 or begin < reach or begin + length > 12:
            return None
        reach = begin + length
        found.append((begin, reach))
    return found


@pytest.mark.parametrize("mask", [np.zeros((2, 2)), np.zeros((2, 2), np.uint8), np.zeros((2, 2, 1), bool)])
def test_what_is_no_mask_cannot_be_encoded(mask):
    with pytest.raises(TypeError, match=r"expected a bool mask \(H, W\)"):
        encode(mask)
    with pytest.raises(TypeError, match=r"expected a bool mask \(n, H, W\)"):
        encode_many(mask.astype(np.uint8))


@pytest.mark.real_data
@pytest.mark.skipif("SKYFOLD_DATA" not in os.environ, reason="SKYFOLD_DATA names no folder of real data")
def test_every_real_row_comes_back_and_scores_one_against_itself():
    path = Path(os.environ["SKYFOLD_DATA"]) / "clouds_labels" / "train_all_525x350.csv.gz"
    texts = pd.read_csv(path, keep_default_na=False)["EncodedPixels"].tolist()
    assert len(texts) == 34_744
    metric, stats = MeanDice(), []
    for start in range(0, len(texts), 16):
        decoded = decode_many(texts[start : start + 16], (350, 525))
        assert encode_many(decoded) == texts[start : start + 16]
        stats.append(metric.stats(target=decoded[..., None], pred=decoded[..., None]))
    assert metric.score(np.concatenate(stats)) == 1.0
